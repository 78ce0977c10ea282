"""The contract of meta-objectives, and the policies and batches on which they are evaluated."""

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
    """All samples of one meta-iteration: K batches to adapt with, and one to judge the adapted policy by."""

    tasks: Tensor  # [N, task parameters]
    experiences: tuple[Experience, ...]  # K + 1, the k-th sampled with φ_k
    returns: Tensor  # [N, K + 1] mean undiscounted return of each task after 0…K inner steps; of trials, [N, E]
    path: AdaptationPath  # the inner updates as they were made while sampling
    success: Tensor | None = None  # of the shape of returns: share of each task's episodes that reached its goal

    def of(self, tasks: Tensor) -> MetaBatch:
        """The batches of some tasks (indices); their path has to be replayed."""
        experiences = tuple(experience.of(tasks) for experience in self.experiences)
        success = None if self.success is None else self.success[tasks]
        return self._replace(
            tasks=self.tasks[tasks], experiences=experiences, returns=self.returns[tasks], success=success
        )


class PolicyOnBatch:
    """φ_k with the batch that it sampled; its distribution there is computed on demand."""

    def __init__(
        self,
        adaptation: Adaptation,
        parameters: Parameters,
        experience: Experience,
        behaviour_policy: Distribution | None,
    ) -> None:
        self._adaptation, self._behaviour_policy = adaptation, behaviour_policy
        self.parameters = parameters  # φ_k [N, ...]
        self.experience = experience  # sampled with φ_k(θ_old)

    @cached_property
    def distribution(self) -> Distribution:
        """π_φ_k on the observations of the batch."""
        return self._adaptation.derivatives.distribution(self.parameters, self.experience.observations)

    @property
    def behaviour_policy(self) -> Distribution:
        """The policy that sampled the batch, without history."""
        return constant(self.distribution) if self._behaviour_policy is None else self._behaviour_policy

    def value_loss(self) -> Tensor:
        """Value loss of the critic of φ_k on the batch, [N]."""
        return value_loss_of(self._adaptation.policy, self.parameters, self.experience)

    def kl_from_behaviour(self) -> Tensor:
        """Mean over valid steps of KL(behaviour policy ‖ π_φ_k) in nats, [N]."""
        return masked_mean(self.behaviour_policy.kl(self.distribution), self.experience.mask)


class OuterOptimizer(Protocol):
    """Properties of an outer optimizer that decide whether an objective goes with it."""

    uses_curvature: bool  # of the KL between the policies after adaptation
    repeats: bool  # whether it takes several steps on one batch


class MetaObjective(Protocol):
    """Owner of two losses: the inner loss, which adapts φ, and the outer loss, which trains θ.

    Losses are [N], one a task, and their *gradients* are what matters.
    """

    def inner_loss(self, distribution: Distribution, behaviour_policy: Distribution, experience: Experience) -> Tensor:
        """Losses [N] of π_φ (`distribution`) on a batch that `behaviour_policy` sampled; their gradients adapt."""
        ...

    def outer_loss(self, policies: Sequence[PolicyOnBatch]) -> Tensor:
        """Losses [N] of θ by way of φ_0 … φ_K, each with its batch."""
        ...

    def check_compatible(self, adaptation: Adaptation, outer_optimizer: OuterOptimizer) -> None:
        """Raise ValueError, with the reason, for an adaptation or an optimizer that the objective does not go with."""
        ...
