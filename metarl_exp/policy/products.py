"""Products with the Fisher matrix of a perceptron policy and with the Hessian of its loss, without autograd.

Both are Σ Jᵀ C J of the network's Jacobian J, with a small matrix C for each step, and the Hessian has a term besides:

    F φ̇ = Jᵀ w F_y J φ̇        H φ̇ = Jᵀ (∂²ℓ/∂y²) J φ̇ + (∂Jᵀ)[φ̇] ∂ℓ/∂y        y: what the distribution is made of

What does not depend on φ̇ is computed once. Autograd gives the same, for any policy, in more time and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.parameters import Parameters
from metarl_exp.maths.perceptron import Activation, Cotangents, forward, pullback, pullback_tangent, pushforward

Product = Callable[[Parameters], Parameters]
LocalProduct = Callable[[Sequence[Tensor]], Sequence[Tensor]]  # C: from tangents of y to cotangents, [N, R, A] each


class Shared(NamedTuple):
    """An entry of y that is the same at all steps: an elementwise function of a parameter, with two derivatives."""

    name: str
    value: Tensor  # [N, A]
    slope: Tensor
    bend: Tensor


class Products:
    """One φ [N, ...] of a perceptron policy on observations [N, M, T, S]; a *step* is one of the R = M · T.

    `layers` are the names of each layer's weights and biases; `shared` the further entries of y.
    """

    def __init__(
        self,
        layers: Sequence[tuple[str, str]],
        parameters: Parameters,
        shared: Sequence[Shared],
        observations: Tensor,
        activation: Activation,
        distribution: type[Distribution],
    ) -> None:
        self.layers, self.shared, self.activation, self.kind = layers, shared, activation, distribution
        self.parameters = parameters
        with torch.no_grad():
            self.matrices = self._matrices(parameters)
            self.hidden, outputs = forward(self.matrices, observations.flatten(1, -2), activation)
            self.y = distribution._make(self._entries(outputs, [s.value for s in shared]))  # [N, R, A] each

    def fisher(self, weights: Tensor) -> Product:
        """Σ over steps of `weights` [N, M, T] · the Fisher matrix of π_φ."""
        weights = weights.flatten(1).unsqueeze(-1)

        def local(moved: Sequence[Tensor]) -> list[Tensor]:
            return [weights * x for x in self.y.fisher_product(self.kind._make(moved))]

        return lambda tangent: self._product(tangent, local)

    @torch.no_grad()
    def hessian(self, actions: Tensor, slopes: Tensor, bends: Tensor) -> Product:
        """That of a loss of each step's log-probability, whose first and second derivatives are [N, M, T] each."""
        actions = actions.flatten(1, 2)
        slopes, bends = (x.flatten(1).unsqueeze(-1) for x in (slopes, bends))
        score = self.y.score(actions)
        delta, *shared = [slopes * x for x in score]
        _, kept = pullback(self.matrices, self.hidden, delta, self.activation)
        gradients = [x.sum(1) for x in shared]  # of the loss with respect to what is shared, [N, A]

        def local(moved: Sequence[Tensor]) -> list[Tensor]:
            log_prob_dot = torch.stack([(s * x).sum(-1, keepdim=True) for s, x in zip(score, moved, strict=True)])
            along = bends * log_prob_dot.sum(0)
            turned = self.y.score_tangent(actions, self.kind._make(moved))
            return [slopes * t + along * s for t, s in zip(turned, score, strict=True)]

        def product(tangent: Parameters) -> Parameters:
            found = self._product(tangent, local, kept)
            for shared, gradient in zip(self.shared, gradients, strict=True):
                found[shared.name] += shared.bend * tangent[shared.name] * gradient
            return found

        return product

    @torch.no_grad()
    def _product(self, tangent: Parameters, local: LocalProduct, kept: Cotangents | None = None) -> Parameters:
        """Jᵀ C J φ̇, and the term of (∂Jᵀ)[φ̇] if what a backward pass left is given; zero for all other names."""
        along = self._matrices(tangent)
        moved, outputs = pushforward(self.matrices, self.hidden, along, self.activation)
        delta, *rest = local(self._entries(outputs, [s.slope * tangent[s.name] for s in self.shared]))
        if kept is None:
            gradients, _ = pullback(self.matrices, self.hidden, delta, self.activation)
        else:
            gradients = pullback_tangent(self.matrices, self.hidden, along, moved, kept, delta, self.activation)
        found = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        for (weight, bias), gradient in zip(self.layers, gradients, strict=True):
            found[weight], found[bias] = gradient[..., :-1], gradient[..., -1]
        found.update({s.name: s.slope * x.sum(1) for s, x in zip(self.shared, rest, strict=True)})
        return found

    def _entries(self, outputs: Tensor, shared: Sequence[Tensor]) -> list[Tensor]:
        """y from the network's outputs [N, R, A] and what is shared [N, A], or a tangent of y from theirs."""
        return [outputs, *(x.unsqueeze(1).expand_as(outputs) for x in shared)]

    def _matrices(self, parameters: Parameters) -> list[Tensor]:
        """Weights with their biases as the last column, [N, out, in + 1]."""
        return [torch.cat([parameters[w], parameters[b].unsqueeze(-1)], dim=-1) for w, b in self.layers]
