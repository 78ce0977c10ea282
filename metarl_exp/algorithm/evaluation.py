"""The meta-test protocol: what a θ is worth on held-out tasks after 0 … K_test gradient steps.

It reads θ and draws from generators of its own, made afresh for each evaluation, so that it disturbs nothing in
training and two evaluations of one θ are equal. A trial (`tasks/trials.py`) is measured after 0 … E − 1 of its episodes
instead: no gradient step is taken. Three task sets are kept apart: the training stream, `validation`
(which iterate is best) and `test` (tables only).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from metarl_exp.algorithm.adaptation import require_schedule, scale_at
from metarl_exp.algorithm.episodes import episodes_of, mean_returns
from metarl_exp.algorithm.meta_learner import Learner
from metarl_exp.maths.parameters import Parameters
from metarl_exp.process.streams import stream, streams
from metarl_exp.tasks.base import Divisible
from metarl_exp.tasks.watched import Watcher
from metarl_exp.types import Trajectories
from metarl_exp.validation import require_choice, require_flag, require_integer

BEST_BY = ("validation", "training_return")


@dataclass(frozen=True)
class Evaluation:
    """How to evaluate, and which iterate counts as the best.

    steps: K_test, gradient steps on each task. step_scale: multiples of the inner step size at steps 0, 1, …, the
    last for all later ones ([1, 0.5]: full first, half afterwards). multiples: of that whole schedule, to choose from
    on validation tasks before the test tasks are looked at ([1]: nothing to choose). trajectories: episodes a task at
    each step; they are both what the task is adapted with and what the return is measured on. deterministic: measure
    returns with the most likely action, on episodes of their own, while adaptation still explores. best_by:
    `validation` (return after `steps` steps on validation tasks, with the best of the multiples, looked at every
    `validate_every` iterations) or `training_return` (post-update return of the training batch, as published; refused
    for a θ that does not adapt, see `check_selection`). The task sets have `test_tasks` and
    `validation_tasks` tasks; their seed is `task_seed`, whatever the seed of training, so that runs are compared on the
    same tasks. On trials no gradient step is taken, whatever `steps` says; `trajectories` are trials a task.
    """

    steps: int
    step_scale: Sequence[float]
    trajectories: int
    test_tasks: int
    validation_tasks: int
    validate_every: int
    best_by: str
    deterministic: bool
    task_seed: int
    multiples: Sequence[float] = (1.0,)

    def __post_init__(self) -> None:
        for name in ("trajectories", "test_tasks", "validation_tasks", "validate_every"):
            require_integer(f"evaluation.{name}", getattr(self, name), low=1)
        for name in ("steps", "task_seed"):
            require_integer(f"evaluation.{name}", getattr(self, name), low=0)
        require_schedule("evaluation.step_scale", self.step_scale)
        require_schedule("evaluation.multiples", self.multiples)
        require_choice("evaluation.best_by", self.best_by, BEST_BY)
        require_flag("evaluation.deterministic", self.deterministic)

    def tasks(self, learner: Learner, which: str) -> Tensor:
        """The held-out tasks of a set, `validation` or `test`: [N, task parameters]."""
        require_choice("task set", which, ["validation", "test"])
        generator = stream(self.task_seed, f"evaluation/{which}/tasks")
        if which == "test":
            return learner.task_distribution.test_tasks(self.test_tasks, generator)
        return learner.task_distribution.sample(self.validation_tasks, generator)

    def __call__(self, learner: Learner, theta: Parameters, which: str) -> Tensor:
        """Returns [N, K_test + 1] of θ on a task set: undiscounted, mean over trajectories, after 0 … K_test steps.

        Of trials, [N, E]: of each of their episodes.
        """
        return mean_returns(self.measure(learner, theta, which))

    def check_selection(self, learner: Learner) -> None:
        """Raise ValueError if the best iterate would be chosen by how easy its batch was.

        Each batch has its own tasks: without adaptation, returns tell easy tasks from hard ones, not how good θ is.
        """
        adapts = learner.adaptation.inner_steps > 0 or isinstance(learner.task_distribution, Divisible)
        if self.best_by == "training_return" and not adapts:
            raise ValueError(
                "evaluation.best_by=training_return with adaptation.inner_steps=0: each batch has other tasks, and "
                "without adaptation the iterate with the easiest would be the best; take evaluation.best_by=validation"
            )

    def tuned(self, learner: Learner, theta: Parameters) -> Evaluation:
        """A copy with nothing left to choose: the multiple of the schedule that is best for θ on validation tasks."""
        scaled = self._scaled()
        return scaled[0] if len(scaled) == 1 else self.validated(learner, theta)[0]

    def validated(self, learner: Learner, theta: Parameters) -> tuple[Evaluation, Tensor]:
        """`tuned`, and the returns of θ on validation tasks with that multiple, [N, K_test + 1].

        Best is the largest mean return after the last step, of equals the first.
        """
        found = [(e, e(learner, theta, "validation")) for e in self._scaled()]
        return max(found, key=lambda pair: pair[1][:, -1].mean().item())

    def _scaled(self) -> list[Evaluation]:
        return [replace(self, step_scale=[m * s for s in self.step_scale], multiples=[1.0]) for m in self.multiples]

    def measure(
        self,
        learner: Learner,
        theta: Parameters,
        which: str,
        rows: Sequence[int] | None = None,
        watch: Callable[[int], Watcher | None] = lambda k: None,
    ) -> list[Trajectories]:
        """The trajectories behind `__call__`, one batch for each number of steps, or each episode of the trials.

        `rows` takes only some tasks of the set; `watch(k)` returns the watcher of the environments in which the return
        after k steps is measured, or None.
        """
        tasks, draws = self.tasks(learner, which), streams(self.task_seed, f"evaluation/{which}/")
        tasks = tasks if rows is None else tasks[list(rows)]
        sampler = learner.sampler.of(self.trajectories)
        path = learner.adaptation.start(theta, len(tasks), "first")
        steps = 0 if isinstance(learner.task_distribution, Divisible) else self.steps
        measured: list[Trajectories] = []
        for k in range(steps + 1):
            draw = partial(sampler, path.parameters, tasks, draws.actions, draws.environment)
            trajectories = draw(watch=None if self.deterministic else watch(k))
            judged = draw(deterministic=True, watch=watch(k)) if self.deterministic else trajectories
            measured += episodes_of(learner.task_distribution, judged)
            if k < steps:
                path.step(learner.advantage(trajectories, path.parameters), scale_at(self.step_scale, k))
        return measured
