"""Two computations that take turns at running Python."""

import time
from concurrent.futures import CancelledError

import pytest
import torch

from metarl_exp.process.side_by_side import GilTurn, side_by_side


def test_results_come_in_order_and_one_side_at_a_time_holds_the_turn():
    gil_turn, holding, most = GilTurn(), [], []

    def side(name):
        for _ in range(20):
            holding.append(name)
            most.append(len(holding))
            time.sleep(1e-4)  # in which the other would come in if it could
            holding.remove(name)
            with gil_turn.released():
                time.sleep(1e-4)
        return name

    assert side_by_side(gil_turn, lambda: side("first"), lambda: side("second")) == ("first", "second")
    assert most == [1] * 40
    assert not gil_turn.lock.locked()


def test_both_are_in_c_at_once():
    """Each leaves its released block only when the other is in its own."""
    gil_turn, inside = GilTurn(), []

    def side():
        with gil_turn.released():
            inside.append(None)
            while len(inside) < 2:
                time.sleep(1e-3)

    side_by_side(gil_turn, side, side)


def test_a_failure_of_the_first_cancels_the_second():
    gil_turn, cancelled = GilTurn(), []

    def first():
        raise KeyboardInterrupt

    def second():
        try:
            for _ in range(9999):
                with gil_turn.released():
                    time.sleep(1e-3)
        except CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(KeyboardInterrupt):
        side_by_side(gil_turn, first, second)
    assert cancelled


@pytest.mark.parametrize(("first", "raised"), [(lambda: 1 // 0, ZeroDivisionError), (lambda: 1, KeyError)])
def test_the_failure_of_the_first_side_is_raised_if_both_fail(first, raised):
    with pytest.raises(raised):
        side_by_side(GilTurn(), first, lambda: {}["second"])


def test_torch_has_one_thread_meanwhile():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert side_by_side(GilTurn(), torch.get_num_threads, torch.get_num_threads) == (1, 1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
