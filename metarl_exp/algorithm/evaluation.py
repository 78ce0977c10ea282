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
from metarl_exp.algorithm.learner import Learner
from metarl_exp.maths.parameters import Parameters
from metarl_exp.process.failures import NonFiniteError
from metarl_exp.process.streams import stream, streams
from metarl_exp.tasks.base import Divisible
from metarl_exp.tasks.watched import Watcher
from metarl_exp.types import Trajectories
from metarl_exp.validation import require_choice, require_flag, require_integer

BEST_BY = ("validation", "training_return", "last")


@dataclass(frozen=True)
class Evaluation:
    """How to evaluate, and which iterate counts as the best.

    steps: K_test, gradient steps on each task. step_size_schedule: factors of the inner step size at steps 0, 1, …; the
    last holds for all later steps ([1, 0.5]: full first, half afterwards). step_size_multipliers: factors of the whole
    schedule, of which the best on validation tasks is taken to the test tasks ([1]: nothing to choose). trajectories:
    episodes per task at each step; they adapt the policy and measure its return. deterministic: measure returns with
    the most likely action, on separate episodes, while adaptation still explores. best_by: `validation` (return after
    `steps` steps on validation tasks with the best multiplier, every `validate_every` iterations), `training_return`
    (post-update return of the training batch; refused for a θ that does not adapt, see `check_selection`) or `last`
    (the iterate after the last iteration: nothing is chosen). `test_tasks` and `validation_tasks` are the sizes of the
    task sets. Both are drawn from `task_seed`, whatever the seed of training, so that all runs are compared on the same
    tasks. shared_noise: all tasks have the same action noise, as if each were tested with one seed. On trials no
    gradient step is taken, whatever `steps` says; `trajectories` are trials per task.
    """

    steps: int
    step_size_schedule: Sequence[float]
    trajectories: int
    test_tasks: int
    validation_tasks: int
    validate_every: int
    best_by: str
    deterministic: bool
    task_seed: int
    step_size_multipliers: Sequence[float] = (1.0,)
    shared_noise: bool = False

    def __post_init__(self) -> None:
        for name in ("trajectories", "test_tasks", "validation_tasks", "validate_every"):
            require_integer(f"evaluation.{name}", getattr(self, name), low=1)
        for name in ("steps", "task_seed"):
            require_integer(f"evaluation.{name}", getattr(self, name), low=0)
        require_schedule("evaluation.step_size_schedule", self.step_size_schedule)
        require_schedule("evaluation.step_size_multipliers", self.step_size_multipliers)
        require_choice("evaluation.best_by", self.best_by, BEST_BY)
        require_flag("evaluation.deterministic", self.deterministic)
        require_flag("evaluation.shared_noise", self.shared_noise)

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
                "evaluation.best_by=training_return with adaptation.inner_steps=0: every batch has its own tasks, "
                "and without adaptation the iterate with the easiest ones would win; "
                "take evaluation.best_by=validation"
            )

    def with_best_step_size(self, learner: Learner, theta: Parameters) -> Evaluation:
        """A copy with the one multiplier that has the highest return of θ on validation tasks."""
        candidates = self._candidates()
        return candidates[0] if len(candidates) == 1 else self.validated(learner, theta)[0]

    def validated(self, learner: Learner, theta: Parameters) -> tuple[Evaluation, Tensor]:
        """`with_best_step_size`, and the returns of θ on validation tasks with that multiplier, [N, K_test + 1].

        The best has the highest mean return after the last step; the first wins ties. A multiplier with which some task
        diverges is worse than all others. Raises NonFiniteError if each of them is such a one.
        """
        found, diverged = [], None
        for candidate in self._candidates():
            try:
                found.append((candidate, candidate(learner, theta, "validation")))
            except NonFiniteError as error:
                diverged = error
        if diverged and not found:
            raise diverged
        return max(found, key=lambda pair: pair[1][:, -1].mean().item())

    def _candidates(self) -> list[Evaluation]:
        schedules = ([factor * scale for scale in self.step_size_schedule] for factor in self.step_size_multipliers)
        return [replace(self, step_size_schedule=schedule, step_size_multipliers=[1.0]) for schedule in schedules]

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
        sampler = learner.sampler.of(self.trajectories, self.shared_noise)
        path = learner.adaptation.start(theta, len(tasks), "first")
        steps = 0 if isinstance(learner.task_distribution, Divisible) else self.steps
        measured: list[Trajectories] = []
        for k in range(steps + 1):
            draw = partial(sampler, path.parameters, tasks, draws.actions, draws.environment)
            trajectories = draw(watch=None if self.deterministic else watch(k))
            judged = draw(deterministic=True, watch=watch(k)) if self.deterministic else trajectories
            measured += episodes_of(learner.task_distribution, judged)
            if k < steps:
                path.step(learner.advantage(trajectories, path.parameters), scale_at(self.step_size_schedule, k))
        return measured
