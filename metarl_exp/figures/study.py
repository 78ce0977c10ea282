"""Figures of a study: methods side by side, over training seeds, from arrays.

Methods come as mappings from their names, in the order in which they are shown; the same order gives the same looks in
every figure. Arrays over seeds have these on their first axis. Lines are means over seeds with 95 % t-intervals as
bands, a single seed has no band, and where a seed has NaN there is a gap. Every function writes PNG and PDF and returns
the path of the PNG. All raise ValueError, naming the method, for arrays that do not fit, or without any method.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

from metarl_exp.figures.bands import Band, Curve, on_common_grid, over_seeds, seeds_of, span
from metarl_exp.figures.style import MARKS, SIZE, STYLE, look, save
from metarl_exp.runs import results
from metarl_exp.statistics import Interval

WIDE = 7.0  # inches: panels side by side, over both columns
ROW, LINE = 0.42, 0.17  # inches: height of a method's row at least, and of a line of its name
LETTERS = 26  # of a method's name in a line before its row
LEGEND = 50  # letters of a name in a line of a legend
BEATS = 9  # markers on a long line
MEANS = "mean and 95 % t-interval over"
HOLLOW = {"markerfacecolor": "white", "markeredgewidth": 1.1}


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
    figure, board, places = _board(panels)
    for axes, (xlabel, curves) in zip(board, panels.items(), strict=True):
        for method, curve in curves.items():
            number = places[method]
            x, values = on_common_grid(method, curve, average)
            every = max(1, len(x) // BEATS)
            beat = every * number // len(places), every  # else methods that agree hide each other's markers
            width = 1.1 if len(x) > 100 else 1.5
            _line(axes, number, method, x, over_seeds(values), markevery=beat, linewidth=width)
        axes.set_xlabel(xlabel)
        if max(axes.get_xlim()) >= 10_000:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    board[0].set_ylabel(ylabel)
    _show_lines(board)
    points = f"; a point is the mean of {average}" if average > 1 else ""
    _note(board[-1], MEANS, [curve.y for curves in panels.values() for curve in curves.values()], points)
    _legend(figure, board)
    return save(figure, folder, name)


@matplotlib.rc_context(STYLE)
def gradient_steps(
    methods: Mapping[str, Steps], folder: Path, *, ylabel: str, counted: str = "step", name: str = "gradient_steps"
) -> Path:
    """Return after 0 … K gradient steps; published numbers dashed, with hollow markers of their method's colour.

    `counted` is what K counts instead: an `episode`, or a `step or episode`.
    """
    figure, (axes,), _ = _board({"": methods})
    published = any(steps.published is not None for steps in methods.values())
    solid = {"linestyle": "-"} if published else {}  # where dashes say «published», they tell no methods apart
    for number, (method, steps) in enumerate(methods.items()):
        returns = seeds_of(method, steps.returns)
        x = np.arange(returns.shape[1])
        _line(axes, number, method, x, over_seeds(returns), **solid)
        if steps.published is not None:
            if len(steps.published) != len(x):
                raise ValueError(f"{method}: {len(steps.published)} published numbers for steps 0 … {x[-1]}")
            printed = {k: value for k, value in enumerate(steps.published) if value is not None}
            axes.plot(*zip(*printed.items(), strict=True), **_printed(look(number).color, look(number).marker))
    axes.set(xlabel=results.AXES[counted], ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _show_lines([axes])
    note = [Line2D([], [], **_printed("0.35", "o"), label="as published")] if published else []
    _note(axes, MEANS, [steps.returns for steps in methods.values()])
    _legend(figure, [axes], note)
    return save(figure, folder, name)


@matplotlib.rc_context(STYLE)
def step_size_choice(methods: Mapping[str, StepSizes], folder: Path, *, name: str = "step_size_choice") -> Path:
    """Return on validation tasks against the inner step size, with a ring around the one that each method takes.

    Few seeds choose, so that the band is from the lowest to the highest.
    Raises ValueError for a step size that is not positive, and a choice that was not among those tried.
    """
    figure, (axes,), _ = _board({"": methods})
    axes.set_xscale("log")
    ring: Any = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "linestyle": "none"}
    for number, (method, tried) in enumerate(methods.items()):
        sizes, band = np.asarray(tried.sizes, float), span(seeds_of(method, tried.returns))
        if sizes.shape != band.mean.shape or not (sizes > 0).all():
            raise ValueError(f"{method}: step sizes {sizes.tolist()} for {len(band.mean)} returns: must be positive")
        if tried.chosen not in sizes:
            raise ValueError(f"{method}: chosen={tried.chosen!r}: tried were {', '.join(f'{x:g}' for x in sizes)}")
        order = np.argsort(sizes)
        _line(axes, number, method, sizes[order], Band(*(values[order] for values in band)))
        axes.plot(tried.chosen, band.mean[sizes == tried.chosen], color=look(number).color, zorder=4, **ring)
    ticks = np.unique([size for tried in methods.values() for size in tried.sizes])
    if len(ticks) <= 8:
        axes.set_xticks(ticks, [f"{size:g}" for size in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="inner step size", ylabel="return on validation tasks")
    cut = _cut_failures(axes, np.concatenate([np.ravel(tried.returns) for tried in methods.values()]))
    more = "; lower returns are cut off" if cut else ""
    _note(axes, "mean, lowest and highest of", [tried.returns for tried in methods.values()], more)
    _legend(figure, [axes], [Line2D([], [], color="0.35", label="chosen", **ring)])
    return save(figure, folder, name)


@matplotlib.rc_context(STYLE)
def performance_profiles(
    methods: Mapping[str, Profile], folder: Path, *, xlabel: str, name: str = "performance_profiles"
) -> Path:
    """Share of runs × tasks that reach more than a threshold, against the threshold."""
    figure, (axes,), _ = _board({"": methods})
    for number, (method, (thresholds, *share)) in enumerate(methods.items()):
        if {np.shape(values) for values in share} != {(len(thresholds),)}:
            raise ValueError(f"{method}: share, low and high must have {len(thresholds)} numbers, as thresholds have")
        _line(axes, number, method, thresholds, Band(*map(np.asarray, share)), marker="")
    axes.set(xlabel=xlabel, ylabel="share of runs × tasks above", ylim=(-0.03, 1.03))
    _legend(figure, [axes])
    return save(figure, folder, name)


@matplotlib.rc_context(STYLE)
def aggregate_intervals(
    panels: Mapping[str, Mapping[str, Interval]], folder: Path, *, xlabel: str, name: str = "aggregate_intervals"
) -> Path:
    """Aggregates over runs: a panel for each, such as IQM and mean, with a row for each method.

    A bar is an interval, the stroke in it the number.
    """
    figure, board, places = _rows(panels)
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
    """What methods cost: a panel for each quantity, such as peak MiB and seconds an iteration; values are printed."""
    figure, board, places = _rows(quantities)
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
    gains: Mapping[str, np.ndarray], folder: Path, *, steps: int, counted: str = "step", name: str = "task_gains"
) -> Path:
    """What adaptation is worth on each test task: return after the last gradient step minus before the first.

    `gains` has arrays [seeds, tasks]; a dot is a task's mean over seeds, hollow if adaptation made the task worse, bars
    reach from the lower to the upper quartile of the dots, with a stroke at the median. `counted` is as in
    `gradient_steps`.
    """
    figure, (axes,), _ = _rows({"": gains})
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
    _note(axes, "dots: tasks, mean over", list(gains.values()))
    return save(figure, folder, name)


def _board(
    panels: Mapping[str, Mapping[str, Any]], height: float = SIZE[1], row: float = 0
) -> tuple[Figure, list[Axes], dict[str, int]]:
    """A figure of one column, or of panels side by side; its axes, which share y; and the place of each method, from 0.

    Methods are placed in the order in which panels name them, and each adds a `row` to the height. Raises ValueError
    if there is none.
    """
    if not panels or not all(panels.values()):
        raise ValueError("nothing to draw: there must be at least one method")
    methods = dict.fromkeys(method for panel in panels.values() for method in panel)
    size = SIZE[0] if len(panels) == 1 else WIDE, height + row * len(methods)
    figure = Figure(figsize=size, layout="constrained")
    board = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    return figure, list(board[0]), {method: place for place, method in enumerate(methods)}


def _rows(panels: Mapping[str, Mapping[str, Any]]) -> tuple[Figure, list[Axes], dict[str, int]]:
    """Panels with a row for each method, and where that is; the first is on top."""
    names = {method: textwrap.fill(method, LETTERS) for values in panels.values() for method in values}
    tallest = max((name.count("\n") + 1 for name in names.values()), default=1)
    figure, board, places = _board(panels, height=0.7, row=max(ROW, 0.06 + LINE * tallest))
    board[0].set_yticks(list(places.values()), list(names.values()))
    board[0].set_ylim(len(places) - 0.4, -0.6)
    for axes in board:
        axes.grid(False, axis="y")
        axes.set_axisbelow(True)
        axes.use_sticky_edges = False
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure, board, places


def _line(axes: Axes, number: int, method: str, x: np.ndarray, band: Band, **changes: Any) -> None:
    """A method's line with its band, if it has one."""
    axes.plot(x, band.mean, **({**look(number)._asdict(), **MARKS, "label": method} | changes))
    if np.isfinite(band.low).any():
        axes.fill_between(x, band.low, band.high, color=look(number).color, alpha=0.16, linewidth=0)


