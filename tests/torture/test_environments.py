"""Environments that hang, raise or exit when they are made, reset, stepped or closed: here and in workers of any kind.

Runs of the real entry point, forked as in tests/runs/test_failure.py: each ends by itself, with a reason or with
results, and leaves nobody behind.
"""

import multiprocessing
import os
import threading

import pytest
import torch

from metarl_exp import wiring
from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.runs.run_folder import RunFolder
from tests.runs.test_failure import FORKED, IN_PROCESS, SERVED, SPAWNED, arguments, living, run_forked
from tests.waiting import until

pytestmark = [
    pytest.mark.torture,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
WHERE = {"in process": IN_PROCESS, "fork": FORKED, "spawn": SPAWNED, "forkserver": SERVED}
LIMIT = "environment_timeout=20"  # s; what is well takes less on a busy machine, too


@pytest.fixture(scope="module", autouse=True)
def warm():
    """What building a run imports is imported once for all that are forked."""
    wiring.assemble(wiring.compose(["tracker=none"]))


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("when", ["__init__", "reset", "step", "close"])
@pytest.mark.parametrize("deed", ["hangs", "raises", "exits", "dies"])
def test_a_failure_of_any_kind_ends_the_run_which_says_where(tmp_path, tally, deed, when, where):
    """Those of workers go wrong there alone, not where the environment is looked at before."""
    in_workers = ["+tasks.kwargs.in_workers=true"] if where != "in process" and when != "step" else []
    code, session, printed = run_forked(
        tmp_path, deed, [*WHERE[where], LIMIT, f"+tasks.kwargs.when={when}", *in_workers]
    )
    until(lambda: not living(session))
    runs = [RunFolder(path) for path in (tmp_path / "outputs").glob("*") if path.is_dir()]
    finished = [run for run in runs if run.read_json("status.json")["state"] == "finished"]
    tally("environments that go wrong", "hung" if code is None or code < 0 else "identical" if finished else "refused")
    if when == "close" and in_workers:  # it has its results by then
        assert (code, len(finished)) == (0, 1)
    else:
        assert code == 1
        *_, reason = (
            line for line in printed.splitlines() if "EnvironmentFailure: " in line or "metarl-train: " in line
        )
        named = "worker" if deed == "dies" and when == "step" and where != "in process" else "trajectory"
        assert named in reason if when == "step" else f"{when} of tasks.id=tests.environments:Faulty-v0" in reason
        assert deed != "hangs" or "no answer within 20 s" in reason


@pytest.mark.parametrize("where", ["in process", "fork"])
def test_two_hundred_iterations_take_no_more_processes_threads_or_descriptors(tmp_path, where):
    config = wiring.compose(
        [*arguments(tmp_path, "raises", WHERE[where])[1:], "policy.hidden_sizes=[4]"], str(tmp_path / "conf")
    )
    config.tasks.kwargs.good_episodes = 10**9
    learner = wiring.assemble(config).learner
    looks = set()
    for number, _ in enumerate(learner.iterations(200)):
        if number >= 20 and number % 20 == 0:
            looks.add(held())
    learner.task_distribution.close()
    assert len(looks) == 1


def test_failures_one_after_the_other_leave_nothing(tmp_path):
    config = wiring.compose(arguments(tmp_path, "dies_in_c", FORKED)[1:], str(tmp_path / "conf"))
    tasks = wiring.tasks_of(config.tasks, 60.0)
    looks = []
    for _ in range(30):
        env = tasks.make_env(torch.full((2, 1), 2.0), 3, torch.Generator().manual_seed(0), torch.device("cpu"))
        with pytest.raises(EnvironmentFailure, match="exited with status 7"):
            episodes(env)
        looks.append(held())
    assert len(set(looks[1:])) == 1


def episodes(env) -> None:
    """More than are good."""
    for _ in range(5):
        env.reset()
        for _ in range(3):
            env.step(torch.zeros(2, 3, dtype=torch.int64))


def held() -> tuple[int, int, int]:
    """How many descriptors, threads and child processes this process has."""
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(multiprocessing.active_children())
