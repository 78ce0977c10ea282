"""Figures of one run, from its records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from metarl_exp.figures.style import SIZE, STYLE, save
from metarl_exp.runs import results
from metarl_exp.tasks.base import Episode
from metarl_exp.types import Trajectories

NAMES = {"initial": "before meta-training", "best": "best iterate", "last": "last iterate"}


def learning_curve(records: list[dict[str, Any]], folder: Path, counted: str = "step") -> Path:
    """Return of the training tasks against meta-iterations, one line for each number of inner steps, or episodes."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE)
        axes = figure.subplots()
        iterations = [record["iteration"] for record in records]
        steps = sum(key.startswith("return/step_") for key in records[0]) if records else 0
        colours = matplotlib.colormaps["viridis"](np.linspace(0.75, 0.15, max(steps, 1)))
        for k in range(steps):
            label = f"after {results.steps_in_words(k, 'inner step' if counted == 'step' else counted)}"
            axes.plot(iterations, [record[f"return/step_{k}"] for record in records], color=colours[k], label=label)
        axes.set(xlabel="meta-iteration", ylabel="mean return of training tasks")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if steps:
            axes.legend()
        return save(figure, folder, "learning_curve")


def gradient_steps(evaluation: dict[str, Any], folder: Path, name: str = "gradient_steps") -> Path:
    """Return on held-out tasks against gradient steps or episodes, with intervals over tasks; a line an iterate."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE)
        axes = figure.subplots()
        steps = np.arange(evaluation["protocol"]["steps"] + 1)
        shown = {entry["iteration"]: (theta, entry) for theta, entry in reversed(evaluation["theta"].items())}
        for i, (theta, entry) in enumerate(reversed(shown.values())):
            mean = np.array(entry["mean"])
            label = f"{NAMES.get(theta, theta)} (iteration {entry['iteration']})"
            line = axes.plot(steps, mean, marker="o", markersize=4, label=label, linestyle="--" if i == 0 else "-")
            if all(entry["interval"]):
                axes.fill_between(steps, *np.array(entry["interval"]).T, alpha=0.15, color=line[0].get_color())
        xlabel = results.AXES[results.counted(evaluation)]
        axes.set(xlabel=xlabel, ylabel=f"return on {evaluation['tasks']['n']} held-out tasks", xticks=steps)
        axes.legend()
        axes.set_title("bands: 95 % interval over tasks", fontsize=7, loc="right", color="0.4")
        return save(figure, folder, name)


def paths(
    measured: list[Trajectories], place: Callable[[Tensor], Tensor], landmarks: Tensor, folder: Path, tasks: int = 4
) -> Path:
    """Paths in the plane before and after adaptation, some tasks side by side.

    `measured` has the trajectories after each number of gradient steps, of which the first and the last are drawn;
    `place` maps observations to the plane; landmarks [N, 2] mark the goals.
    """
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        tasks = min(tasks, len(landmarks))
        limit = 1.6 * landmarks.abs().max().item()
        figure = Figure(figsize=(1.9 * tasks, 3.9))
        rows = figure.subplots(2, tasks, squeeze=False, sharex=True, sharey=True)
        for axes_row, k, colour in zip(rows, (0, len(measured) - 1), ("C0", "C2"), strict=True):
            for task, axes in enumerate(axes_row):
                for episode in range(min(3, measured[k].mask.shape[1])):
                    path = place(Episode.of(measured[k], task, episode).observations).numpy().T  # [2, steps + 1]
                    axes.plot(*path, linewidth=0.6, alpha=0.7, color=colour)
                    axes.plot(*path[:, 0], marker="o", markersize=4, color="black", zorder=3)
                axes.plot(*landmarks[task].tolist(), marker="*", markersize=11, color="black", zorder=3)
                axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
            axes_row[0].set_ylabel("before" if k == 0 else f"after {k} step{'' if k == 1 else 's'}")
        figure.tight_layout(pad=0.4)
        return save(figure, folder, "paths")
