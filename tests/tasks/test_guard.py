"""What foreign code may do, turned into one kind of failure. More of it in test_sampler.py, where guards are used."""

import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import torch

from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks import guard
from metarl_exp.tasks.guard import PROCESS, close, foreign, guarded, limited, unhurried


def test_a_failure_from_within_is_told_further_with_the_cause_that_it_had():
    with pytest.raises(EnvironmentFailure, match=r"^outside: inside: KeyError: 'x'$") as caught:  # noqa: SIM117
        with guarded("outside"), guarded("inside"):
            raise KeyError("x")
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("inner", [60, 0.2])
def test_a_guard_inside_leaves_the_outer_one_its_time(inner):
    """Whether the inner one comes to its end before the outer's limit, or is itself what takes too long."""

    def outer():
        with guarded("outer", 0.3):
            with suppress(EnvironmentFailure), guarded("inner", inner):
                time.sleep(0.1 if inner == 60 else 60)
            time.sleep(60)

    began = time.monotonic()
    with pytest.raises(EnvironmentFailure, match=r"^outer: TimeoutError: no answer within 0.3 s$"):
        outer()
    assert 0.25 < time.monotonic() - began < 60  # s, that it would sleep


def test_a_limit_that_ran_out_while_an_inner_guard_waited_is_not_forgotten():
    def outer():
        with guarded("outer", 0.1):
            with suppress(EnvironmentFailure), guarded("inner", 0.2):
                time.sleep(60)
            time.sleep(60)

    with pytest.raises(EnvironmentFailure, match=r"^outer: TimeoutError: no answer within 0.1 s$"):
        outer()


def test_an_unlimited_block_takes_nothing_from_the_limit_around_it():
    seen = []

    def outer():
        with guarded("outer", 0.2):
            with unhurried():
                seen.append("begun")
                time.sleep(0.5)
                seen.append("ended")
            time.sleep(60)

    while not seen:  # as long as the machine is so busy that the limit runs out before it begins
        began = time.monotonic()
        with pytest.raises(EnvironmentFailure, match=r"^outer: TimeoutError: no answer within 0.2 s$"):
            outer()
    assert seen == ["begun", "ended"]
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("limit", [1e12, 1e300])
def test_a_limit_beyond_any_timer_is_one(limit):
    with guarded("a block", limit), guarded("a block inside", 1.0):
        assert len(guard.limits) == 2
    assert guard.limits == []
    with pytest.raises(EnvironmentFailure, match="a block: ValueError: no"), guarded("a block", limit):
        raise ValueError("no")


def test_nothing_is_left_behind():
    before = signal.getsignal(signal.SIGALRM)
    with guarded("fine", 60), unhurried():
        pass
    with unhurried():
        pass
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def wait_guarded(pipe, limit):
    """What a process does that is then stopped."""
    try:
        with guarded("stopped", limit):
            pipe.send("waiting")
            pipe.recv()
        pipe.send("fine")
    except EnvironmentFailure as failure:
        pipe.send(str(failure))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("answered", "said"), [(True, "fine"), (False, "stopped: TimeoutError: no answer within 0.4 s")]
)
def test_time_in_which_the_process_was_stopped_is_none_of_the_limit_s(answered, said):
    """It is stopped for twice its limit. Whoever does not answer then is still found out."""
    context = multiprocessing.get_context("fork")
    pipe, other = context.Pipe()
    process = context.Process(target=wait_guarded, args=(other, 0.4))
    process.start()
    assert pipe.recv() == "waiting"
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.8)
    if answered:
        pipe.send("an answer")
    os.kill(process.pid, signal.SIGCONT)
    assert pipe.recv() == said
    process.join()


def test_a_child_that_is_forked_within_a_limit_has_none():
    with guarded("outer", 0.1), unhurried(), guarded("inner", 60):
        pid = os.fork()
        if pid == 0:
            left = guard.limits or signal.getitimer(signal.ITIMER_REAL)[0]
            os._exit(3 if left else 0)
    assert os.waitpid(pid, 0)[1] == 0


def test_os_exit_is_a_failure_too():
    real = os._exit
    with pytest.raises(EnvironmentFailure, match=r"^step 1: SystemExit: os._exit\(7\)$"), guarded("step 1"):
        os._exit(7)
    assert os._exit is real


def test_where_only_time_is_limited_other_exceptions_pass():
    with pytest.raises(KeyError), limited("making", 60):
        raise KeyError
    with (
        pytest.raises(EnvironmentFailure, match=r"^making: TimeoutError: no answer within 0.1 s$"),
        limited("making", 0.1),
    ):
        time.sleep(60)
    with pytest.raises(EnvironmentFailure, match=r"^making: SystemExit: os._exit\(0\)$"), limited("making", 60):
        os._exit(0)


def test_a_distribution_that_never_closes_is_a_failure_and_one_that_cannot_close_is_left():
    class NeverCloses:
        def close(self) -> None:
            while True:
                time.sleep(1)

    with pytest.raises(EnvironmentFailure, match="closing the tasks: TimeoutError: no answer within 0.2 s"):
        close(NeverCloses(), 0.2)
    close(object(), 0.2)


def test_outside_the_main_thread_there_is_no_alarm_but_the_failure_is_the_same():
    seen = []

    def run():
        try:
            with guarded("thread", 0.01):
                time.sleep(0.05)
                raise ValueError("after all")
        except EnvironmentFailure as failure:
            seen.append(str(failure))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == ["thread: ValueError: after all"]


# ---- what belongs to the whole process


@pytest.fixture
def _nothing_changed_yet(monkeypatch):
    """Environments find the process anew, and this one is left as it was."""
    monkeypatch.setattr(guard, "theirs", dict(guard.AT_FIRST))
    before = {name: read() for name, (read, _) in PROCESS.items()}
    yield
    for name, (_, put) in PROCESS.items():
        put(before[name])


CHANGES = {
    "gradients": lambda: torch.set_grad_enabled(False),
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "matmul precision": lambda: torch.set_float32_matmul_precision("medium"),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "numpy errors": lambda: np.seterr(all="raise"),
    "folder": lambda: os.chdir("/"),
}


@pytest.mark.usefixtures("_nothing_changed_yet")
@pytest.mark.parametrize("name", PROCESS)
def test_state_changed_by_foreign_code_is_put_back_for_others_and_found_again_by_it(name):
    """After an exception as well."""
    read, _ = PROCESS[name]
    ours = read()
    with suppress(KeyError), foreign():
        CHANGES[name]()
        theirs = read()
        raise KeyError
    assert read() == ours != theirs
    for _ in range(2):
        with foreign():
            assert read() == theirs
        assert read() == ours


@pytest.mark.usefixtures("_nothing_changed_yet")
def test_foreign_code_may_take_gradients_where_there_are_none():
    with torch.no_grad():
        for _ in range(2):
            with foreign():
                assert torch.is_grad_enabled()
            assert not torch.is_grad_enabled()


@pytest.mark.usefixtures("_nothing_changed_yet")
def test_state_changed_by_us_is_seen_by_foreign_code():
    with foreign():
        pass
    torch.set_num_threads(torch.get_num_threads() + 1)
    ours = torch.get_num_threads()
    with foreign():
        assert torch.get_num_threads() == ours
    assert torch.get_num_threads() == ours


@pytest.mark.usefixtures("_nothing_changed_yet")
def test_a_folder_that_is_gone_is_nobody_s_business(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    with foreign():
        os.chdir(tmp_path)
    with foreign():
        assert os.getcwd() == str(tmp_path)
