"""A run that is killed without a word, at any moment: the same command ends with the numbers of an undisturbed run."""

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from functools import partial

import pytest

from tests.torture.victim import Victim
from tests.waiting import PATIENCE

MOMENTS = 20
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def killed(victim: Victim, arrange: Callable[[], object]) -> bool:
    """Begin the run anew in a process of its own, which arranges for its own death; whether it died."""
    victim.clear()

    def dying() -> None:
        arrange()
        victim.start()

    process = multiprocessing.get_context("fork").Process(target=dying)
    process.start()
    process.join(PATIENCE)
    process.kill()
    process.join()
    return process.exitcode != 0


def before_operation(number: int) -> Callable[[], None]:
    """Arrange for SIGKILL before the file operation of that number: one that replaces a file, or waits for the disk."""

    def arrange() -> None:
        left = iter(range(number, -1, -1))

        def counted(operation: Callable) -> Callable:
            def act(*arguments):
                if next(left) == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return operation(*arguments)

            return act

        os.replace, os.fsync = counted(os.replace), counted(os.fsync)

    return arrange


@pytest.mark.torture
def test_before_each_file_operation(victim, tally):
    number = 0
    while killed(victim, before_operation(number)):
        outcome, said = victim.outcome()
        tally("a run killed before a file operation", outcome)
        assert outcome == "identical", f"{number}: {said}"
        number += 1
    assert number > 20


@pytest.mark.torture
def test_at_a_random_moment(victim, tally):
    """After some time of the processor, which is the same on a busy machine."""
    chance = random.Random(0)
    for _ in range(MOMENTS):
        seconds = chance.uniform(0.05, 0.6)
        killed(victim, partial(signal.setitimer, signal.ITIMER_PROF, seconds))  # SIGPROF ends a process
        outcome, said = victim.outcome()
        tally("a run killed at a random moment", outcome)
        assert outcome == "identical", f"{seconds}: {said}"
