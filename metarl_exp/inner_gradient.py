"""Derivatives of losses of a policy: by autograd for any of them, or written out where the policy knows how.

The gradient g of an inner loss comes with its derivative, the Hessian H, as a product.

    generic       autograd through the graph of g: any policy, any loss
    written out   H from first and second derivatives of the loss with respect to each step's log-probability: for
                  policies that have `products`, and losses that are sums over steps of functions of these

Both give the same numbers up to rounding; the second takes a fraction of the time and the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.parameters import Parameters, detach, zip_names
from metarl_exp.policy.products import Product, Products
from metarl_exp.types import Experience, Policy

InnerLoss = Callable[[Distribution, Distribution, Experience], Tensor]  # of π_φ, the π that acted, and its batch
LOCAL = 1e3  # roundings: a loss of single steps is far below, one that ties steps together far above


@runtime_checkable
class WrittenOut(Protocol):
    """A policy that knows derivatives without autograd; one whose `products` is None does not."""

    def products(self, parameters: Parameters, observations: Tensor) -> Products: ...


def once(policy: Policy, parameters: Parameters, observations: Tensor) -> Distribution:
    """π_φ on the observations [N, M, T, S], to be differentiated once with respect to φ [N, ...].

    Where derivatives are written out no graph is kept: neither the network's activations, nor a second derivative.
    """
    if not isinstance(policy, WrittenOut):
        return policy(parameters, observations)
    products = policy.products(parameters, observations)
    fields = _Once.apply(products, list(parameters), *parameters.values())
    return products.network.kind._make(fields)  # type: ignore[arg-type]


class _Once(torch.autograd.Function):
    """The fields of π_φ as a function of φ."""

    @staticmethod
    def forward(ctx: Any, products: Products, names: list[str], *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.products, ctx.names = products, names
        return tuple(products.distribution())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        gradients = ctx.products.gradient(cotangents)
        return None, None, *(gradients[name] for name in ctx.names)


class InnerGradient(NamedTuple):
    """g {name: [N, ...]}, differentiable with respect to φ, and v ↦ H v."""

    gradients: Parameters
    hessian: Product


def generic(loss: Tensor, parameters: Parameters) -> InnerGradient:
    """Of a scalar with a graph."""
    found = torch.autograd.grad(loss, list(parameters.values()), create_graph=True, materialize_grads=True)
    gradients = zip_names(parameters, found)
    # The Hessian is symmetric, so a backward pass through the gradients gives it.
    return InnerGradient(gradients, partial(vector_jacobian_product, gradients, parameters))


def vector_jacobian_product(outputs: Parameters, inputs: Parameters, cotangent: Parameters) -> Parameters:
    """(∂outputs/∂inputs)ᵀ · cotangent, keeping the graph; zero where an input has no part in it."""
    found = torch.autograd.grad(
        list(outputs.values()),
        list(inputs.values()),
        list(cotangent.values()),
        retain_graph=True,
        materialize_grads=True,
    )
    return zip_names(inputs, found)


class Local(NamedTuple):
    """Derivatives of Σ_i L_i with respect to each step's own log π(a|s), [N, M, T]."""

    slopes: Tensor
    bends: Tensor | None  # None: 0


class _Given(NamedTuple):
    """Stands for a policy of which the probabilities of the actions taken are known."""

    value: Tensor

    def log_prob(self, action: Tensor) -> Tensor:
        return self.value


def local_derivatives(
    inner_loss: InnerLoss, distribution: Distribution, acted: Distribution, experience: Experience
) -> Local | None:
    """Of a loss that is a sum over steps of functions of their log-probabilities; None if it is anything else.

    What ties steps together (DiCE's boxes) is found by a product of the second derivative with arbitrary numbers.
    """
    with torch.enable_grad():
        log_prob = distribution.log_prob(experience.actions).detach().requires_grad_()
        new: Any = _Given(log_prob)
        old: Any = _Given(acted.log_prob(experience.actions).detach())
        try:
            loss = inner_loss(new, old, experience).sum()
        except AttributeError:  # it asks for more of a policy than these
            return None
        (slopes,) = torch.autograd.grad(loss, log_prob, create_graph=True, materialize_grads=True)
        if not slopes.requires_grad:
            return Local(slopes, None)
        probe = torch.linspace(1, 2, log_prob.numel(), dtype=log_prob.dtype, device=log_prob.device).view_as(log_prob)
        bends, found = (
            torch.autograd.grad(slopes, log_prob, v, retain_graph=True, materialize_grads=True)[0]
            for v in (torch.ones_like(probe), probe)
        )
    if (found - bends * probe).norm() > LOCAL * torch.finfo(probe.dtype).eps * found.norm():
        return None
    return Local(slopes.detach(), bends)


def written_out(
    policy: WrittenOut, parameters: Parameters, loss: Tensor, local: Local, experience: Experience
) -> InnerGradient:
    """Of a scalar whose `local` derivatives are given. What H takes is computed when H is first asked for."""
    gradients = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    fixed, made = detach(parameters), []

    def hessian(tangent: Parameters) -> Parameters:
        if not made:
            made.append(policy.products(fixed, experience.observations).hessian(experience.actions, *local))
        return made[0](tangent)

    found = _KnownDerivative.apply(hessian, list(parameters), *gradients, *parameters.values())
    return InnerGradient(zip_names(parameters, found), hessian)  # type: ignore[arg-type]


class _KnownDerivative(torch.autograd.Function):
    """g of φ, as computed elsewhere, with the product of its derivative."""

    @staticmethod
    def forward(ctx: Any, hessian: Product, names: list[str], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.hessian, ctx.names = hessian, names
        return tuple(g.clone() for g in tensors[: len(names)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        product = ctx.hessian(zip_names(ctx.names, cotangents))
        return None, None, *[None] * len(ctx.names), *product.values()
