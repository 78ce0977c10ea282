"""Figures of the laboratory: how far meta-gradient estimators are off, against the number of trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from metarl_exp.figures.style import MARKS, SIZE, STYLE, look, save

PANELS = {
    ("expected", "bias"): "bias for ∇J_I",
    ("sampled", "bias"): "bias for ∇J_II(M)",
    ("sampled", "deviation"): "deviation",
    ("sampled", "error"): "error for ∇J_II(M)",
}
FLOOR = 1e-3  # what is less is not drawn


@matplotlib.rc_context(STYLE)
def gradients(cells: Sequence[Mapping[str, Any]], methods: Sequence[str], folder: Path) -> Path:
    """Bias, deviation and error of meta-gradients, a row each; a column for each step size.

    `cells` are entries of `gradients.json`. A bias that Monte Carlo does not tell from 0 is drawn, hollow, at the size
    of the noise.
    """
    sizes = sorted({cell["step_size"] for cell in cells})
    figure = Figure(figsize=(2.4 * len(sizes) + 0.4, 1.9 * len(PANELS)), layout="constrained")
    board = figure.subplots(len(PANELS), len(sizes), squeeze=False, sharex=True, sharey="row")
    for row, ((against, measure), title) in zip(board, PANELS.items(), strict=True):
        for axes, alpha in zip(row, sizes, strict=True):
            for number, method in enumerate(methods):
                chosen = [c for c in cells if c["step_size"] == alpha and c["estimator"] == method]
                found = [(c["trajectories"], c[against][measure], c[against]["noise"]) for c in chosen]
                _line(axes, number, method, *np.array(sorted(found)).T, hollow=measure == "bias")
            _logarithmic(axes, sorted({cell["trajectories"] for cell in cells}))
        row[0].set_ylabel(title)
        if measure != "bias":  # less than two decades
            row[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            row[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    for axes, alpha in zip(board[0], sizes, strict=True):
        axes.set_title(f"α = {alpha:g}", fontsize=9)
    for axes in board[-1]:
        axes.set_xlabel("trajectories M")
    _legend(figure, board[0, 0], 4)
    return save(figure, folder, "gradients")


@matplotlib.rc_context(STYLE)
def hessians(surrogates: Mapping[str, Mapping[str, float]], trajectories: Sequence[int], folder: Path) -> Path:
    """Root of bias² + deviation² / M of the inner Hessian against M; the bias alone dotted."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    sizes = np.geomspace(min(trajectories), 100 * max(trajectories), 60)
    for number, (name, cell) in enumerate(surrogates.items()):
        shape = look(number)._replace(marker="")._asdict()
        axes.plot(sizes, np.sqrt(cell["bias"] ** 2 + cell["deviation"] ** 2 / sizes), **shape, label=name)
        if cell["bias"] > FLOOR:
            axes.axhline(cell["bias"], color=shape["color"], linestyle=":", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="trajectories M", ylabel="error of the inner Hessian for ∇²V")
    _legend(figure, axes, 2)
    return save(figure, folder, "hessians")


def _line(
    axes: Axes, number: int, method: str, sizes: np.ndarray, values: np.ndarray, noise: np.ndarray, hollow: bool
) -> None:
    lost = (values < noise) & hollow
    shown = np.where(lost, noise, values)
    shown[shown < FLOOR] = np.nan
    axes.plot(sizes, shown, **look(number)._asdict(), **MARKS, label=method)
    axes.plot(sizes[lost], shown[lost], color=look(number).color, marker=look(number).marker, linestyle="none",
              markersize=5, markerfacecolor="white")  # fmt: skip


def _logarithmic(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Names above the figure."""
    figure.legend(*axes.get_legend_handles_labels(), loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns)
