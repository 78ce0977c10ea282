"""What foreign code may do, turned into one kind of failure. More of it in test_sampler.py, where guards are used."""

import signal
import threading
import time
from contextlib import suppress

import pytest

from metarl_exp.tasks.guard import guarded, unhurried
from metarl_exp.types import EnvironmentFailure


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
    assert 0.25 < time.monotonic() - began < 2


def test_a_limit_that_ran_out_while_an_inner_guard_waited_is_not_forgotten():
    def outer():
        with guarded("outer", 0.1):
            with suppress(EnvironmentFailure), guarded("inner", 0.2):
                time.sleep(60)
            time.sleep(60)

    with pytest.raises(EnvironmentFailure, match=r"^outer: TimeoutError: no answer within 0.1 s$"):
        outer()


def test_what_is_not_to_be_hurried_takes_nothing_from_the_limit_around_it():
    def outer():
        with guarded("outer", 0.2):
            with unhurried():
                time.sleep(0.5)
            time.sleep(60)

    began = time.monotonic()
    with pytest.raises(EnvironmentFailure, match=r"^outer: TimeoutError: no answer within 0.2 s$"):
        outer()
    assert 0.65 < time.monotonic() - began < 3


def test_nothing_is_left_behind():
    before = signal.getsignal(signal.SIGALRM)
    with guarded("fine", 60), unhurried():
        pass
    with unhurried():
        pass
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


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
