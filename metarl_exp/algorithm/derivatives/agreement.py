"""A policy tried on random numbers: whether two ways to differentiate it agree, and whether it acts as it learns.

Two tasks, two trajectories of three steps, parameters near those that the policy has. Numbers that
share half of their digits count as equal: another network differs by far more, rounding by far less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from metarl_exp.algorithm.derivatives.base import Derivatives, InnerLoss
from metarl_exp.maths.distributions import constant
from metarl_exp.maths.parameters import Parameters, stack
from metarl_exp.types import Experience, Policy

SHAPE = 2, 2, 3  # N, M, T
SPREAD = 0.1  # standard deviation of what is added to parameters, so that biases are not zero


def agree(policy: Policy, inner_loss: InnerLoss, one: Derivatives, other: Derivatives) -> bool:
    """Whether two `Derivatives` of a policy give the same distribution, gradient, Hessian and Fisher product."""
    experience, tangent = _batch(policy), _near(policy, seed=2)
    return _equal(*([*_derivatives(d, inner_loss, experience, tangent)] for d in (one, other)))


def require_one_network(policy: Policy) -> None:
    """Raise ValueError unless a policy acts, step by step, with the network that it learns with."""
    parameters, observations = _near(policy, seed=0), _observations(policy)
    act = policy.acting(parameters)
    with torch.no_grad():
        steps = [act(observation) for observation in observations.unbind(2)]
        acting = [torch.stack(fields, dim=2) for fields in zip(*steps, strict=True)]
        if not _equal(acting, [*policy(parameters, observations)]):
            raise ValueError(
                f"policy={type(policy).__name__}: `acting` and `forward` disagree, and only `forward` is trained; "
                "override `inputs` or `outputs`, which both call, or override both"
            )


def _derivatives(
    derivatives: Derivatives, inner_loss: InnerLoss, experience: Experience, tangent: Parameters
) -> Iterator[Tensor]:
    parameters = {name: p.clone().requires_grad_() for name, p in experience.parameters.items()}
    distribution = derivatives.distribution(parameters, experience.observations)
    behaviour = constant(distribution)
    gradients, hessian = derivatives.gradient(
        lambda policy: inner_loss(policy, behaviour, experience), parameters, distribution, experience
    )
    fisher = derivatives.fisher(parameters, experience.observations, experience.mask.to(experience.advantages.dtype))
    for found in (gradients, hessian(tangent), fisher(tangent)):
        yield from found.values()
    yield from behaviour


def _equal(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(
        (a - b).norm() <= torch.finfo(a.dtype).eps ** 0.5 * (a.norm() + b.norm())
        for a, b in zip(ones, others, strict=True)
    )


def _batch(policy: Policy) -> Experience:
    parameters, observations = _near(policy, seed=0), _observations(policy)
    noise = policy.distribution.noise(SHAPE, policy.spec.action_size, torch.Generator().manual_seed(3)).to(observations)
    with torch.no_grad():
        actions = policy(parameters, observations).sample(noise)
    advantages, rewards = _normal(observations, 2, *SHAPE, seed=4)
    mask = torch.ones(SHAPE, dtype=torch.bool, device=observations.device)
    mask[0, 0, -1] = False
    return Experience(observations, actions, advantages, mask, parameters, rewards)


def _near(policy: Policy, seed: int) -> Parameters:
    """Parameters [N, ...] around those of the policy."""
    stacked = stack(dict(policy.named_parameters()), SHAPE[0])
    return {n: p + SPREAD * _normal(p, *p.shape, seed=seed + i) for i, (n, p) in enumerate(stacked.items())}


def _observations(policy: Policy) -> Tensor:
    return _normal(next(policy.parameters()), *SHAPE, policy.spec.observation_size, seed=1)


def _normal(like: Tensor, *shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(like)
