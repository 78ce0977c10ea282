"""Derivatives of a multi-layer perceptron, written out: N networks at once, R inputs each.

    a_0 = (x, 1),    z_l = A_l a_{l−1},    a_l = (σ(z_l), 1) for l < L,    output z_L

Inputs are columns, [N, features, R]: what is done to all units but the constant one is then done to memory without
gaps. A_l [N, out, in + 1] are the weights with the biases as their last column, so that no bias needs a pass of its
own. A dot is the derivative along a tangent Ȧ of all matrices, δ_l the cotangent of z_l; Aᵀ leaves out the biases:

    (1)  ż_l = Ȧ_l a_{l−1} + A_l ȧ_{l−1},  ȧ_0 = 0
    (2)  ȧ_l = σ'(z_l) ∘ ż_l
    (3)  δ_l = σ'(z_l) ∘ (A_{l+1}ᵀ δ_{l+1})
    (4)  ∂L/∂A_l = δ_l a_{l−1}ᵀ
    (5)  δ̇_l = σ'(z_l) ∘ (A_{l+1}ᵀ δ̇_{l+1} + Ȧ_{l+1}ᵀ δ_{l+1}) + σ''(z_l) ∘ ż_l ∘ (A_{l+1}ᵀ δ_{l+1})
    (6)  (∂L/∂A_l)˙ = δ̇_l a_{l−1}ᵀ + δ_l ȧ_{l−1}ᵀ

(1) and (2) are a forward pass, (3) and (4) a backward pass; its derivative, (5) and (6), makes Hessian-vector products
[pearlmutter1994]. Results overwrite their operands where those are not needed again: this is where second-order methods
spend their time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class ReLU:
    """max(0, z)."""

    value = staticmethod(torch.relu)
    value_ = staticmethod(torch.relu_)

    @staticmethod
    def times_derivative_(x: Tensor, a: Tensor) -> Tensor:
        """x ∘ σ'(z), in place, where a = σ(z)."""
        return torch.ops.aten.threshold_backward.grad_input(x, a, 0, grad_input=x)

    @staticmethod
    def times_curvature(x: Tensor, a: Tensor) -> Tensor | None:
        """x ∘ σ''(z) / σ'(z), or None if that is 0: times ȧ = σ'(z) ∘ ż it is the last term of (5)."""
        return None


class Tanh:
    """tanh z."""

    value = staticmethod(torch.tanh)
    value_ = staticmethod(torch.tanh_)

    @staticmethod
    def times_derivative_(x: Tensor, a: Tensor) -> Tensor:
        """x ∘ (1 − a²), in place."""
        return torch.ops.aten.tanh_backward.grad_input(x, a, grad_input=x)

    @staticmethod
    def times_curvature(x: Tensor, a: Tensor) -> Tensor | None:
        """−2 x ∘ a."""
        return -2 * x * a


Activation = ReLU | Tanh
ACTIVATIONS: dict[str, Activation] = {"relu": ReLU(), "tanh": Tanh()}


class Cotangents(NamedTuple):
    """Intermediate results of a backward pass that its own derivative needs."""

    deltas: list[Tensor]  # δ_1 … δ_L
    curvatures: list[Tensor | None]  # of z_1 … z_{L−1}: the cotangent of σ(z_l) ∘ σ''(z_l) / σ'(z_l)


class Perceptron:
    """The networks with these matrices on inputs x [N, in, R], as they were computed."""

    def __init__(self, matrices: Sequence[Tensor], x: Tensor, activation: Activation) -> None:
        self.matrices, self.activation = matrices, activation
        *inner, last = matrices
        self.hidden = [with_one(x)]  # a_0 … a_{L−1}, [N, · + 1, R] each
        for matrix in inner:
            self.hidden.append(with_one(activation.value_(torch.bmm(matrix, self.hidden[-1]))))
        self.outputs = torch.bmm(last, self.hidden[-1])  # z_L

    def _times_derivative_(self, x: Tensor, level: int) -> Tensor:
        """x ∘ σ'(z_level), in place."""
        return self.activation.times_derivative_(x, units(self.hidden[level]))

    def pushforward(self, tangent: Sequence[Tensor]) -> list[Tensor]:
        """ȧ_1 … ȧ_{L−1}, without the constant, and ż_L of a tangent of the matrices; x has none."""
        tangents: list[Tensor] = []
        for level, (matrix, matrix_dot) in enumerate(zip(self.matrices, tangent, strict=True)):
            z_dot = torch.bmm(matrix_dot, self.hidden[level])  # (1)
            if tangents:
                z_dot.baddbmm_(weights(matrix), self._times_derivative_(tangents[-1], level))  # (1), (2)
            tangents.append(z_dot)
        return tangents

    def pullback(self, delta: Tensor) -> tuple[list[Tensor], Cotangents]:
        """Gradients of the matrices for a cotangent `delta` [N, out, R] of the output."""
        gradients, deltas, curvatures = [torch.bmm(delta, self.hidden[-1].mT)], [delta], []
        for level in reversed(range(1, len(self.hidden))):
            delta = torch.bmm(weights(self.matrices[level]).mT, delta)
            curvatures.append(self.activation.times_curvature(delta, units(self.hidden[level])))
            deltas.append(self._times_derivative_(delta, level))  # (3)
            gradients.append(torch.bmm(delta, self.hidden[level - 1].mT))  # (4)
        return gradients[::-1], Cotangents(deltas[::-1], curvatures[::-1])

    def pullback_tangent(
        self, tangent: Sequence[Tensor], tangents: Sequence[Tensor], kept: Cotangents, delta_dot: Tensor
    ) -> list[Tensor]:
        """The derivative of `pullback`'s gradients along a tangent, whose `pushforward` gave `tangents`.

        `kept` is what `pullback` left, `delta_dot` the derivative of the cotangent that it was given.
        """
        gradients = [torch.bmm(delta_dot, self.hidden[-1].mT)]
        for level in reversed(range(1, len(self.hidden))):
            delta, curvature = kept.deltas[level], kept.curvatures[level - 1]
            weights(gradients[-1]).add_(torch.bmm(delta, tangents[level - 1].mT))  # (6)
            delta_dot = torch.bmm(weights(self.matrices[level]).mT, delta_dot)
            self._times_derivative_(delta_dot.baddbmm_(weights(tangent[level]).mT, delta), level)  # (5)
            if curvature is not None:
                delta_dot.addcmul_(curvature, tangents[level - 1])  # (5)
            gradients.append(torch.bmm(delta_dot, self.hidden[level - 1].mT))  # (6)
        return gradients[::-1]


def with_one(x: Tensor) -> Tensor:
    """(x, 1) for every column x: [N, features, R] → [N, features + 1, R]."""
    return torch.nn.functional.pad(x, (0, 0, 0, 1), value=1.0)


def units(a: Tensor) -> Tensor:
    """Activations without the constant."""
    return a[:, :-1]


def weights(matrix: Tensor) -> Tensor:
    """A without its column of biases: what derivatives with respect to the input of a layer meet."""
    return matrix[..., :-1]
