"""Derivatives of perceptron policies in closed form: a fraction of the time and the memory of autograd.

Gradients of any loss, and Fisher products, are those of `products.py`. Hessians are, too, where the loss is a sum over
steps: they take its first and second derivatives with respect to each step's log-probability. Others are autograd's.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metarl_exp.algorithm.derivatives.autograd import Autograd
from metarl_exp.algorithm.derivatives.base import Gradient, LinearMap, Loss
from metarl_exp.algorithm.derivatives.products import Network, PerceptronDerivatives, StateIndependent
from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.parameters import Parameters, zip_names
from metarl_exp.policy.head import CategoricalHead, GaussianHead
from metarl_exp.policy.mlp import PerceptronPolicy
from metarl_exp.types import Experience, Policy

# What makes the network of a perceptron policy: a class that overrides none of these computes what its parent does.
NETWORK = ("__call__", "forward", "acting", "inputs", "outputs", "state_independent", "distribution")


def is_perceptron(policy: Policy) -> TypeGuard[PerceptronPolicy]:
    """Whether a policy computes what `PerceptronPolicy` does: no subclass has changed the network or a head."""
    if not isinstance(policy, PerceptronPolicy) or type(policy.action_head) not in (GaussianHead, CategoricalHead):
        return False
    own = type(policy)
    return all(getattr(own, n) is getattr(PerceptronPolicy, n) and n not in vars(policy) for n in NETWORK)


class Analytic:
    """Derivatives of a perceptron policy; `sum_over_steps` says whether the inner loss has its Hessian here."""

    def __init__(self, policy: PerceptronPolicy, sum_over_steps: bool) -> None:
        self.policy, self.sum_over_steps = policy, sum_over_steps
        layers = [(f"layers.{i}.weight", f"layers.{i}.bias") for i in range(len(policy.layers))]
        self.network = Network(layers, policy.activation, policy.distribution)

    def _products(self, parameters: Parameters, observations: Tensor) -> PerceptronDerivatives:
        functions = self.policy.state_independent()
        beside = [StateIndependent.at(name, f, parameters[name]) for name, f in functions.items()]
        return PerceptronDerivatives(self.network, parameters, beside, observations)

    def distribution(self, parameters: Parameters, observations: Tensor) -> Distribution:
        """π_φ without a graph of the network: its activations are computed again for a gradient."""
        fields = _Fields.apply(self._products(parameters, observations), [*parameters], *parameters.values())
        return self.network.kind._make(fields)  # type: ignore[arg-type]

    def gradient(
        self, loss: Loss, parameters: Parameters, distribution: Distribution, experience: Experience
    ) -> Gradient:
        """g from the cotangents of the distribution's fields, H from the loss's two derivatives in each log π(a|s)."""
        if not self.sum_over_steps:
            autograd = Autograd(self.policy)
            again = autograd.distribution(parameters, experience.observations)
            return autograd.gradient(loss, parameters, again, experience)
        cotangents = torch.autograd.grad(loss(distribution).sum(), [*distribution], materialize_grads=True)
        first, second = log_prob_derivatives(loss, distribution.log_prob(experience.actions))
        products = self._products(parameters, experience.observations)
        gradients, hessian = products.derivatives(cotangents, experience.actions, first, second)
        found = _KnownDerivative.apply(hessian, [*parameters], *gradients.values(), *parameters.values())
        return Gradient(zip_names(parameters, found), hessian)  # type: ignore[arg-type]

    def fisher(self, parameters: Parameters, observations: Tensor, weights: Tensor) -> LinearMap:
        """Jᵀ w F_y J φ̇, block of tasks after block."""
        return self._products(parameters, observations).fisher(weights)


class _Fields(torch.autograd.Function):
    """The fields of π_φ as a function of φ."""

    @staticmethod
    def forward(ctx: Any, products: PerceptronDerivatives, names: list[str], *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.products, ctx.names = products, names
        return tuple(products.distribution())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        gradients = ctx.products.gradient(cotangents)
        return None, None, *(gradients[name] for name in ctx.names)


class _KnownDerivative(torch.autograd.Function):
    """g of φ, as computed elsewhere, with the product of its derivative."""

    @staticmethod
    def forward(ctx: Any, hessian: LinearMap, names: list[str], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.hessian, ctx.names = hessian, names
        return tuple(g.clone() for g in tensors[: len(names)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        product = ctx.hessian(zip_names(ctx.names, cotangents))
        return None, None, *[None] * len(ctx.names), *product.values()


class _LogProbs:
    """A policy of which the log-probabilities of the actions taken are all that is known, [N, M, T]."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def log_prob(self, action: Tensor) -> Tensor:
        return self.value

    def __getattr__(self, name: str) -> Any:
        raise ValueError(
            f"an inner loss that is declared a sum over steps asks a policy for {name}: it may ask for log_prob alone"
        )


def log_prob_derivatives(loss: Loss, log_prob: Tensor) -> tuple[Tensor, Tensor | None]:
    """First and second derivatives of a `sum_over_steps` in each step's log π(a|s), [N, M, T]; None: 0."""
    with torch.enable_grad():
        log_prob = log_prob.detach().requires_grad_()
        known: Any = _LogProbs(log_prob)
        (first,) = torch.autograd.grad(loss(known).sum(), log_prob, create_graph=True, materialize_grads=True)
        if not first.requires_grad:
            return first, None
        (second,) = torch.autograd.grad(first, log_prob, torch.ones_like(first), materialize_grads=True)
    return first.detach(), second
