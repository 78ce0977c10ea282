"""Meta-objectives: what is differentiated, as a function of θ on the fixed samples of one meta-batch.

    F(θ) = 1/N Σ_i L_i(φ_K(θ; D_i)),        φ_K: `adaptation.py`,  D_i: the K batches that task i adapted with

An objective owns its two losses, the one inside (whose gradient adapts) and the one outside. `MetaFunction` is F as an
outer optimizer sees it: values, gradient and curvature on flat vectors [P].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_exp.adaptation import Adaptation, AdaptationPath
from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.parameters import Parameters, flatten, task_mean, unflatten, zip_names
from metarl_exp.maths.reductions import masked_mean
from metarl_exp.maths.surrogate import log_likelihood_loss, ratio_loss
from metarl_exp.types import Experience, require_finite


class MetaBatch(NamedTuple):
    """All that one meta-iteration sampled: K batches to adapt with and one to judge the result by."""

    tasks: Tensor  # [N, task parameters]
    experiences: tuple[Experience, ...]  # K + 1, the k-th sampled with φ_k
    returns: Tensor  # [N, K + 1] mean undiscounted return of each task after 0…K inner steps
    path: AdaptationPath  # the inner updates as they were made while sampling
    success: Tensor | None = None  # [N, K + 1] share of each task's episodes that reached its goal


class MAML:
    """Log-likelihood inside, likelihood ratio outside.  [finn2017maml, Alg. 3 and its code]

    L_k(φ) = −mean log π_φ(a|s) Â on batch k (the inner surrogate); outer: −mean π_φ(a|s)/π_{φ_K(θ_old)}(a|s) Â on the
    post-update batch. First order replaces ∂φ_K/∂θ by the derivative of the update rule alone. No credit goes to
    how θ changes the *distribution* of the pre-update samples.
    """

    def inner_loss(self, distribution: Distribution, experience: Experience) -> Tensor:
        """Losses [N] of the tasks; their gradients adapt."""
        log_prob = distribution.log_prob(experience.actions)
        return log_likelihood_loss(log_prob, experience.advantages, experience.mask)

    def outer_loss(self, distribution: Distribution, old: Distribution, experience: Experience) -> Tensor:
        """Losses [N] of the tasks after adaptation; `old` is the policy that sampled the experience."""
        log_prob, old_log_prob = distribution.log_prob(experience.actions), old.log_prob(experience.actions)
        return ratio_loss(log_prob, old_log_prob, experience.advantages, experience.mask)

    def __call__(self, batch: MetaBatch, theta: Parameters, adaptation: Adaptation) -> MetaFunction:
        """F on this batch, around the θ that it was sampled with."""
        return MetaFunction(self, batch, theta, adaptation)


class Evaluated(NamedTuple):
    """F and the trust-region distance at some θ."""

    loss: float  # F(θ)
    kl: float  # nats: mean over tasks of the mean over valid steps of KL(π_φ_K(θ_old) ‖ π_φ_K(θ))


class MetaFunction:
    """F(θ) on fixed samples. θ and everything in its space is a flat vector [P]."""

    def __init__(self, objective: MAML, batch: MetaBatch, theta: Parameters, adaptation: Adaptation) -> None:
        self.objective, self.batch, self.like, self.adaptation = objective, batch, theta, adaptation
        self.theta = flatten(theta)
        self.post = batch.experiences[-1]
        # The graph is cut at φ_K: above it the policy on the post-update batch, below it the path from θ.
        self.phi = {name: p.detach().requires_grad_() for name, p in batch.path.parameters.items()}
        self.distribution = adaptation.policy(self.phi, self.post.observations)
        self.old = self.distribution._make(x.detach() for x in self.distribution)
        self.losses = objective.outer_loss(self.distribution, self.old, self.post)  # [N]
        require_finite("outer loss (index: task)", self.losses, batch)
        self.loss = self.losses.mean().item()  # F(θ_old)

    def gradient(self) -> Tensor:
        """∇F(θ_old), [P]."""
        return flatten(task_mean(self.task_gradients()))

    def task_gradients(self) -> Parameters:
        """Jᵀ ∇L_i(φ_K), the meta-gradient of every task by itself: {name: [N, ...]}."""
        found = torch.autograd.grad(
            self.losses.sum(), list(self.phi.values()), retain_graph=True, materialize_grads=True
        )
        gradients = self.batch.path.pull(zip_names(self.phi, found))
        for name, gradient in gradients.items():
            require_finite(f"meta-gradient of {name} (indices: task, …)", gradient, self.batch)
        return gradients

    def evaluate(self, theta: Tensor) -> Evaluated:
        """F and KL at another θ [P]: adapts again on the same samples."""
        path = self._replay(unflatten(theta, self.like), "first")
        with torch.no_grad():
            distribution = self.adaptation.policy(path.parameters, self.post.observations)
            losses = self.objective.outer_loss(distribution, self.old, self.post)
            divergences = masked_mean(self.old.kl(distribution), self.post.mask)
        return Evaluated(losses.mean().item(), divergences.mean().item())

    def curvature(self, order: str) -> Callable[[Tensor], Tensor]:
        """v ↦ ∇²KL v at θ_old, as Jᵀ F J v averaged over tasks (`first`: J without the Hessians of the inner loss).

        Exact, since the KL's own gradient vanishes there: F is the Fisher matrix of the post-update policy.
        """
        path = self._path(order)
        fisher = self._fisher_product()
        num_tasks = len(self.batch.tasks)

        def product(vector: Tensor) -> Tensor:
            tangent = {n: v.expand(num_tasks, *v.shape) for n, v in unflatten(vector, self.like).items()}
            curved = flatten(task_mean(path.pull(fisher(path.push(tangent)))))
            require_finite("curvature product", curved, self.batch)
            return curved

        return product

    def _path(self, order: str) -> AdaptationPath:
        """The path that was taken, if it has the right order; otherwise the same one taken again."""
        if (order == "second") == self.batch.path.second_order:
            return self.batch.path
        return self._replay(self.like, order)

    def _replay(self, theta: Parameters, order: str) -> AdaptationPath:
        """φ_K from θ on the samples of this batch."""
        path = self.adaptation.start(theta, len(self.batch.tasks), order)
        for experience in self.batch.experiences[:-1]:
            path.step(experience)
        return path

    def _fisher_product(self) -> Callable[[Parameters], Parameters]:
        """F φ̇ for every task, F the Fisher matrix of π_φ_K averaged over the task's valid steps."""
        outputs, phi = tuple(self.distribution), list(self.phi.values())
        # The vector-Jacobian product is linear in its cotangent; its derivative along φ̇ is the Jacobian product.
        dummies = [torch.zeros_like(x).requires_grad_() for x in outputs]
        linear = torch.autograd.grad(outputs, phi, dummies, create_graph=True)
        happened = self.post.mask.to(outputs[0].dtype)
        weight = (happened / happened.sum((1, 2), keepdim=True)).unsqueeze(-1)

        def product(tangent: Parameters) -> Parameters:
            moved = torch.autograd.grad(linear, dummies, list(tangent.values()), retain_graph=True)
            scaled = [weight * x for x in self.old.fisher_product(self.old._make(moved))]
            return zip_names(self.phi, torch.autograd.grad(outputs, phi, scaled, retain_graph=True))

        return product
