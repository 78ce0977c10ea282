"""Episodes in worker processes: the same numbers as in one process, and every way in which a worker may go wrong.

Through the real sampler; `fork`, since it starts in no time. The other start methods are in tests/runs/test_failure.py,
and alarms that ring in tests/tasks/test_guard.py: here a limit runs out when all that are late hang, on a busy machine
too.
"""

import itertools
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import connection
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from metarl_exp.algorithm.sampler import Sampler
from metarl_exp.policy import CategoricalMLP
from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks import GymnasiumTasks
from metarl_exp.tasks.vector import batch, worker_pool
from tests.environments import HANGING
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(autouse=True)
def late(monkeypatch):
    """Wait for workers until all that are late hang: then raise `error`, or do nothing."""
    while HANGING.acquire(block=False):
        pass
    happens = SimpleNamespace(error=TimeoutError("no answer within the limit"))

    def wait(pipes, timeout=None):
        while timeout is None:
            if ready := connection.wait(pipes, 0.01):
                return ready
            if HANGING.get_value() == len(pipes) and happens.error:
                raise happens.error
        return connection.wait(pipes, timeout)

    monkeypatch.setattr(worker_pool, "connection", SimpleNamespace(wait=wait))
    monkeypatch.setattr(worker_pool, "GRACE", PATIENCE)
    return happens


def tasks_of(deed="raises", workers=2, start_method="fork", **kwargs):
    vary = {"mass": {"attribute": "mass", "uniform": [0.5, 1.0]}}
    kwargs["deed"] = deed
    return GymnasiumTasks("tests.environments:Faulty-v0", 5, kwargs, vary, [], None, workers, start_method, None)


def roll(tasks, masses=(0.5, 0.6, 2.0, 0.7), trajectories=2, limit=None):
    policy = CategoricalMLP([4], "tanh", tasks.spec, torch.Generator().manual_seed(0))
    theta = {name: p.detach().expand(len(masses), *p.shape) for name, p in policy.named_parameters()}
    rows = torch.tensor(masses, dtype=torch.float64).unsqueeze(1)
    generators = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    return Sampler(policy, tasks, trajectories, CPU, limit)(theta, rows, *generators)


def processes(tasks):
    return [process for pool in tasks.fleet.pools.kept.values() for process in pool.vector.processes]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# ---- the same numbers


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 50])
def test_any_number_of_workers_gives_the_numbers_of_one_process(workers):
    """Bit for bit: 7 × 2 episodes, no multiple of the workers, of different lengths, and again with new tasks."""

    def sample(number):
        vary = {
            "ends": {"attribute": "ends", "integer": [1, 9]},
            "gain": {"attribute": "gain", "uniform": [1, 2]},
            "bias": {"argument": "bias", "uniform": [1, 2]},
        }
        tasks = GymnasiumTasks(
            "tests.environments:Scripted-v0", 8, {}, vary, [], "reached", number, "fork", None
        )  # fmt: skip
        generator, answers = torch.Generator().manual_seed(0), []
        for _ in range(2):
            env = tasks.make_env(tasks.sample(7, generator), 2, generator, CPU)
            answers.append(env.reset())
            for t in range(8):
                step = env.step(torch.linspace(-1, 1, 14).reshape(7, 2, 1) + t / 10)
                answers += [x for x in step if x is not None]
        started = len(processes(tasks)) if number else 0
        tasks.close()
        return answers, started

    (alone, _), (shared, started) = sample(0), sample(workers)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    assert started == {1: 1, 2: 2, 3: 3, 5: 5, 50: 14}[workers]


def test_the_same_processes_serve_the_next_sampling():
    tasks = tasks_of()
    roll(tasks, (0.5, 0.6))
    before = [process.pid for process in processes(tasks)]
    roll(tasks, (0.7, 0.8))
    assert [process.pid for process in processes(tasks)] == before
    tasks.close()


# ---- failures


