"""From arrays over training seeds to what a line and its band show: means and 95 % t-intervals, point by point.

Seeds are on the first axis. A mean counts where every seed has a number; where one has NaN there is none, since a mean
over the seeds that survived is another quantity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metarl_exp.statistics import t_interval
from metarl_exp.validation import require_integer


class Curve(NamedTuple):
    """Something measured while seeds train: x and y [seeds, points]. NaN pads what a seed does not have."""

    x: np.ndarray
    y: np.ndarray


class Band(NamedTuple):
    """Means and the ends of their intervals or ranges, each [points]."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def over_seeds(values: np.ndarray) -> Band:
    """Mean and 95 % t-interval of each column of [seeds, points]; infinite for one seed, NaN where one has NaN."""

    def point(column: np.ndarray) -> tuple[float, ...]:
        return t_interval(column)[:3] if np.isfinite(column).all() else (np.nan, np.nan, np.nan)

    return Band(*np.array([point(column) for column in values.T]).T)


def span(values: np.ndarray) -> Band:
    """Mean, lowest and highest of each column of [seeds, points]: what two seeds can say without an interval."""
    return Band(values.mean(0), values.min(0), values.max(0))


def on_common_grid(method: str, curve: Curve, average: int = 1) -> Curve:
    """Seeds on one x [points], with y [seeds, points].

    Points are averaged first, `average` at a time. Seeds that share their x keep it. Others, such as those on a clock,
    are interpolated linearly onto as many evenly spaced points as the longest has, from where the last of them begins
    to where the first of them ends. Raises ValueError if the x of a seed does not rise, or if seeds have no part of x
    in common.
    """
    require_integer("average", average, low=1)
    x, y = (seeds_of(method, values) for values in curve)
    if x.shape != y.shape:
        raise ValueError(f"{method}: x has shape {list(x.shape)}, y {list(y.shape)}: must be the same")
    x, y = _averaged(x, average), _averaged(y, average)
    there = ~np.isnan(x)
    seeds = [(row[known], values[known]) for row, values, known in zip(x, y, there, strict=True)]
    if any((np.diff(row) <= 0).any() for row, _ in seeds):
        raise ValueError(f"{method}: x must rise from point to point")
    if all(np.array_equal(row, x[0], equal_nan=True) for row in x):
        return Curve(x[0][there[0]], y[:, there[0]])
    longest = max(len(row) for row, _ in seeds)
    start = max(row.min(initial=np.inf) for row, _ in seeds)
    end = min(row.max(initial=-np.inf) for row, _ in seeds)
    if start >= end:
        raise ValueError(f"{method}: the seeds share no range of x")
    grid = np.linspace(start, end, longest)
    return Curve(grid, np.stack([np.interp(grid, row, values) for row, values in seeds]))


def _averaged(values: np.ndarray, number: int) -> np.ndarray:
    """Means of `number` successive points of [seeds, points] each; the last ones may be fewer."""
    starts = np.arange(0, values.shape[1], number)
    return np.add.reduceat(values, starts, axis=1) / np.diff([*starts, values.shape[1]])


def seeds_of(method: str, values: np.ndarray) -> np.ndarray:
    """An array over seeds as floats. Raises ValueError unless it is [seeds, …] of two axes with some finite number."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or not np.isfinite(values).any():
        raise ValueError(f"{method}: shape {list(values.shape)}: must be [seeds, …] with some finite number")
    return values
