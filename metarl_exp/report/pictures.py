"""The figures of a report, as text that a page can hold: a PNG in base64."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from metarl_exp.figures import study as figures
from metarl_exp.figures.stored import stored
from metarl_exp.report.runs import Run
from metarl_exp.report.studies import Method, Study, counted
from metarl_exp.runs import results

LINES = 7  # methods in one figure: as many as there are colours
INCH = 96  # CSS pixels
DRAWN = 4 * LINES  # of a study
COLOURS = 256  # of a palette
POINTS = 100  # of a line; longer runs are averaged to about as many
ITERATION, TIME = "meta-iteration", "training time (s)"


class Picture(NamedTuple):
    """An image, what it shows, and its size in CSS pixels: that which it has on paper."""

    caption: str
    source: str  # a data URI
    width: int
    height: int


def embedded(caption: str, path: Path) -> Picture:
    """A PNG file as a picture, in a palette: a third of the bytes, of which a page with many runs has megabytes.

    Raises DamagedFile for a broken or an enormous one.
    """
    content = io.BytesIO()
    with stored(path) as image:
        size = (round(pixels * INCH / (image.info.get("dpi", (INCH,))[0] or INCH)) for pixels in image.size)
        # An octree takes a fifth of the time of Pillow's default, and no pixel is off by more than 15 of 255.
        drawn = image.convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        drawn.save(content, "PNG")
    return Picture(caption, f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}", *size)


def of_run(run: Run) -> list[Picture]:
    """Pictures in a run's folder. Raises DamagedFile."""
    return [embedded(path.stem.replace("_", " "), path) for path in run.figures]


def of_study(study: Study, folder: Path) -> Iterator[Picture]:
    """Methods side by side, over seeds, some of them in each figure; drawn into a folder."""
    for first in range(0, min(DRAWN, len(study.methods)), LINES):
        methods = study.methods[first : first + LINES]
        for caption, path in _drawn(methods, study.tasks, folder):
            last = first + len(methods)
            part = f", methods {first + 1} to {last}" if len(study.methods) > LINES else ""
            yield embedded(caption + part, path)


def _drawn(methods: Sequence[Method], tasks: int, folder: Path) -> Iterator[tuple[str, Path]]:
    curves = {method.name: _curves(method) for method in methods if _recorded(method)}
    if curves:
        panels = {x: {name: of_one[x] for name, of_one in curves.items()} for x in (ITERATION, TIME)}
        longest = max(curve.y.shape[1] for curve in panels[ITERATION].values())
        ylabel, average = "return of training tasks after adaptation", max(1, round(longest / POINTS))
        path = figures.learning_curves(panels, folder, ylabel=ylabel, average=average, name="learning_curves.png")
        yield f"{ylabel}, while training", path
    kind, adapted = counted(methods), {method.name: method.returns() for method in methods}
    steps = {name: figures.Steps(returns.mean(1)) for name, returns in adapted.items()}
    ylabel = f"return on {tasks} held-out tasks"
    path = figures.gradient_steps(steps, folder, ylabel=ylabel, counted=kind, name="gradient_steps.png")
    yield f"return of the best θ on held-out tasks after {results.AFTER[kind]}", path
    taken = min(returns.shape[2] for returns in adapted.values()) - 1
    if taken:
        gains = {name: returns[:, :, taken] - returns[:, :, 0] for name, returns in adapted.items()}
        path = figures.task_gains(gains, folder, steps=taken, counted=kind, name="task_gains.png")
        yield "what adaptation is worth on each held-out task", path


def _recorded(method: Method) -> bool:
    """Whether the runs of a method have recorded iterations, and as many of them."""
    lengths = {len(run.records.get("iteration", ())) for run in method.runs}
    return len(lengths) == 1 and lengths != {0}


def _curves(method: Method) -> dict[str, figures.Curve]:
    """Return after the last inner step, against the iterations before it, and the time that these took.

    The return of an iteration is that of the θ it began with. At the first, all seeds have spent no time.
    """
    iterations, returns, times = (
        np.stack([run.records[quantity] for run in method.runs]) for quantity in ("iteration", "return", "seconds")
    )
    return {
        ITERATION: figures.Curve(iterations, returns),
        TIME: figures.Curve(np.cumsum(times, axis=1) - times, returns),
    }