@pytest.mark.parametrize(
    ("deed", "message", "line"),
    [
        ("raises", r"^step 2: task 2 \(mass=2\), trajectory 0: Unpicklable: \('broken'", "raise Unpicklable"),
        ("exits", r"^step 2: task 2 \(mass=2\), trajectory 0: SystemExit: 3$", "sys.exit(3)"),
        ("hangs", r"^step 2: task 2 \(mass=2\), trajectory 0: TimeoutError: no answer within", "time.sleep(1000)"),
        ("hangs_on", r"^step 2: worker 1 with task 2 \(mass=2\), task 3 \(mass=0.7\): TimeoutError", "in hangs_on"),
        ("crashes", r"^step 2: worker 1 with task 2 .* task 3 .* was ended by SIGSEGV$", "in crashes"),
        ("dies", r"^step 2: worker 1 with task 2 .* task 3 .* exited with status 7$", None),
        (
            "observes_nothing",
            r"^step 2: task 2 \(mass=2\), trajectory 0: observation is not finite: \[nan nan\]$",
            None,
        ),
        ("pays_nothing", r"^step 2: task 2 \(mass=2\), trajectory 0: reward is not finite: nan$", None),
    ],
)
def test_a_worker_that_goes_wrong_ends_the_sampling_in_time_saying_where(deed, message, line, monkeypatch):
    """Trap 16: the traceback is the environment's own, and nobody is left; the next sampling starts new workers."""
    tasks = tasks_of(deed)
    roll(tasks, (0.5, 0.5, 0.5, 0.5))
    before = processes(tasks)
    if deed == "hangs_on":  # it does not answer, however long it is waited for
        clock = itertools.count(step=2 * PATIENCE)
        monkeypatch.setattr(worker_pool, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with pytest.raises(EnvironmentFailure, match=message) as caught:
        roll(tasks)
    assert line is None or line in str(caught.value.__cause__)
    assert not any(process.is_alive() for process in before)
    assert roll(tasks, (0.5, 0.5, 0.5, 0.5)).rewards.sum() == 40
    tasks.close()


def test_several_workers_that_hang_are_interrupted_together():
    with pytest.raises(EnvironmentFailure, match=r"^step 2: task 0 .* \(1 more workers failed\)$"):
        roll(tasks_of("hangs"), (2.0, 2.0))


def test_ctrl_c_ends_the_workers(late):
    tasks, late.error = tasks_of("hangs"), KeyboardInterrupt()
    roll(tasks, (0.5, 0.5, 0.5, 0.5))
    before = processes(tasks)
    with pytest.raises(KeyboardInterrupt):
        roll(tasks)
    assert not any(process.is_alive() for process in before)


def test_a_worker_that_dies_between_two_samplings_is_reported():
    tasks = tasks_of()
    roll(tasks, (0.5, 0.5))
    os.kill(processes(tasks)[1].pid, signal.SIGKILL)
    with pytest.raises(EnvironmentFailure, match=r"^reset: worker 1 with task 1 \(mass=0.5\) was ended by SIGKILL$"):
        roll(tasks, (0.5, 0.5))
    tasks.close()


def signal_in_step(tasks, number):
    """Send a signal to the second worker in the middle of a step; what comes of it."""
    worker = processes(tasks)[1]

    def send():
        until(HANGING.get_value)
        os.kill(worker.pid, number)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(EnvironmentFailure) as caught:
        roll(tasks)
    thread.join()
    return str(caught.value)


def test_a_worker_that_is_told_to_end_in_a_step_is_named_at_once(late):
    tasks, late.error = tasks_of("hangs"), None
    roll(tasks, (0.5, 0.5, 0.5, 0.5))
    said = signal_in_step(tasks, signal.SIGTERM)
    assert re.match(r"^step 2: worker 1 with task 2 \(mass=2\), task 3 \(mass=0.7\) was ended by SIGTERM$", said)
    assert roll(tasks, (0.5, 0.5)).rewards.sum() == 20
    tasks.close()


def test_a_worker_that_is_stopped_between_two_samplings_is_named(monkeypatch):
    """It takes no episodes, so that the limit of the reset runs out, and does not end when it is asked to."""
    monkeypatch.setattr(worker_pool, "GRACE", 0.2)
    tasks = tasks_of()
    roll(tasks, (0.5, 0.5))
    stopped = processes(tasks)[1]
    os.kill(stopped.pid, signal.SIGSTOP)
    with pytest.raises(EnvironmentFailure) as caught:
        roll(tasks, (0.5, 0.5), limit=1.0)
    message = "reset: worker 1 with task 1 (mass=0.5) is stopped: TimeoutError: no answer within 1 s"
    assert str(caught.value) == message
    assert not stopped.is_alive()
    tasks.close()


@pytest.mark.parametrize("when", ["__init__", "reset"])
@pytest.mark.parametrize(
    ("deed", "said"), [("hangs", "TimeoutError: no answer within the limit"), ("dies", "SystemExit: os._exit(7)")]
)
def test_a_failure_before_the_first_step_of_a_worker_names_environment_and_call(when, deed, said):
    with pytest.raises(EnvironmentFailure) as caught:
        roll(tasks_of(deed, when=when, in_workers=True), (0.5, 0.6), trajectories=1)
    assert re.match(r"^reset: task [01] \(mass=0\.[56]\), trajectory 0: ", str(caught.value))
    assert f"{when} of tasks.id=tests.environments:Faulty-v0: {said}" in str(caught.value)


def test_workers_that_never_start_are_given_up_and_none_is_left(monkeypatch):
    """Here each stops itself before it has begun."""
    monkeypatch.setattr(worker_pool, "START", 0.5)
    monkeypatch.setattr(worker_pool.Share, "_become_worker", lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
    before = multiprocessing.active_children()
    with pytest.raises(EnvironmentFailure, match=r"starting workers \(tasks.start_method=fork\): TimeoutError"):
        roll(tasks_of(), (0.5, 0.5))
    until(lambda: multiprocessing.active_children() == before)


# ---- nobody is left behind


def test_nothing_has_a_name_that_could_stay_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tasks = tasks_of()
    roll(tasks, (0.5, 0.5))
    assert list(tmp_path.iterdir()) == []
    tasks.close()


def test_closing_or_dropping_a_distribution_ends_its_workers():
    for end in (GymnasiumTasks.close, lambda tasks: None):
        tasks = tasks_of()
        roll(tasks, (0.5, 0.5, 0.5))
        running = processes(tasks)
        assert all(process.is_alive() for process in running)
        end(tasks)
        del tasks
        assert not any(process.is_alive() for process in running)


@pytest.mark.parametrize("workers", [0, 2])
def test_environments_that_never_close_are_given_up_together(workers, monkeypatch):
    monkeypatch.setattr(batch, "GRACE", 0.2)
    monkeypatch.setattr(worker_pool, "GRACE", 0.2)
    tasks = tasks_of("never_closes", workers)
    roll(tasks, (0.5, 0.5, 0.5, 0.5))
    running, began = processes(tasks) if workers else [], time.monotonic()
    tasks.close()
    assert time.monotonic() - began < PATIENCE  # one of four environments takes longer
    assert not any(process.is_alive() for process in running)


def hold_workers(pipe, deed):
    """What a process does that is then killed."""
    tasks = tasks_of(deed)
    roll(tasks, (0.5, 0.5, 0.5, 0.5))
    pipe.send([process.pid for process in processes(tasks)])
    roll(tasks)


@pytest.mark.parametrize("deed", ["hangs", "hangs_on"])
def test_workers_die_with_a_parent_that_is_killed(deed, late):
    """SIGKILL: it cannot tell them. Also in the middle of a step that never ends."""
    late.error = None
    context = multiprocessing.get_context("fork")
    pipe, other = context.Pipe()
    parent = context.Process(target=hold_workers, args=(other, deed))
    parent.start()
    pids = pipe.recv()
    assert all(alive(pid) for pid in pids)
    until(HANGING.get_value)
    parent.kill()
    parent.join()
    until(lambda: not any(alive(pid) for pid in pids))


def test_workers_end_with_the_interpreter():
    """Nobody closes; the program just ends, with status 0 and not a word."""
    program = (
        "import torch; from metarl_exp.tasks import GymnasiumTasks\n"
        "tasks = GymnasiumTasks('tests.environments:Scripted-v0', 5, {}, {'gain': {'attribute': 'gain', 'uniform': "
        "[1, 2]}}, [], None, 2, 'fork', None)\n"
        "env = tasks.make_env(torch.ones(2, 1), 1, torch.Generator(), torch.device('cpu'))\n"
        "env.reset()\n"
        "print(*[process.pid for process in env.pool.vector.processes])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE)
    assert (ended.returncode, ended.stderr) == (0, "")
    until(lambda: not any(alive(pid) for pid in ended.stdout.split()))
