"""Floating-point operations: the least that the chain rule needs, by formula, and those that are carried out, counted.

Both are multiplications and additions in matrix products; elementwise work is left out. For one time step a product
over all layers of an MLP takes f operations with all layers, and g without the first, whose input needs no derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker


class Network(NamedTuple):
    """An MLP of these layer sizes, from the observation's to the output's; operations are for one time step."""

    sizes: tuple[int, ...]

    @property
    def forward(self) -> int:
        """f: the outputs."""
        return 2 * sum(a * b for a, b in pairwise(self.sizes))

    @property
    def inner(self) -> int:
        """g: the same without the first layer."""
        return 2 * sum(a * b for a, b in pairwise(self.sizes[1:]))

    @property
    def backward(self) -> int:
        """From a gradient in the outputs to those in the weights, f, by way of those in the inputs of layers, g."""
        return self.forward + self.inner

    @property
    def tangent(self) -> int:
        """From a tangent of the weights to that of the outputs: ẋ of a layer goes through W, and x through Ẇ."""
        return self.forward + self.inner

    @property
    def fisher(self) -> int:
        """F φ̇, with the outputs known: a tangent, and a backward pass."""
        return self.tangent + self.backward

    @property
    def hessian(self) -> int:
        """H φ̇, with the gradient known: the tangents of the forward pass and of the backward pass.

        Of the latter, those in the weights are two products a layer, f + g: the first layer's input has no tangent.
        Those in the inputs are two products a layer, 2 g.
        """
        return self.tangent + (self.forward + self.inner) + 2 * self.inner


def needed(network: Network, steps: Sequence[int], order: str) -> dict[str, float]:
    """The least for one meta-batch, by hot path; `steps` are the time steps of its K + 1 batches.

    J = ∂φ_K/∂θ is a product of I − αH_k: in second order J v and Jᵀ u take a Hessian-vector product an inner step, in
    first none. What the path has computed on the way is known to what follows. A `search` is one point where the loss
    and the KL are evaluated; `again` takes gradients at another θ on the same batch.
    """
    *pre, post = steps
    through = network.hessian * sum(pre) if order == "second" else 0
    adaptation = (network.forward + network.backward) * sum(pre)
    gradient = (network.forward + network.backward) * post + through
    return {
        "sampling": network.forward * sum(steps),
        "adaptation": adaptation,
        "gradient": gradient,
        "again": adaptation + gradient,
        "product": network.fisher * post + 2 * through,
        "search": adaptation + network.forward * post,
    }


def counter() -> FlopCounterMode:
    """Counts while it is entered: all that goes through torch's dispatcher in this thread, `out=` included.

    Products in place count too, which torch leaves out. What threads of one's own compute escapes.
    """
    aten = torch.ops.aten
    found = FlopCounterMode(display=False, custom_mapping=dict.fromkeys((aten.addmm_, aten.baddbmm_), _added_product))
    found.mod_tracker = _Untracked()
    return found


class _Untracked(ModuleTracker):
    """In the place of what tells which module an operation belongs to, whose hooks `torch.autograd.grad` refuses."""

    def __enter__(self) -> _Untracked:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _added_product(_to: Any, a: Sequence[int], b: Sequence[int], **_: Any) -> int:
    """Of shapes [..., rows, in] and [..., in, out]."""
    return 2 * prod(a) * b[-1]
