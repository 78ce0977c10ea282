"""Derivatives of a perceptron policy without autograd: gradients, and products with Fisher matrices and Hessians.

All are made of the network's Jacobian J; products are Σ Jᵀ C J with a small matrix C for each step, and the Hessian
has a term besides:

    ∇ℓ = Jᵀ ∂ℓ/∂y      F φ̇ = Jᵀ w F_y J φ̇      H φ̇ = Jᵀ (∂²ℓ/∂y²) J φ̇ + (∂Jᵀ)[φ̇] ∂ℓ/∂y      y: the distribution's fields

Tasks have nothing to do with each other here, so they are taken in blocks whose activations stay in the cache. What a
product needs and φ̇ has no part in is computed once. Autograd gives the same, for any policy, in more time and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.parameters import Parameters, detach
from metarl_exp.maths.perceptron import Activation, Cotangents, Perceptron

Product = Callable[[Parameters], Parameters]
LocalProduct = Callable[[Sequence[Tensor]], Sequence[Tensor]]  # C: from tangents of y to cotangents, [n, R, A] each
CACHE = 2**20  # bytes of one layer's activations for each thread: half of a core's own cache, on many processors


class Shared(NamedTuple):
    """A field of y that is the same at all steps: an elementwise function of a parameter, with two derivatives."""

    name: str
    value: Tensor  # [N, A]
    slope: Tensor
    bend: Tensor

    def of(self, tasks: slice) -> Shared:
        """That of some tasks."""
        return Shared(self.name, self.value[tasks], self.slope[tasks], self.bend[tasks])


class Network(NamedTuple):
    """What a policy is made of: the names of each layer's weights and biases, σ, and the kind of distribution."""

    layers: Sequence[tuple[str, str]]
    activation: Activation
    kind: type[Distribution]

    def matrices(self, parameters: Parameters) -> list[Tensor]:
        """Weights with their biases as the last column, [N, out, in + 1]."""
        return [torch.cat([parameters[w], parameters[b].unsqueeze(-1)], dim=-1) for w, b in self.layers]


class Products:
    """One φ [N, ...] of a perceptron policy on observations [N, M, T, S]; a *step* is one of the R = M · T.

    `shared` are the fields of y after the network's outputs. No tensor has a history, here and in what comes back.
    """

    def __init__(
        self, network: Network, parameters: Parameters, shared: Sequence[Shared], observations: Tensor
    ) -> None:
        self.network, self.shared, self.observations = network, shared, observations
        self.parameters = detach(parameters)

    @torch.no_grad()
    def distribution(self) -> Distribution:
        """π_φ on the observations; fields [N, M, T, A]."""
        fields = zip(*(block.y for block in self._blocks()), strict=True)
        return self.network.kind._make(torch.cat(x).unflatten(1, self.observations.shape[1:3]) for x in fields)

    @torch.no_grad()
    def gradient(self, cotangents: Sequence[Tensor]) -> Parameters:
        """Jᵀ times a cotangent of each field, [N, M, T, A]. Activations are computed again rather than kept."""
        flat = [x.flatten(1, 2) for x in cotangents]
        return joined([block.gradient([x[block.tasks] for x in flat]) for block in self._blocks()])

    def fisher(self, weights: Tensor) -> Product:
        """Σ over steps of `weights` [N, M, T] · the Fisher matrix of π_φ."""
        weights = weights.flatten(1).unsqueeze(-1)
        return self._each(lambda block: block.fisher(weights[block.tasks]))

    def hessian(self, actions: Tensor, slopes: Tensor, bends: Tensor | None) -> Product:
        """That of a loss of each step's log-probability, with its first and second derivatives (None: 0), [N, M, T]."""
        flat = [actions.flatten(1, 2), *(x.flatten(1).unsqueeze(-1) for x in (slopes, bends) if x is not None)]
        return self._each(lambda block: block.hessian(*(x[block.tasks] for x in flat)))

    @torch.no_grad()
    def _each(self, of: Callable[[Block], Product]) -> Product:
        """The product of all tasks from those of each block, made once."""
        blocks = [(block.tasks, of(block)) for block in self._blocks()]

        @torch.no_grad()
        def product(tangent: Parameters) -> Parameters:
            return joined([own({n: x[tasks] for n, x in tangent.items()}) for tasks, own in blocks])

        return product

    def _blocks(self) -> Iterator[Block]:
        num_tasks, steps = len(self.observations), self.observations.shape[1:3].numel()
        widest = max(len(self.parameters[bias][0]) for _, bias in self.network.layers)
        size = tasks_at_once(self.observations, steps * widest) or num_tasks
        for first in range(0, num_tasks, size):
            tasks = slice(first, first + size)
            own = {name: p[tasks] for name, p in self.parameters.items()}
            yield Block(tasks, self.network, own, [s.of(tasks) for s in self.shared], self.observations[tasks])


