"""What a meta-objective is, and what it is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

from torch import Tensor

from metarl_exp.algorithm.adaptation import Adaptation, AdaptationPath, value_loss_of
from metarl_exp.maths.distributions import Distribution, constant
from metarl_exp.maths.parameters import Parameters
from metarl_exp.maths.reductions import masked_mean
from metarl_exp.types import Experience


class MetaBatch(NamedTuple):
    """All that one meta-iteration sampled: K batches to adapt with and one to judge the result by."""

    tasks: Tensor  # [N, task parameters]
    experiences: tuple[Experience, ...]  # K + 1, the k-th sampled with φ_k
    returns: Tensor  # [N, K + 1] mean undiscounted return of each task after 0…K inner steps; of trials, [N, E]
    path: AdaptationPath  # the inner updates as they were made while sampling
    success: Tensor | None = None  # of the shape of returns: share of each task's episodes that reached its goal

    def of(self, tasks: Tensor) -> MetaBatch:
        """The part of some tasks (indices), whose path has to be taken again."""
        experiences = tuple(experience.of(tasks) for experience in self.experiences)
        success = None if self.success is None else self.success[tasks]
        return self._replace(
            tasks=self.tasks[tasks], experiences=experiences, returns=self.returns[tasks], success=success
        )


class Visit:
    """φ_k on the batch of its step: the policy there is computed if an objective asks for it."""

    def __init__(
        self, adaptation: Adaptation, parameters: Parameters, experience: Experience, acted: Distribution | None
    ) -> None:
        self._adaptation, self._acted = adaptation, acted
        self.parameters = parameters  # φ_k [N, ...]
        self.experience = experience  # sampled with φ_k(θ_old)

    @cached_property
    def distribution(self) -> Distribution:
        """π_φ_k on the observations of the batch."""
        return self._adaptation.derivatives.distribution(self.parameters, self.experience.observations)

    @property
    def acted(self) -> Distribution:
        """The policy that sampled the batch, without history."""
        return constant(self.distribution) if self._acted is None else self._acted

    def value_loss(self) -> Tensor:
        """That of the critic of φ_k on the batch, [N]."""
        return value_loss_of(self._adaptation.policy, self.parameters, self.experience)

    def moved(self) -> Tensor:
        """Mean over valid steps of KL(π that sampled ‖ π_φ_k) in nats, [N]."""
        return masked_mean(self.acted.kl(self.distribution), self.experience.mask)


class OuterOptimizer(Protocol):
    """What an objective has to know of the optimizer that it is for."""

    uses_curvature: bool  # of the KL between the policies after adaptation
    repeats: bool  # whether it takes several steps on one batch


class MetaObjective(Protocol):
    """Owner of two losses: the one inside, whose gradient adapts, and the one outside, whose gradient is learned by.

    Losses are [N], one a task, and their *gradients* are what matters.
    """

    def inner_loss(self, distribution: Distribution, acted: Distribution, experience: Experience) -> Tensor:
        """Losses [N] of π_φ (`distribution`) on a batch that `acted` sampled; their gradients adapt."""
        ...

    def outer_loss(self, visits: Sequence[Visit]) -> Tensor:
        """Losses [N] of θ by way of φ_0 … φ_K, each with its batch."""
        ...

    def refuse(self, adaptation: Adaptation, outer_optimizer: OuterOptimizer) -> None:
        """Raise ValueError, with the reason, for what it makes no sense together with."""
        ...
