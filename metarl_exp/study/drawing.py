"""The figures of a study: what each is made of, and when it is drawn again.

A PNG carries the hash of its data. Other versions of the drawing library make other bytes of the same data, so a figure
is redrawn only when its data are others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from metarl_exp.figures import study as figures
from metarl_exp.figures.stored import stored
from metarl_exp.runs import results
from metarl_exp.runs.files import DamagedFile
from metarl_exp.statistics import performance_profile
from metarl_exp.study.cells import COSTS, Table, over_seeds
from metarl_exp.study.measures import Return
from metarl_exp.study.summary import Summary

KEY = "data"  # of the hash among a PNG's texts
POINTS_AVERAGED = 5  # of a learning curve, which is drawn of single meta-batches
THRESHOLDS, LOWEST = 101, 0.02  # of a profile: how many, and the quantile of all returns that they begin at
AGGREGATES = {"mean": "mean, t-interval over seeds", "iqm": "IQM, whole runs resampled"}


class Drawing(NamedTuple):
    """A figure that is not drawn yet."""

    draw: Callable[..., Path]  # (folder, name=…)
    data: Any  # what it shows

    @property
    def hash(self) -> str:
        """Sixteen hex digits of the data, to six significant digits."""
        return hashlib.sha256(repr(_rounded(self.data)).encode()).hexdigest()[:16]


def gradient_steps(table: Table) -> Drawing:
    """Return on test tasks after each gradient step, with what was printed."""
    printed = {
        name: {c.measure.after: p.value for c in table.study.columns
               if type(c.measure) is Return and (p := table.cells[name, c.name].published)}
        for name in table.runs
    }  # fmt: skip
    methods = {
        name: figures.Steps(returns := np.stack([run.returns.mean(0) for run in runs]),
                            [printed[name].get(k) for k in range(returns.shape[1])] if printed[name] else None)
        for name, runs in table.runs.items() if runs
    }  # fmt: skip
    draw = partial(figures.gradient_steps, methods, ylabel="return on test tasks", counted=_counted(table))
    return Drawing(draw, methods)


def learning_curves(table: Table) -> Drawing:
    """Return of training tasks after adaptation, against samples and, if measured, against hours of an idle machine."""
    samples = {name: _curve(runs, "env_steps", 1e-6) for name, runs in table.runs.items() if _trained(runs)}
    panels = {"environment steps, millions": samples} if samples else {}
    if table.costs:
        seconds = {name: row["seconds"] for name, row in table.costs.items()}
        panels["minutes on an idle machine"] = {
            name: _curve(table.runs[name], "iteration", seconds[name] / 60) for name in samples if name in seconds
        }
    draw = partial(figures.learning_curves, panels, ylabel="return after adaptation", average=POINTS_AVERAGED)
    return Drawing(draw, panels)


def task_gains(table: Table) -> Drawing:
    """Gain of adaptation on each test task, after the last step that all methods took."""
    steps, returns = _adapted(table)
    gains = {name: values[..., steps] - values[..., 0] for name, values in returns.items()}
    return Drawing(partial(figures.task_gains, gains, steps=steps, counted=_counted(table)), gains)


def performance_profiles(table: Table) -> Drawing:
    """Share of test tasks and seeds whose return is above each of some, after the last step that all methods took."""
    steps, returns = _adapted(table)
    scores = {name: values[..., steps] for name, values in returns.items()}
    every = np.concatenate([values.ravel() for values in scores.values()] or [np.zeros(1)])
    thresholds = np.linspace(np.quantile(every, LOWEST), every.max(), THRESHOLDS)
    profiles = {}
    for name, values in scores.items():
        share, low, high, _ = np.transpose(performance_profile(values, thresholds))
        profiles[name] = figures.Profile(thresholds, share, low, high)
    draw = partial(figures.performance_profiles, profiles, xlabel=_after(table, "return on a test task", steps))
    return Drawing(draw, profiles)


def aggregate_intervals(table: Table) -> Drawing:
    """Mean and interquartile mean of returns after the last step that all methods took, with their intervals."""
    steps, returns = _adapted(table)
    panels = {
        label: {name: over_seeds(values[..., steps], statistic) for name, values in returns.items() if len(values) > 1}
        for statistic, label in AGGREGATES.items()
    }
    data = panels if all(panels.values()) else {}
    draw = partial(figures.aggregate_intervals, panels, xlabel=_after(table, "return on test tasks", steps))
    return Drawing(draw, data)


def step_size_choice(table: Table) -> Drawing:
    """Return on validation tasks against the inner step size, of the rows that chose one."""
    methods = {
        name: figures.StepSizes(np.array(made.choice.values), _finite(made.returns.T), made.value)
        for name, made in table.chosen.items() if made
    }  # fmt: skip
    return Drawing(partial(figures.step_size_choice, methods), methods)


def _finite(returns: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(returns), returns, np.nan)


def memory_bars(table: Table) -> Drawing:
    """Seconds and peak memory of a meta-iteration."""
    quantities = {
        label: {name: row[key] for name, row in table.costs.items()} for key, label in COSTS.items() if table.costs
    }
    return Drawing(partial(figures.memory_bars, quantities), quantities)


KINDS = {
    f.__name__: f
    for f in (
        gradient_steps,
        learning_curves,
        task_gains,
        performance_profiles,
        aggregate_intervals,
        step_size_choice,
        memory_bars,
    )
}


def path_of(table: Table, figure: str) -> Path:
    """The PNG of a study's figure: the first is called as the study, the others have their own name added."""
    first = figure == table.study.figures[0]
    return table.study.path.with_name(f"{table.study.name}{'' if first else '_' + figure}.png")


