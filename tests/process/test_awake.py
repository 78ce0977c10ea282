"""What counts against a limit: the time in which a process ran, on a clock that is told what time it is."""

from types import SimpleNamespace

import pytest

from metarl_exp.process import awake
from metarl_exp.process.awake import SLICES, Countdown


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(awake, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_process_that_looks_in_time_has_its_limit_to_the_second(clock):
    countdown, began = Countdown(300.0), clock.now
    while countdown.left > 0:
        clock.now += countdown.pause
        countdown.look()
    assert clock.now - began == pytest.approx(300.0)


def test_a_night_costs_one_slice_of_a_limit(clock):
    countdown = Countdown(300.0)
    clock.now += 10
    assert countdown.look() == 290
    clock.now += 8 * 3600
    assert countdown.look() == 290 - 300 / SLICES
    clock.now += 10
    assert countdown.look() == 280 - 300 / SLICES


def test_skipped_time_costs_nothing(clock):
    countdown = Countdown(300.0)
    clock.now += 10
    countdown.skip()
    clock.now += 1
    assert countdown.look() == 299
