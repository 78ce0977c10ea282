"""The policy before and after adaptation, side by side, as a film.

    metarl-replay RUN [--trust] [key=value ...]      keys of `Filming` and conf/evaluation, theta=best|latest|initial,
                                                     stale=true, output=FILE

Test tasks of the run are adapted to under the run's own protocol, and one episode of each is shown as it was measured
before the first and after the last gradient step. What a distribution draws is drawn (`DrawsFrames`), what its
environments show is photographed (`RendersFrames`). No display is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl_exp import wiring
from metarl_exp.algorithm.evaluation import Evaluation
from metarl_exp.algorithm.learner import Learner
from metarl_exp.commands.command_line import THETAS, file_stem, pairs, read_run
from metarl_exp.figures import film
from metarl_exp.figures.film import Paint, Scene, Take
from metarl_exp.maths.parameters import Parameters
from metarl_exp.runs.ending import command
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.tasks.base import DrawsFrames, Episode, TaskDistribution
from metarl_exp.types import BatchedEnv, RendersFrames, Trajectories
from metarl_exp.validation import require_choice, require_integer, require_number

FILMS, STRIPS = ("gif", "mp4"), ("png", "pdf")
EPISODE = 0  # which of the trajectories of a task is shown
NAMED = 6  # parameters of a task that a title has room for


@dataclass(frozen=True)
class Filming:
    """Settings of a film.

    tasks: how many of the test tasks, from the first (at most all), or which, from 0. format: `gif` or `mp4`, films of
    `fps` frames a second; `png` or `pdf`, strips of stills.
    """

    tasks: int | Sequence[int] = 3
    format: str = "gif"
    fps: float = 20

    def __post_init__(self) -> None:
        if isinstance(self.tasks, list | tuple) and self.tasks:
            for task in self.tasks:
                require_integer("tasks", task, low=0)
        else:
            require_integer("tasks", self.tasks, low=1)
        require_choice("format", self.format, [*FILMS, *STRIPS])
        require_number("fps", self.fps, low=1, high=50)  # what a GIF, which counts in 1/100 s, can say
        film.require_format(self.format)

    def rows(self, available: int) -> list[int]:
        """The chosen ones of `available` test tasks. Raises ValueError for one that is not there."""
        if isinstance(self.tasks, int):
            return list(range(min(self.tasks, available)))
        if max(self.tasks) >= available:
            raise ValueError(f"tasks={self.tasks}: must be test tasks from 0 to {available - 1}")
        return list(self.tasks)


def make_film(learner: Learner, evaluation: Evaluation, theta: Parameters, filming: Filming, path: Path) -> Path:
    """Film θ on test tasks before the first and after the last gradient step of an evaluation.

    Raises ValueError if the distribution can be neither drawn nor filmed, or the evaluation takes no step.
    """
    require_integer("evaluation.steps", evaluation.steps, low=1)
    evaluation = evaluation.with_best_step_size(learner, theta)
    os.environ.setdefault("SDL_VIDEODRIVER", "offscreen")  # no display; under `dummy` highway-env draws nothing at all
    strip = filming.format in STRIPS
    choose = partial(film.evenly, number=film.STILLS) if strip else partial(film.moments, most=film.FRAMES)
    rows = filming.rows(len(evaluation.tasks(learner, "test")))
    scenes, steps = shoot(learner, evaluation, theta, rows, choose)
    heads = ["before adaptation", f"after {evaluation.steps} gradient step{'' if evaluation.steps == 1 else 's'}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    if strip:
        return film.write_strip(scenes, heads, steps, path)
    return film.write_film(scenes, heads, steps, path, filming.fps)


def shoot(
    learner: Learner,
    evaluation: Evaluation,
    theta: Parameters,
    rows: Sequence[int],
    choose: Callable[[int], list[int]],
) -> tuple[list[Scene], list[int]]:
    """A scene for each of these test tasks, and the steps to show, which `choose` picks for the longest episode."""
    distribution, tasks = learner.task_distribution, evaluation.tasks(learner, "test")[rows]
    measure = partial(evaluation.measure, learner, theta, "test", rows)
    depicted = isinstance(distribution, DrawsFrames)
    episodes = before_and_after(measure() if depicted else measure(watch=lambda k: require_filmable), len(rows))
    steps = choose(max(len(episode.rewards) for episode in chain(*episodes)))
    paints = drawn(distribution, tasks, episodes) if depicted else photographed(measure, evaluation, episodes, steps)
    scenes = []
    for row, task, ways, pair in zip(rows, tasks, paints, episodes, strict=True):
        takes = [Take(paint, episode.rewards.numpy()) for paint, episode in zip(ways, pair, strict=True)]
        scenes.append(Scene(f"test task {row}: {values(distribution, task)}", takes))
    return scenes, steps


def before_and_after(measured: list[Trajectories], tasks: int) -> list[list[Episode]]:
    """The shown episodes of each task: before the first gradient step and after the last."""
    return [[Episode.of(batch, task, EPISODE) for batch in (measured[0], measured[-1])] for task in range(tasks)]


def values(distribution: TaskDistribution, task: Tensor) -> str:
    """A task in words: its parameters, or the first of them if they are many; whole numbers to the last digit."""
    named = zip(distribution.parameter_names, task.tolist(), strict=True)
    words = [f"{name} {value:.0f}" if value.is_integer() else f"{name} {value:.3g}" for name, value in named]
    more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]).replace("-", "−") + more


def drawn(distribution: DrawsFrames, tasks: Tensor, episodes: list[list[Episode]]) -> list[list[Paint]]:
    """Painters of the episodes of each task, by the distribution's `draw`."""

    def paint(task: Tensor, episode: Episode, axes: Any, step: int) -> None:
        distribution.draw(axes, task, episode, step)

    return [[partial(paint, task, episode) for episode in pair] for task, pair in zip(tasks, episodes, strict=True)]


