"""Derivatives by automatic differentiation: of any policy and any loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from metarl_exp.algorithm.derivatives.base import Gradient, LinearMap, Loss
from metarl_exp.maths.distributions import Distribution, constant
from metarl_exp.maths.parameters import Parameters, detach, zip_names
from metarl_exp.types import Experience, Policy

JacobianProduct = Callable[[Sequence[Tensor | None]], Sequence[Tensor]]  # from tangents of inputs to those of outputs


class Autograd:
    """Derivatives of a policy through the graph of its own forward pass."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def distribution(self, parameters: Parameters, observations: Tensor) -> Distribution:
        """π_φ with its graph, which can be differentiated as often as one likes."""
        return self.policy(parameters, observations)

    def gradient(
        self, loss: Loss, parameters: Parameters, distribution: Distribution, experience: Experience
    ) -> Gradient:
        """g with its graph, and the products that a backward pass through it gives."""
        return double_backward(loss(distribution).sum(), parameters)

    def fisher(self, parameters: Parameters, observations: Tensor, weights: Tensor) -> LinearMap:
        """Jᵀ w F_y J φ̇, y the fields of the distribution and J their Jacobian."""
        phi = {name: p.requires_grad_() for name, p in detach(parameters).items()}
        y = self.policy(phi, observations)
        fixed = constant(y)
        pushforward = jvp([*y], [*phi.values()])

        def product(tangent: Parameters) -> Parameters:
            pushed = pushforward([*tangent.values()])
            scaled = [weights.unsqueeze(-1) * x for x in fixed.fisher_product(y._make(pushed))]
            found = torch.autograd.grad([*y], [*phi.values()], scaled, retain_graph=True, materialize_grads=True)
            return zip_names(phi, found)

        return product


def double_backward(loss: Tensor, parameters: Parameters) -> Gradient:
    """The gradient of a scalar with a graph, and its Hessian."""
    found = torch.autograd.grad(loss, [*parameters.values()], create_graph=True, materialize_grads=True)
    gradients = zip_names(parameters, found)
    # The Hessian is symmetric, so a backward pass through the gradients gives it.
    return Gradient(gradients, partial(vjp, gradients, parameters))


def vjp(outputs: Parameters, inputs: Parameters, cotangent: Parameters) -> Parameters:
    """(∂outputs/∂inputs)ᵀ · cotangent, keeping the graph; zero where an input has no part in it."""
    found = torch.autograd.grad(
        [*outputs.values()], [*inputs.values()], [*cotangent.values()], retain_graph=True, materialize_grads=True
    )
    return zip_names(inputs, found)


def jvp(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> JacobianProduct:
    """Tangents of the inputs (None: 0) ↦ those of the outputs.

    The vector-Jacobian product is linear in its cotangent, and its derivative with respect to that is J.
    """
    cotangents = [torch.zeros_like(x).requires_grad_() for x in outputs]
    transposed = torch.autograd.grad(outputs, inputs, cotangents, create_graph=True, materialize_grads=True)

    def product(tangents: Sequence[Tensor | None]) -> Sequence[Tensor]:
        used = [(x, t) for x, t in zip(transposed, tangents, strict=True) if t is not None and x.requires_grad]
        linear, along = zip(*used, strict=True)
        return torch.autograd.grad(linear, cotangents, along, retain_graph=True, materialize_grads=True)

    return product
