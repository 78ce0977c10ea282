"""Intervals, against scipy's own."""

import numpy as np
import pytest
from scipy import stats

from metarl_exp.statistics import t_interval


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_interval_is_student_s_for_any_n(n):
    """Trap 17: no n is built in."""
    values = np.random.default_rng(n).normal(size=n)
    interval = t_interval(values)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((values.mean(), low, high), rel=1e-12)
    assert interval.n == n


def test_one_value_says_nothing_about_its_spread():
    assert t_interval(np.array([3.0]))[:3] == (3.0, -np.inf, np.inf)