def _printed(color: str, marker: str) -> dict[str, Any]:
    """The look of published numbers."""
    return {"color": color, "marker": marker, "linestyle": "--", "linewidth": 1, "markersize": 6, **HOLLOW}


def _show_lines(board: Sequence[Axes]) -> None:
    """Cut bands that go on far beyond all lines: one seed that went astray would leave the others no room."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for axes in board for line in axes.lines])
    least, most = np.nanmin(drawn), np.nanmax(drawn)
    room = (most - least) / 4 or 1.0
    low, high = board[0].get_ylim()
    board[0].set_ylim(max(low, least - room), min(high, most + room))


def _cut_failures(axes: Axes, returns: np.ndarray) -> bool:
    """Cut returns so far below nine tenths of them that those would have no room; whether there are any."""
    low, high = np.nanquantile(returns, [0.1, 1.0])
    cut = bool(np.nanmin(returns) < low - 3 * (high - low))
    if cut:
        axes.set_ylim(low - (high - low) / 2, high + (high - low) / 10)
    return cut


def _note(axes: Axes, text: str, arrays: Sequence[np.ndarray], more: str = "") -> None:
    """Say in small letters what is shown of how many seeds."""
    few, many = min(map(len, arrays)), max(map(len, arrays))
    seeds = f"{text} {many if few == many else f'{few} to {many}'} seeds" if many > 1 else "one seed"
    axes.set_title(seeds + more, fontsize=7, loc="right", color="0.4")


def _legend(figure: Figure, board: Sequence[Axes], more: Sequence[Line2D] = ()) -> None:
    """Names above the figure, where they cover nothing, in as many columns as fit."""
    named = {str(line.get_label()): line for line in [*(line for axes in board for line in axes.lines), *more]}
    shown = {name: line for name, line in named.items() if not name.startswith("_")}
    for columns in range(len(shown), 0, -1):
        legend = figure.legend(
            list(shown.values()),
            [textwrap.fill(name, LEGEND) for name in shown],
            loc="lower center",
            bbox_to_anchor=(0.5, 1),
            ncols=columns,
            handlelength=2.6,
        )
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()