def draw(table: Table) -> list[Path]:
    """Draw the figures of a study whose data are not those of the file that is there; what was drawn.

    A figure of which there are no data yet is left out.
    """
    drawn = []
    for figure in table.study.figures:
        drawing, path = KINDS[figure](table), path_of(table, figure)
        if drawing.data and stored_hash(path) != drawing.hash:
            drawing.draw(path.parent, name=path.stem)
            _sign(path, drawing.hash)
            drawn.append(path)
    return drawn


def stored_hash(path: Path) -> str | None:
    """The hash of the data that a PNG was drawn from; None if there is none, or it cannot be read."""
    with suppress(FileNotFoundError, DamagedFile), stored(path) as image:
        return image.info.get(KEY)
    return None


def _sign(path: Path, data_hash: str) -> None:
    with Image.open(path) as image:
        image.load()
    texts = PngInfo()
    texts.add_text(KEY, data_hash)
    image.save(path, pnginfo=texts, dpi=image.info.get("dpi"), optimize=True)


def _adapted(table: Table) -> tuple[int, dict[str, np.ndarray]]:
    """The last gradient step that all methods which adapt took, and their returns: [seeds, tasks, steps] each."""
    returns = {name: np.stack([run.returns for run in runs]) for name, runs in table.runs.items() if runs}
    adapted = {name: values for name, values in returns.items() if values.shape[2] > 1}
    return min((values.shape[2] for values in adapted.values()), default=1) - 1, adapted


def _after(table: Table, quantity: str, steps: int) -> str:
    return f"{quantity} after {results.gradient_steps_in_words(steps, _counted(table))}"


def _counted(table: Table) -> str:
    """Unit of the runs side by side: gradient steps, episodes of trials, or either."""
    evaluations = (run.evaluation for runs in table.runs.values() for run in runs if run.evaluation)
    return results.counted_together(evaluations) or "step"


def _trained(runs: list[Summary]) -> bool:
    return bool(runs) and "return" in runs[0].curves


def _curve(runs: list[Summary], x: str, unit: float) -> figures.Curve:
    """Return after the last inner step of training; runs of one method have as many points."""
    steps = sum(name.startswith("return/step_") for name in runs[0].curves["return"])
    points = [run.curves["return"] for run in runs]
    return figures.Curve(
        np.array([p[x] for p in points]) * unit,
        np.array([p[f"return/step_{steps - 1}"] for p in points]),
    )


def _rounded(data: Any) -> Any:
    """Nested data as plain lists, with numbers to six significant digits."""
    if isinstance(data, dict):
        return [(key, _rounded(value)) for key, value in data.items()]
    if isinstance(data, np.ndarray):
        return _rounded(data.tolist())
    if isinstance(data, list | tuple):
        return [_rounded(value) for value in data]
    return f"{data:.6g}" if isinstance(data, float) else data
