"""The two meta-objectives in closed form. No code of the estimators.

With V(φ) the expected discounted return of the policy φ, and U one inner step [rothfuss2019promp, Sec. 4]:

    J_I(θ)     = V(θ + α ∇V(θ))                       the expected update; K > 1: repeated
    J_II(θ; M) = E V(φ(θ, τ_1 … τ_M)),                the sampled update, expectation over M trajectories of θ
                 φ(θ, τ) = θ + α/M Σ_m ∇ Σ_t log π_θ(a_t | s_t) Â_t

Â is G_t, the discounted reward to go, or G_t less the value V_t(s_t) as a baseline, which counts as a number and not as
a function of θ. Policies are logits, θ [S, A], φ [N, S, A]; gradients are flat, [P].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_exp.laboratory.mdp import TinyMDP

CREDITS = ("to_go", "baseline")


class Batches(NamedTuple):
    """All B multisets of M trajectories, which stand for the L^M sequences."""

    members: Tensor  # [B, M] numbers of trajectories
    log_orders: Tensor  # [B] log of the number of sequences with these members


def all_batches(mdp: TinyMDP, size: int) -> Batches:
    """Every batch of M = `size` trajectories."""
    number = len(mdp.trajectories.states)
    members = torch.combinations(torch.arange(number), size, with_replacement=True)
    counts = torch.nn.functional.one_hot(members, number).sum(1).double()
    orders = torch.lgamma(torch.tensor(size + 1.0, dtype=torch.float64)) - torch.lgamma(counts + 1).sum(-1)
    return Batches(members, orders)


def number_of_batches(mdp: TinyMDP, size: int) -> int:
    """B of `all_batches`, without making them."""
    number = len(mdp.trajectories.states)
    batches = 1
    for i in range(size):
        batches = batches * (number + i) // (i + 1)
    return batches


def log_probabilities(mdp: TinyMDP, logits: Tensor, batches: Batches) -> Tensor:
    """log P of every batch under every policy, [N, B]."""
    return mdp.log_probabilities(logits)[:, batches.members].sum(-1) + batches.log_orders


def advantages(mdp: TinyMDP, logits: Tensor, members: Tensor, credit: str) -> Tensor:
    """Â_t of trajectories `members` [N, M] that policies φ [N, S, A] sampled: numbers [N, M, T]."""
    to_go = mdp.trajectories.to_go[members]
    if credit == "to_go":
        return to_go
    values = mdp.values(logits.detach()) * mdp.powers.unsqueeze(-1)  # γ^t V_t(s), [N, T, S]
    states = mdp.trajectories.states[members].unsqueeze(-1)
    return to_go - values.unsqueeze(1).expand(*members.shape, -1, -1).gather(-1, states).squeeze(-1)


def updates(mdp: TinyMDP, logits: Tensor, members: Tensor, alpha: float, credit: str) -> Tensor:
    """φ(θ, τ) of each of N batches [N, M] of trajectories, each from a θ of its own: [N, S, A] → [N, S, A]."""
    step = credited_scores(mdp, logits, members, advantages(mdp, logits, members, credit))
    return logits + alpha / members.shape[1] * step


def credited_scores(mdp: TinyMDP, logits: Tensor, members: Tensor, credits: Tensor) -> Tensor:
    """Σ_m Σ_t c_t ∇ log π(a_t | s_t) for credits c [N, M, T]: [N, S, A].

    ∇ log π(a | s) is e_a − π(s) in the row of s, so this is a table of credits less π times the sums of its rows.
    """
    cells = (mdp.trajectories.states * mdp.actions + mdp.trajectories.actions)[members]
    table = torch.zeros_like(logits).flatten(1).scatter_add(1, cells.flatten(1), credits.flatten(1)).view_as(logits)
    return table - table.sum(-1, keepdim=True) * logits.softmax(-1)


def value_gradient(mdp: TinyMDP, logits: Tensor) -> Tensor:
    """∇V of each of N policies, with its graph if they have one: [N, S, A]."""
    leaf = logits if logits.requires_grad else logits.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(mdp.value(leaf).sum(), leaf, create_graph=logits.requires_grad)
    return gradient


def expected_update_value(mdp: TinyMDP, theta: Tensor, alpha: float, steps: int = 1) -> Tensor:
    """J_I(θ), K = `steps`."""
    logits = theta.unsqueeze(0)
    for _ in range(steps):
        logits = logits + alpha * value_gradient(mdp, logits)
    return mdp.value(logits).squeeze(0)


def sampled_update_value(
    mdp: TinyMDP, theta: Tensor, alpha: float, size: int, steps: int = 1, credit: str = "to_go"
) -> Tensor:
    """J_II(θ; M) for M = `size` and K = `steps`, by enumeration of all B^K ways to sample."""
    batches = all_batches(mdp, size)
    logits, log_weights = theta.unsqueeze(0), torch.zeros(1, dtype=theta.dtype)
    for _ in range(steps):
        log_weights = (log_weights.unsqueeze(1) + log_probabilities(mdp, logits, batches)).flatten()
        members = batches.members.repeat(len(logits), 1)
        logits = updates(mdp, logits.repeat_interleave(len(batches.members), 0), members, alpha, credit)
    return log_weights.exp() @ mdp.value(logits)


def gradient(objective: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    """∇ of a function of θ alone, [P]."""
    leaf = theta.detach().requires_grad_()
    return torch.autograd.grad(objective(leaf), leaf)[0].flatten()


def hessian(objective: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    """∇² of a function of θ alone, [P, P]."""
    leaf = theta.detach().requires_grad_()
    (first,) = torch.autograd.grad(objective(leaf), leaf, create_graph=True)
    return torch.stack([torch.autograd.grad(g, leaf, retain_graph=True)[0].flatten() for g in first.flatten()])


# ---- J_II where there are too many batches to enumerate


class Estimate(NamedTuple):
    """A mean over independent samples, and the covariance of that mean."""

    mean: Tensor  # [P]
    covariance: Tensor  # [P, P]

    @classmethod
    def of(cls, samples: Tensor) -> Estimate:
        """Of samples [N, P]."""
        return cls(samples.mean(0), samples.T.cov() / len(samples))


def sample(mdp: TinyMDP, logits: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """M = `size` independent trajectories of each of N policies, as numbers [N, M]."""
    return torch.multinomial(mdp.log_probabilities(logits).exp(), size, replacement=True, generator=generator)


def sampled_gradient(
    mdp: TinyMDP, theta: Tensor, alpha: float, size: int, credit: str, samples: int, generator: torch.Generator
) -> Estimate:
    """∇J_II(θ; M) for K = 1 from independent batches, with little variance.

    ∇J_II = E[(∂φ/∂θ)ᵀ ∇V(φ) + s V(φ)], s the score of the batch. From V(φ) its first-order expansion around
    φ̄ = θ + α ∇V(θ) is taken away and its expectation put back exactly: E[s] = 0, and E[s (φ − φ̄)ᵀ] = α E[s gᵀ] of
    *one* trajectory, with g its inner gradient, whatever M is.
    """
    start = theta.expand(samples, *theta.shape).clone().requires_grad_()
    members = sample(mdp, start.detach(), size, generator)
    phi = updates(mdp, start, members, alpha, credit)
    (through,) = torch.autograd.grad(mdp.value(phi).sum(), start)

    one = torch.arange(len(mdp.trajectories.states)).unsqueeze(-1)  # every trajectory as a batch
    here = theta.expand(len(one), *theta.shape)
    probabilities = mdp.log_probabilities(here[:1]).exp().squeeze(0)
    steps = (updates(mdp, here, one, alpha, credit) - here).flatten(1)  # α g, [L, P]
    centre = here[:1] + (probabilities @ steps).view_as(theta)
    slope = value_gradient(mdp, centre).flatten()
    restored = (probabilities * (steps @ slope)) @ _scores(mdp, here, one)

    rest = mdp.value(phi) - mdp.value(centre) - (phi - centre).flatten(1) @ slope
    scores = _scores(mdp, start, members)
    return Estimate.of((through.flatten(1) + scores * rest.unsqueeze(-1)).detach() + restored)


def _scores(mdp: TinyMDP, logits: Tensor, members: Tensor) -> Tensor:
    """Σ_m ∇ log p(τ_m) of each of N batches, [N, P]."""
    ones = torch.ones(*members.shape, mdp.horizon, dtype=logits.dtype)
    return credited_scores(mdp, logits, members, ones).flatten(1)
