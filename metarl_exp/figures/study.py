"""Figures of a study: methods side by side, over training seeds, from arrays.

Methods come as mappings from their names, in the order in which they are shown; the same order gives the same looks in
every figure. Arrays over seeds have these on their first axis. Lines are means over seeds with 95 % t-intervals as
bands, a single seed has no band, and where a seed has NaN there is a gap. Every function writes PNG and PDF and returns
the path of the PNG; a `name` that ends with .png writes no PDF, which takes half of the time. All raise ValueError,
naming the method, for arrays that do not fit, or without any method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

from metarl_exp.figures.bands import Band, Curve, on_common_grid, over_seeds, seeds_of, span
from metarl_exp.figures.board import (
    HOLLOW,
    board_of,
    cut_failures,
    draw_legend,
    draw_line,
    note_seeds,
    published_look,
    rows_of,
    show_lines,
)
from metarl_exp.figures.style import STYLE, look, save
from metarl_exp.runs import results
from metarl_exp.statistics import Interval

BEATS = 9  # markers on a long line
MEANS = "mean and 95 % t-interval over"


class Steps(NamedTuple):
    """Returns [seeds, K + 1] after 0 … K gradient steps, and what a paper printed of them."""

    returns: np.ndarray
    published: Sequence[float | None] | None = None


class StepSizes(NamedTuple):
    """Inner step sizes [sizes], returns on validation tasks [seeds, sizes], and the step size that was chosen."""

    sizes: np.ndarray
    returns: np.ndarray
    chosen: float


class Profile(NamedTuple):
    """Share of runs × tasks above each threshold, with the ends of its interval: four arrays [points]."""

    thresholds: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


@matplotlib.rc_context(STYLE)
def learning_curves(
    panels: Mapping[str, Mapping[str, Curve]],
    folder: Path,
    *,
    ylabel: str,
    average: int = 1,
    name: str = "learning_curves",
) -> Path:
    """Return while training: panels side by side, one for each x, such as meta-iterations, samples or seconds.

    `panels` maps the label of an x-axis to methods' curves. Each seed's points are averaged first, `average` at a time,
    for long runs. Seeds that do not share their x, such as on a clock, are interpolated linearly onto as many evenly
    spaced points as the longest has, where all of them have been (`on_common_grid`).
    """
    figure, board, places = board_of(panels)
    for axes, (xlabel, curves) in zip(board, panels.items(), strict=True):
        for method, curve in curves.items():
            number = places[method]
            x, values = on_common_grid(method, curve, average)
            every = max(1, len(x) // BEATS)
            beat = every * number // len(places), every  # else methods that agree hide each other's markers
            width = 1.1 if len(x) > 100 else 1.5
            draw_line(axes, number, method, x, over_seeds(values), markevery=beat, linewidth=width)
        axes.set_xlabel(xlabel)
        if max(axes.get_xlim()) >= 10_000:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    board[0].set_ylabel(ylabel)
    show_lines(board)
    points = f"; a point is the mean of {average}" if average > 1 else ""
    note_seeds(board[-1], MEANS, [curve.y for curves in panels.values() for curve in curves.values()], points)
    draw_legend(figure, board)
    return save(figure, folder, name)


@matplotlib.rc_context(STYLE)
def gradient_steps(
    methods: Mapping[str, Steps],
    folder: Path,
    *,
    ylabel: str,
    counted: str = "step",
    name: str = "gradient_steps",
) -> Path:
    """Return after 0 … K gradient steps; published numbers dashed, with hollow markers of their method's colour.

    `counted` is what K counts instead: an `episode`, or a `step or episode`.
    """
    figure, (axes,), _ = board_of({"": methods})
    published = any(steps.published is not None for steps in methods.values())
    solid = {"linestyle": "-"} if published else {}  # where dashes say «published», they tell no methods apart
    for number, (method, steps) in enumerate(methods.items()):
        returns = seeds_of(method, steps.returns)
        x = np.arange(returns.shape[1])
        draw_line(axes, number, method, x, over_seeds(returns), **solid)
        if steps.published is not None:
            if len(steps.published) != len(x):
                raise ValueError(f"{method}: {len(steps.published)} published numbers for steps 0 … {x[-1]}")
            printed = {k: value for k, value in enumerate(steps.published) if value is not None}
            axes.plot(*zip(*printed.items(), strict=True), **published_look(look(number).color, look(number).marker))
    axes.set(xlabel=results.AXES[counted], ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    show_lines([axes])
    note = [Line2D([], [], **published_look("0.35", "o"), label="as published")] if published else []
    note_seeds(axes, MEANS, [steps.returns for steps in methods.values()])
    draw_legend(figure, [axes], note)
    return save(figure, folder, name)


@matplotlib.rc_context(STYLE)
def step_size_choice(methods: Mapping[str, StepSizes], folder: Path, *, name: str = "step_size_choice") -> Path:
    """Return on validation tasks against the inner step size, with a ring around the one that each method takes.

    Few seeds choose, so that the band is from the lowest to the highest.
    Raises ValueError for a step size that is not positive, and a choice that was not among those tried.
    """
    figure, (axes,), _ = board_of({"": methods})
    axes.set_xscale("log")
    ring: Any = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "linestyle": "none"}
    for number, (method, tried) in enumerate(methods.items()):
        sizes, band = np.asarray(tried.sizes, float), span(seeds_of(method, tried.returns))
        if sizes.shape != band.mean.shape or not (sizes > 0).all():
            raise ValueError(f"{method}: step sizes {sizes.tolist()} for {len(band.mean)} returns: must be positive")
        if tried.chosen not in sizes:
            raise ValueError(f"{method}: chosen={tried.chosen!r}: tried were {', '.join(f'{x:g}' for x in sizes)}")
        order = np.argsort(sizes)
        draw_line(axes, number, method, sizes[order], Band(*(values[order] for values in band)))
        axes.plot(tried.chosen, band.mean[sizes == tried.chosen], color=look(number).color, zorder=4, **ring)
    ticks = np.unique([size for tried in methods.values() for size in tried.sizes])
    if len(ticks) <= 8:
        axes.set_xticks(ticks, [f"{size:g}" for size in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="inner step size", ylabel="return on validation tasks")
    cut = cut_failures(axes, np.concatenate([np.ravel(tried.returns) for tried in methods.values()]))
    more = "; lower returns are cut off" if cut else ""
    note_seeds(axes, "mean, lowest and highest of", [tried.returns for tried in methods.values()], more)
    draw_legend(figure, [axes], [Line2D([], [], color="0.35", label="chosen", **ring)])
    return save(figure, folder, name)


@matplotlib.rc_context(STYLE)
def performance_profiles(
    methods: Mapping[str, Profile], folder: Path, *, xlabel: str, name: str = "performance_profiles"
) -> Path:
    """Share of runs × tasks that reach more than a threshold, against the threshold."""
    figure, (axes,), _ = board_of({"": methods})
    for number, (method, (thresholds, *share)) in enumerate(methods.items()):
        if {np.shape(values) for values in share} != {(len(thresholds),)}:
            raise ValueError(f"{method}: share, low and high must have {len(thresholds)} numbers, as thresholds have")
        draw_line(axes, number, method, thresholds, Band(*map(np.asarray, share)), marker="")
    axes.set(xlabel=xlabel, ylabel="share of runs × tasks above", ylim=(-0.03, 1.03))
    draw_legend(figure, [axes])
    return save(figure, folder, name)


@matplotlib.rc_context(STYLE)
def aggregate_intervals(
    panels: Mapping[str, Mapping[str, Interval]], folder: Path, *, xlabel: str, name: str = "aggregate_intervals"
) -> Path:
    """Aggregates over runs: a panel for each, such as IQM and mean, with a row for each method.

    A bar is an interval, the stroke in it the number.
    """
    figure, board, places = rows_of(panels)
    for axes, (aggregate, estimates) in zip(board, panels.items(), strict=True):
        for method, (value, low, high, _) in estimates.items():
            if not low <= value <= high:
                raise ValueError(f"{method}: {value:g} is not inside its interval [{low:g}, {high:g}]")
            row = places[method]
            axes.barh(row, high - low, left=low, height=0.55, color=look(row).color, alpha=0.75, linewidth=0)
            axes.vlines(value, row - 0.28, row + 0.28, color="black", linewidth=1.6)
        axes.set_title(aggregate, fontsize=9)
        axes.set_xlabel(xlabel)
    return save(figure, folder, name)


@matplotlib.rc_context(STYLE)
def memory_bars(quantities: Mapping[str, Mapping[str, float]], folder: Path, *, name: str = "memory_bars") -> Path:
    """Costs of methods: a panel for each quantity, such as peak MiB and seconds an iteration; values are printed."""
    figure, board, places = rows_of(quantities)
    for axes, (quantity, values) in zip(board, quantities.items(), strict=True):
        for method, value in values.items():
            if not 0 <= value < np.inf:
                raise ValueError(f"{method}: {quantity}={value!r}: must be a number ≥ 0")
            row = places[method]
            axes.barh(row, value, height=0.55, color=look(row).color)
            text = f"{value:.0f}" if value >= 100 else f"{value:#.3g}"
            axes.annotate(text, (value, row), (3, 0), textcoords="offset points", va="center")
        axes.set_xlabel(quantity)
        axes.set_xlim(0, 1.22 * max(*values.values(), 1e-12))  # room for what is printed
        axes.xaxis.set_major_locator(MaxNLocator(5))
    return save(figure, folder, name)


@matplotlib.rc_context(STYLE)
def task_gains(
    gains: Mapping[str, np.ndarray],
    folder: Path,
    *,
    steps: int,
    counted: str = "step",
    name: str = "task_gains",
) -> Path:
    """Gain of adaptation on each test task: return after the last gradient step minus before the first.

    `gains` has arrays [seeds, tasks]; a dot is a task's mean over seeds, hollow if adaptation made the task worse, bars
    reach from the lower to the upper quartile of the dots, with a stroke at the median. `counted` is as in
    `gradient_steps`.
    """
    figure, (axes,), _ = rows_of({"": gains})
    axes.axvline(0, color="0.25", linewidth=1)
    for row, (method, values) in enumerate(gains.items()):
        if not np.isfinite(seeds_of(method, values)).all():
            raise ValueError(f"{method}: the gain of some task is not a number")
        tasks, color = np.mean(values, axis=0), look(row).color
        low, median, high = np.quantile(tasks, [0.25, 0.5, 0.75])
        axes.barh(row, high - low, left=low, height=0.62, color=color, alpha=0.2, linewidth=0)
        axes.vlines(median, row - 0.31, row + 0.31, color=color, linewidth=2)
        worse = tasks < 0
        heights = row + 0.44 * ((np.arange(len(tasks)) * 0.618) % 1 - 0.5)  # spread, so that dots do not lie on others
        dots: Any = {"marker": "o", "markersize": 3.2, "linestyle": "none", "color": color}
        axes.plot(tasks[~worse], heights[~worse], **dots, alpha=0.8)
        axes.plot(tasks[worse], heights[worse], **dots, **HOLLOW)
        share = f"{100 * worse.mean():.0f} % worse\n({worse.sum()} of {len(tasks)})"
        axes.annotate(share, (1.02, row), xycoords=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set_xlabel(f"gain in return from {results.gradient_steps_in_words(steps, counted)}, task by task")
    note_seeds(axes, "dots: tasks, mean over", list(gains.values()))
    return save(figure, folder, name)
