"""Boards of figures: panels side by side with methods in one order, their lines, notes and legend."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metarl_exp.figures.bands import Band
from metarl_exp.figures.style import MARKS, SIZE, look

WIDE = 7.0  # inches: panels side by side, over both columns
ROW, LINE = 0.42, 0.17  # inches: height of a method's row at least, and of a line of its name
LETTERS = 26  # of a method's name in a line before its row
LEGEND = 50  # letters of a name in a line of a legend
HOLLOW = {"markerfacecolor": "white", "markeredgewidth": 1.1}


def board_of(
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


def rows_of(panels: Mapping[str, Mapping[str, Any]]) -> tuple[Figure, list[Axes], dict[str, int]]:
    """Panels with a row for each method, and where that is; the first is on top."""
    names = {method: textwrap.fill(method, LETTERS) for values in panels.values() for method in values}
    tallest = max((name.count("\n") + 1 for name in names.values()), default=1)
    figure, board, places = board_of(panels, height=0.7, row=max(ROW, 0.06 + LINE * tallest))
    board[0].set_yticks(list(places.values()), list(names.values()))
    board[0].set_ylim(len(places) - 0.4, -0.6)
    for axes in board:
        axes.grid(False, axis="y")
        axes.set_axisbelow(True)
        axes.use_sticky_edges = False
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure, board, places


def draw_line(axes: Axes, number: int, method: str, x: np.ndarray, band: Band, **changes: Any) -> None:
    """A method's line with its band, if it has one."""
    axes.plot(x, band.mean, **({**look(number)._asdict(), **MARKS, "label": method} | changes))
    if np.isfinite(band.low).any():
        axes.fill_between(x, band.low, band.high, color=look(number).color, alpha=0.16, linewidth=0)


def published_look(color: str, marker: str) -> dict[str, Any]:
    """The look of published numbers."""
    return {"color": color, "marker": marker, "linestyle": "--", "linewidth": 1, "markersize": 6, **HOLLOW}


def show_lines(board: Sequence[Axes]) -> None:
    """Cut bands that go on far beyond all lines: one seed that went astray would leave the others no room."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for axes in board for line in axes.lines])
    least, most = np.nanmin(drawn), np.nanmax(drawn)
    room = (most - least) / 4 or 1.0
    low, high = board[0].get_ylim()
    board[0].set_ylim(max(low, least - room), min(high, most + room))


def cut_failures(axes: Axes, returns: np.ndarray) -> bool:
    """Cut returns so far below nine tenths of them that those would have no room; whether there are any."""
    low, high = np.nanquantile(returns, [0.1, 1.0])
    cut = bool(np.nanmin(returns) < low - 3 * (high - low))
    if cut:
        axes.set_ylim(low - (high - low) / 2, high + (high - low) / 10)
    return cut


def note_seeds(axes: Axes, text: str, arrays: Sequence[np.ndarray], more: str = "") -> None:
    """Say in small letters what is shown of how many seeds."""
    few, many = min(map(len, arrays)), max(map(len, arrays))
    seeds = f"{text} {many if few == many else f'{few} to {many}'} seeds" if many > 1 else "one seed"
    axes.set_title(seeds + more, fontsize=7, loc="right", color="0.4")


def draw_legend(figure: Figure, board: Sequence[Axes], more: Sequence[Line2D] = ()) -> None:
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