def tasks_at_once(like: Tensor, numbers: int) -> int | None:
    """How many tasks of so many `numbers` a layer the processor's threads keep in their caches; None on a device."""
    if like.device.type != "cpu":
        return None
    return torch.get_num_threads() * max(1, CACHE // (numbers * like.element_size()))


def joined(blocks: Sequence[Parameters]) -> Parameters:
    """What was found block by block, of all tasks."""
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


class Block:
    """The n tasks of `Products` that are taken at once, with their activations."""

    def __init__(
        self, tasks: slice, network: Network, parameters: Parameters, shared: Sequence[Shared], observations: Tensor
    ) -> None:
        self.tasks, self.network, self.parameters, self.shared = tasks, network, parameters, shared
        inputs = observations.flatten(1, 2).mT
        self.perceptron = Perceptron(network.matrices(parameters), inputs, network.activation)
        self.y = network.kind._make(self._fields(self.perceptron.outputs, [s.value for s in shared]))  # [n, R, A] each

    def gradient(self, cotangents: Sequence[Tensor]) -> Parameters:
        """Jᵀ times cotangents of y, [n, R, A] each; zero for names that y is not made of."""
        delta, *rest = cotangents
        gradients, _ = self.perceptron.pullback(delta.mT)
        return self._named(gradients, rest)

    def fisher(self, weights: Tensor) -> Product:
        """Of weights [n, R, 1]."""

        def local(moved: Sequence[Tensor]) -> list[Tensor]:
            return [weights * x for x in self.y.fisher_product(self.network.kind._make(moved))]

        return lambda tangent: self._product(tangent, local)

    def hessian(self, actions: Tensor, slopes: Tensor, bends: Tensor | None = None) -> Product:
        """Of actions [n, R, ...] and derivatives [n, R, 1]."""
        score, turned = self.y.score(actions), self.y.score_product(actions, slopes)
        delta, *shared = [slopes * x for x in score]
        _, kept = self.perceptron.pullback(delta.mT)
        gradients = [x.sum(1) for x in shared]  # of the loss with respect to what is shared, [n, A]

        def local(moved: Sequence[Tensor]) -> Sequence[Tensor]:
            found = turned(self.network.kind._make(moved))
            if bends is None:
                return found
            along = bends * sum((s * x).sum(-1, keepdim=True) for s, x in zip(score, moved, strict=True))
            return [torch.addcmul(x, along, s) for x, s in zip(found, score, strict=True)]

        def product(tangent: Parameters) -> Parameters:
            found = self._product(tangent, local, kept)
            for shared, gradient in zip(self.shared, gradients, strict=True):
                found[shared.name] += shared.bend * tangent[shared.name] * gradient
            return found

        return product

    def _product(self, tangent: Parameters, local: LocalProduct, kept: Cotangents | None = None) -> Parameters:
        """Jᵀ C J φ̇, and the term of (∂Jᵀ)[φ̇] if what a backward pass left is given."""
        along = self.network.matrices(tangent)
        *moved, outputs = self.perceptron.pushforward(along)
        cotangents = local(self._fields(outputs, [s.slope * tangent[s.name] for s in self.shared]))
        if kept is None:
            return self.gradient(cotangents)
        delta, *rest = cotangents
        gradients = self.perceptron.pullback_tangent(along, moved, kept, delta.mT)
        return self._named(gradients, rest)

    def _fields(self, outputs: Tensor, shared: Sequence[Tensor]) -> list[Tensor]:
        """y from the network's outputs [n, A, R] and what is shared [n, A], or a tangent of y from theirs."""
        return [outputs.mT, *(x.unsqueeze(1).expand_as(outputs.mT) for x in shared)]

    def _named(self, gradients: Sequence[Tensor], shared: Sequence[Tensor]) -> Parameters:
        """Gradients of the matrices, and of what is shared step by step, under the names of the parameters."""
        found = {s.name: s.slope * x.sum(1) for s, x in zip(self.shared, shared, strict=True)}
        for (weight, bias), gradient in zip(self.network.layers, gradients, strict=True):
            found[weight], found[bias] = gradient[..., :-1], gradient[..., -1]
        return {name: found[name] if name in found else torch.zeros_like(p) for name, p in self.parameters.items()}
