"""Derivatives of a multi-layer perceptron, written out: N networks at once, R rows of inputs each.

    a_0 = (x, 1),    z_l = A_l a_{l−1},    a_l = (σ(z_l), 1) for l < L,    output z_L

A_l [N, out, in + 1] are the weights with the biases as their last column, so that no bias needs a pass of its own. A
dot is a derivative along a tangent of all A_l; δ_l is the cotangent of z_l. The derivative of a backward pass makes
Hessian-vector products [pearlmutter1994]. Results overwrite their operands where those are not needed again: this is
where second-order methods spend their time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class ReLU:
    """max(0, z)."""

    value = staticmethod(torch.relu)

    @staticmethod
    def slope_(x: Tensor, a: Tensor) -> Tensor:
        """x ∘ σ'(z), in place, where a = σ(z)."""
        return torch.ops.aten.threshold_backward.grad_input(x, a, 0, grad_input=x)

    @staticmethod
    def bend(x: Tensor, a: Tensor) -> Tensor | None:
        """x ∘ σ''(z) / σ'(z), or None if that is 0."""
        return None


class Tanh:
    """tanh z."""

    value = staticmethod(torch.tanh)

    @staticmethod
    def slope_(x: Tensor, a: Tensor) -> Tensor:
        """x ∘ (1 − a²), in place."""
        return torch.ops.aten.tanh_backward.grad_input(x, a, grad_input=x)

    @staticmethod
    def bend(x: Tensor, a: Tensor) -> Tensor | None:
        """−2 x ∘ a."""
        return -2 * x * a


Activation = ReLU | Tanh
ACTIVATIONS: dict[str, Activation] = {"relu": ReLU(), "tanh": Tanh()}


class Cotangents(NamedTuple):
    """What a backward pass leaves for its own derivative."""

    deltas: list[Tensor]  # δ_1 … δ_L
    bends: list[Tensor | None]  # of z_1 … z_{L−1}: the cotangent of σ(z_l) ∘ σ''(z_l) / σ'(z_l)


def without_last(x: Tensor) -> Tensor:
    """A matrix without its column of biases, or activations without their constant: what derivatives meet."""
    return x[..., :-1]


def with_one(x: Tensor) -> Tensor:
    """(x, 1) for every row x."""
    return torch.nn.functional.pad(x, (0, 1), value=1.0)


def forward(matrices: Sequence[Tensor], x: Tensor, activation: Activation) -> tuple[list[Tensor], Tensor]:
    """a_0 … a_{L−1}, [N, R, · + 1] each, and the output z_L."""
    *inner, last = matrices
    hidden = [with_one(x)]
    for matrix in inner:
        hidden.append(with_one(activation.value(torch.bmm(hidden[-1], matrix.mT))))
    return hidden, torch.bmm(hidden[-1], last.mT)


def pushforward(
    matrices: Sequence[Tensor], hidden: Sequence[Tensor], tangent: Sequence[Tensor], activation: Activation
) -> tuple[list[Tensor], Tensor]:
    """ȧ_1 … ȧ_{L−1}, without the constant, and ż_L of a tangent of the matrices; x has none."""
    moved: list[Tensor] = []
    for level, (matrix, matrix_dot) in enumerate(zip(matrices, tangent, strict=True)):
        z_dot = torch.bmm(hidden[level], matrix_dot.mT)
        if level > 0:
            z_dot.baddbmm_(moved[-1], without_last(matrix).mT)
        if level + 1 < len(hidden):
            activation.slope_(z_dot, without_last(hidden[level + 1]))
        moved.append(z_dot)
    return moved[:-1], moved[-1]


def pullback(
    matrices: Sequence[Tensor], hidden: Sequence[Tensor], delta: Tensor, activation: Activation
) -> tuple[list[Tensor], Cotangents]:
    """Gradients of the matrices for a cotangent `delta` [N, R, out] of the output."""
    gradients, deltas, bends = [torch.bmm(delta.mT, hidden[-1])], [delta], []
    for level in reversed(range(1, len(hidden))):
        delta = torch.bmm(delta, without_last(matrices[level]))
        bends.append(activation.bend(delta, without_last(hidden[level])))
        deltas.append(activation.slope_(delta, without_last(hidden[level])))
        gradients.append(torch.bmm(delta.mT, hidden[level - 1]))
    return gradients[::-1], Cotangents(deltas[::-1], bends[::-1])


def pullback_tangent(
    matrices: Sequence[Tensor],
    hidden: Sequence[Tensor],
    tangent: Sequence[Tensor],
    moved: Sequence[Tensor],
    kept: Cotangents,
    delta_dot: Tensor,
    activation: Activation,
) -> list[Tensor]:
    """The derivative of `pullback`'s gradients along a tangent, whose `pushforward` gave `moved`.

    `kept` is what `pullback` left, `delta_dot` the derivative of the cotangent that it was given.
    """
    gradients = [torch.bmm(delta_dot.mT, hidden[-1])]
    for level in reversed(range(1, len(hidden))):
        delta, bend = kept.deltas[level], kept.bends[level - 1]
        without_last(gradients[-1]).baddbmm_(delta.mT, moved[level - 1])
        delta_dot = torch.bmm(delta_dot, without_last(matrices[level])).baddbmm_(delta, without_last(tangent[level]))
        activation.slope_(delta_dot, without_last(hidden[level]))
        if bend is not None:
            delta_dot.addcmul_(bend, moved[level - 1])
        gradients.append(torch.bmm(delta_dot.mT, hidden[level - 1]))
    return gradients[::-1]
