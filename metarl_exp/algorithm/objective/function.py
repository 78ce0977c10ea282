"""A meta-objective on the fixed samples of one meta-batch, as an outer optimizer sees it.

    F(θ) = 1/N Σ_i L_i(φ_0, …, φ_K),        φ_k(θ; D_i): `adaptation.py`,  D_i: the batches that task i adapted with

Values, gradient and curvature are on flat vectors [P]. Of several ranks each has a share of the batch; what leaves this
module is of all N tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_exp.algorithm.adaptation import Adaptation, AdaptationPath
from metarl_exp.algorithm.aggregator import Aggregator, per_task
from metarl_exp.algorithm.objective.base import MetaBatch, MetaObjective, PolicyOnBatch
from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.interference import cosines
from metarl_exp.maths.parameters import Parameters, flatten, task_mean, unflatten
from metarl_exp.process.ranks import ALONE, Ranks
from metarl_exp.types import require_finite


class Evaluated(NamedTuple):
    """F and the KL divergence from the behaviour policies, at some θ."""

    losses: Tensor  # [N], whose mean is F(θ)
    kl: float  # nats: mean over tasks of the mean over valid steps of KL(π_φ_K(θ_old) ‖ π_φ_K(θ))

    @property
    def loss(self) -> float:
        """F(θ)."""
        return self.losses.mean().item()


class MetaFunction:
    """F around some θ, on fixed samples. θ and everything in its space is a flat vector [P]."""

    def __init__(
        self,
        objective: MetaObjective,
        batch: MetaBatch,
        theta: Parameters,
        adaptation: Adaptation,
        aggregator: Aggregator,
        behaviour: Sequence[Distribution] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """`behaviour`: the policies that sampled the batches, where these are not φ_0 … φ_K of this θ."""
        self.objective, self.batch, self.like, self.adaptation = objective, batch, theta, adaptation
        self.aggregator, self.ranks = aggregator, ranks
        self.theta = flatten(theta)
        # Detach every φ_k: ∂L/∂φ_k is computed here, (∂φ_k/∂θ)ᵀ by the path.
        cut = [{n: p.detach().requires_grad_() for n, p in phi.items()} for phi in batch.path.iterates()]
        self.policies = self._on_batches(
            cut, behaviour or [*(step.behaviour_policy for step in batch.path.steps), None]
        )
        self.own_losses = objective.outer_loss(self.policies)  # of the batch, with their graph
        require_finite("outer loss (index: task)", self.own_losses, batch)
        self.losses = self.ranks.gather(self.own_losses)  # [N]
        self.loss = self.losses.mean().item()  # F(θ)

    def _on_batches(
        self, iterates: Sequence[Parameters], behaviour: Sequence[Distribution | None]
    ) -> list[PolicyOnBatch]:
        """The policies φ_0 … φ_K, each on its batch."""
        return [
            PolicyOnBatch(self.adaptation, *each)
            for each in zip(iterates, self.batch.experiences, behaviour, strict=True)
        ]

    def at(self, theta: Tensor, tasks: Tensor | None = None) -> MetaFunction:
        """F around another θ [P], on the same samples; of some of the N `tasks` (indices) only, if asked."""
        batch, behaviour = self.batch, [policy.behaviour_policy for policy in self.policies]
        if tasks is not None:
            own = self.ranks.own(tasks)
            batch, behaviour = batch.of(own), [d._make(x[own] for x in d) for d in behaviour]
        parameters = unflatten(theta, self.like)
        path = self._replay(parameters, self.adaptation.order, batch, behaviour)
        batch = batch._replace(path=path)
        return MetaFunction(self.objective, batch, parameters, self.adaptation, self.aggregator, behaviour, self.ranks)

    def part(self, fraction: float) -> MetaFunction:
        """F on the first ⌈fraction · M⌉ trajectories of every batch: using only these trajectories throughout."""
        trajectories = math.ceil(fraction * self.batch.experiences[-1].mask.shape[1])
        experiences = tuple(experience.first(trajectories) for experience in self.batch.experiences)
        batch = self.batch._replace(experiences=experiences)
        behaviour = [None] * len(experiences)  # φ_k of fewer trajectories, not those that sampled
        batch = batch._replace(path=self._replay(self.like, self.adaptation.order, batch, behaviour))
        return MetaFunction(self.objective, batch, self.like, self.adaptation, self.aggregator, ranks=self.ranks)

    def gradient(self) -> Tensor:
        """∇F(θ), or the aggregator's aggregate of the tasks' meta-gradients, [P]."""
        return flatten(self.aggregator(self.task_gradients()))

    def interference(self) -> dict[str, float]:
        """Agreement of the tasks' meta-gradients: mean cosine of pairs, and the share of pairs in conflict."""
        found = cosines(per_task(self.task_gradients()))
        if not len(found):  # a single task
            return {}
        return {
            "interference/cosine": found.mean().item(),
            "interference/conflicting": (found < 0).double().mean().item(),
        }

    def critic(self) -> dict[str, float]:
        """Root mean squared error of a critic's values after adaptation; nothing without a critic."""
        if self.policies[-1].experience.targets is None:
            return {}
        with torch.no_grad():
            return {"critic/error": (2 * self.ranks.gather(self.policies[-1].value_loss()).mean()).sqrt().item()}

    def task_gradients(self) -> Parameters:
        """Σ_k (∂φ_k/∂θ)ᵀ ∂L_i/∂φ_k, the meta-gradient of every task by itself: {name: [N, ...]}. Computed once."""
        return self._task_gradients

    @cached_property
    def _task_gradients(self) -> Parameters:
        leaves = [p for policy in self.policies for p in policy.parameters.values()]
        found = iter(torch.autograd.grad(self.own_losses.sum(), leaves, allow_unused=True))
        given = [{n: g for n, g in zip(v.parameters, found, strict=False) if g is not None} for v in self.policies]
        gradients = self.batch.path.vjp({k: cotangent for k, cotangent in enumerate(given) if cotangent})
        for name, gradient in gradients.items():
            require_finite(f"meta-gradient of {name} (indices: task, …)", gradient, self.batch)
        return {name: self.ranks.gather(gradient) for name, gradient in gradients.items()}

    def kl(self) -> float:
        """Nats: mean over tasks of the mean over valid steps of KL(behaviour policy ‖ π_φ_K(θ))."""
        with torch.no_grad():
            return self.ranks.gather(self.policies[-1].kl_from_behaviour()).mean().item()

    def evaluate(self, theta: Tensor) -> Evaluated:
        """F and KL at another θ [P]: adapts again on the same samples."""
        behaviour = [policy.behaviour_policy for policy in self.policies]
        path = self._replay(unflatten(theta, self.like), "first", self.batch, behaviour)
        with torch.no_grad():
            policies = self._on_batches(path.iterates(), behaviour)
            losses = self.ranks.gather(self.objective.outer_loss(policies))
            divergences = self.ranks.gather(policies[-1].kl_from_behaviour())
        return Evaluated(losses, divergences.mean().item())

    def curvature(self, order: str) -> Callable[[Tensor], Tensor]:
        """v ↦ ∇²KL v at θ_old, as Jᵀ F J v averaged over tasks (`first`: J without the Hessians of the inner loss).

        Exact, since the KL's own gradient vanishes there: F is the Fisher matrix of the post-update policy.
        """
        path = self._path(order)
        push, fisher = path.jvp(), self._fisher_product()
        num_tasks = len(self.batch.tasks)

        def product(vector: Tensor) -> Tensor:
            tangent = {n: v.expand(num_tasks, *v.shape) for n, v in unflatten(vector, self.like).items()}
            curved = self.ranks.mean(flatten(task_mean(path.vjp({-1: fisher(push(tangent))}))))
            require_finite("curvature product", curved, self.batch)
            return curved

        return product

    def kl_gradient(self, theta: Tensor) -> Tensor:
        """Gradient of the KL at another θ, both [P]: adapts again on the same samples."""
        behaviour = [policy.behaviour_policy for policy in self.policies]
        path = self._replay(unflatten(theta, self.like), self.adaptation.order, self.batch, behaviour)
        cut = {name: p.detach().requires_grad_() for name, p in path.parameters.items()}
        post = PolicyOnBatch(self.adaptation, cut, self.batch.experiences[-1], behaviour[-1])
        found = torch.autograd.grad(post.kl_from_behaviour().sum(), list(cut.values()))
        return self.ranks.mean(flatten(task_mean(path.vjp({-1: dict(zip(cut, found, strict=True))}))))

    def finite_difference_curvature(self) -> Callable[[Tensor], Tensor]:
        """v ↦ [∇KL(θ + ε v) − ∇KL(θ − ε v)] / 2ε with ε = 1 / |θ|, the products of [finn2017maml, code].

        So large a step measures the curvature over a region and not at θ, where `curvature` is exact.
        """
        epsilon = 1 / self.theta.norm()

        def product(vector: Tensor) -> Tensor:
            above, below = (self.kl_gradient(self.theta + sign * epsilon * vector) for sign in (1, -1))
            curved = (above - below) / (2 * epsilon)
            require_finite("curvature product", curved, self.batch)
            return curved

        return product

    def _path(self, order: str) -> AdaptationPath:
        """The path as sampled, if it has the right order; otherwise a replay of it."""
        if (order == "second") == self.batch.path.second_order:
            return self.batch.path
        return self._replay(self.like, order, self.batch, [policy.behaviour_policy for policy in self.policies])

    def _replay(
        self, theta: Parameters, order: str, batch: MetaBatch, behaviour: Sequence[Distribution | None]
    ) -> AdaptationPath:
        """φ_K from θ on the samples of a batch."""
        path = self.adaptation.start(theta, len(batch.tasks), order)
        for experience, distribution in zip(batch.experiences[:-1], behaviour, strict=False):
            path.step(experience, behaviour_policy=distribution)
        return path

    def _fisher_product(self) -> Callable[[Parameters], Parameters]:
        """F φ̇ for every task, F the Fisher matrix of π_φ_K averaged over the task's valid steps."""
        post = self.policies[-1]
        happened = post.experience.mask.to(post.experience.advantages.dtype)
        weights = happened / happened.sum((1, 2), keepdim=True)
        return self.adaptation.derivatives.fisher(post.parameters, post.experience.observations, weights)