def photographed(
    measure: Callable[..., list[Trajectories]], evaluation: Evaluation, episodes: list[list[Episode]], steps: list[int]
) -> list[list[Paint]]:
    """Painters of photographs of the episodes of each task, which happen again with the same draws.

    The second time it is known when each ends, so that its last state is taken and nothing after it. Raises ValueError
    if the environments do something else the second time.
    """
    before = Camera(steps, [len(pair[0].rewards) for pair in episodes])
    after = Camera(steps, [len(pair[1].rewards) for pair in episodes])
    again = before_and_after(measure(watch={0: before, evaluation.steps: after}.get), len(episodes))
    for one, two in zip(chain(*episodes), chain(*again), strict=True):
        if not torch.equal(one.rewards, two.rewards):
            raise ValueError("the environments behave differently with the same seed, so they cannot be filmed")
    return [[film.picture(camera.frames[task]) for camera in (before, after)] for task in range(len(episodes))]


class Camera:
    """Photographs the shown episode of each task after given steps, or at its end if that comes before."""

    def __init__(self, steps: list[int], lengths: list[int]) -> None:
        self.wanted = [{min(step, length) for step in steps} for length in lengths]
        self.frames: list[dict[int, np.ndarray]] = [{} for _ in lengths]
        self.step = 0

    def __call__(self, env: BatchedEnv) -> None:
        assert isinstance(env, RendersFrames)
        for task, wanted in enumerate(self.wanted):
            if self.step in wanted:
                self.frames[task][self.step] = film.scaled(env.frame(task, EPISODE))
        self.step += 1


def require_filmable(env: BatchedEnv) -> None:
    """Raise ValueError unless the environments can be photographed."""
    if not isinstance(env, RendersFrames):
        raise ValueError(
            "this task distribution cannot be shown: it has no `draw` (metarl_exp.tasks.base.DrawsFrames), and its "
            f"environments, {type(env).__name__}, no `frame` (metarl_exp.types.RendersFrames)"
        )


def replay(run: Path, settings: Sequence[str], trust: bool = False) -> Path:
    """Film a run with `key=value` settings; the path of the film.

    Raises ValueError for an unknown key, a value out of range, and what only a run that one may `trust` is allowed to
    do; FileNotFoundError if `run` is not a run's folder, ModuleNotFoundError if the format or the environments need a
    library that is not there.
    """
    config = wiring.load_config(run, trust)
    given = pairs(settings)
    names = [field.name for field in fields(Filming)]
    own = {name: wiring.typed(given[name]) for name in names if name in given}
    beside = [*names, "theta", "output", "stale"]
    others = {key: value for key, value in given.items() if key not in beside}
    evaluation = wiring.evaluation_with(config, others, beside)
    which = given.get("theta", "best")
    require_choice("theta", which, THETAS)
    if "output" in given:
        path = Path(given["output"])
        filming = Filming(**{"format": path.suffix.removeprefix("."), **own})
        require_choice("ending of output", path.suffix, [f".{filming.format}"])
    else:
        filming = Filming(**own)
        said = {key: value for key, value in given.items() if key != "format"}
        path = RunFolder(run).figures / f"{file_stem('replay', said)}.{filming.format}"
    learner = wiring.load(run, which, wiring.typed(given.get("stale", "false")), trust)
    try:
        return make_film(learner, evaluation, learner.theta, filming, path)
    finally:
        learner.close()


@command("metarl-replay")
def main() -> None:
    """The command `metarl-replay`."""
    own = ", ".join(field.name for field in fields(Filming))
    keys = f"{own}; keys of conf/evaluation; theta=best|latest|initial; stale=true"
    print(f"written: {read_run('metarl-replay', 'Film a run before and after adaptation.', keys, replay)}")


if __name__ == "__main__":
    main()
