"""Several steps on one meta-batch: proximal policy optimisation of the meta-parameters."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from metarl_exp.algorithm.objective import MetaFunction
from metarl_exp.algorithm.outer_optimizer.report import report
from metarl_exp.algorithm.outer_optimizer.torch_optimizer import TorchOptimizer
from metarl_exp.validation import require_integer, require_number


class PPO(TorchOptimizer):
    """`epochs` passes over a meta-batch in `minibatches` groups of tasks, a step of `optimizer` after each group.

    The clipped surrogate is the objective's (`objective.clip`, or `objective=promp`).  [schulman2017ppo, Alg. 1;
    rothfuss2019promp, Alg. 1]  Each step differentiates the adaptation again, from the θ of the step before, on the
    same samples. It ends early, before the step, once the mean KL of a group's post-update policies to those that
    sampled is above `max_kl` nats (null: never). Tasks are drawn independently, so that neighbours are as random a
    group as shuffled ones; each epoch begins its first group at another task.
    """

    uses_curvature, repeats = False, True

    def __init__(
        self,
        optimizer: str,
        lr: float,
        epochs: int,
        minibatches: int,
        max_kl: float | None,
        settings: dict[str, Any],
        scheduler: Mapping[str, Any] | None = None,
        max_gradient_norm: float | None = None,
    ) -> None:
        super().__init__(optimizer, lr, settings, scheduler, max_gradient_norm)
        require_integer("outer_optimizer.epochs", epochs, low=1)
        require_integer("outer_optimizer.minibatches", minibatches, low=1)
        if max_kl is not None:
            require_number("outer_optimizer.max_kl", max_kl, above=0)
        self.epochs, self.minibatches, self.max_kl = epochs, minibatches, max_kl

    def step(self, function: MetaFunction) -> tuple[Tensor, dict[str, float]]:
        """The next θ [P] and the report, in which the gradient is that of the whole batch at the first θ."""
        theta, gradient = function.theta.clone(), function.gradient()
        rule, schedule = self._begin(theta)
        steps = 0
        for tasks in self._groups(len(function.losses)):
            # A first group of all tasks is the batch as it stands, adapted and differentiated already.
            here = function if steps == 0 and self.minibatches == 1 else function.at(theta, tasks)
            if self.max_kl is not None and here.kl() > self.max_kl:
                break
            self._descend(rule, theta, here.gradient())
            steps += 1
        self._end(rule, schedule)
        return theta, report(function, gradient, function.evaluate(theta)) | {"ppo/steps": float(steps)}

    def _groups(self, num_tasks: int) -> Iterator[Tensor]:
        """Indices of the tasks of every step. Raises ValueError for more groups than tasks."""
        if self.minibatches > num_tasks:
            raise ValueError(f"outer_optimizer.minibatches={self.minibatches}: a meta-batch has only {num_tasks} tasks")
        for epoch in range(self.epochs):
            yield from torch.arange(num_tasks).roll(epoch).tensor_split(self.minibatches)
