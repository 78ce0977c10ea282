"""Intervals for means. The caller says what they are over: tasks, or training seeds."""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean, the ends of its interval, and the number of values behind it."""

    mean: float
    low: float
    high: float
    n: int


def t_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Student's t-interval of the mean of independent values [n]; infinitely wide for n = 1."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, -math.inf, math.inf, n)
    half = float(stats.t.ppf(0.5 + confidence / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)
