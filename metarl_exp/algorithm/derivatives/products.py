"""Derivatives of a perceptron policy without autograd: gradients, and products with Fisher matrices and Hessians.

All are made of the network's Jacobian J; products are Σ Jᵀ C J with a small matrix C for each step, and the Hessian
has a term besides:

    ∇ℓ = Jᵀ ∂ℓ/∂y      F φ̇ = Jᵀ w F_y J φ̇      H φ̇ = Jᵀ (∂²ℓ/∂y²) J φ̇ + (∂Jᵀ)[φ̇] ∂ℓ/∂y      y: the distribution's fields

Tasks have nothing to do with each other here, so they are taken in blocks whose activations stay in the cache. All that
does not depend on φ̇ is computed once. Autograd gives the same, for any policy, in more time and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_exp.algorithm.derivatives.base import LinearMap
from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.parameters import Parameters, detach
from metarl_exp.maths.perceptron import Activation, Cotangents, Perceptron

LocalProduct = Callable[[Sequence[Tensor]], Sequence[Tensor]]  # C: from tangents of y to cotangents, [n, R, A] each
CACHE = 2**20  # bytes of one layer's activations for each thread: half of a core's own cache, on many processors


class StateIndependent(NamedTuple):
    """A field of y that is the same at all steps: an elementwise function f of a parameter, such as log σ."""

    name: str  # of the parameter
    value: Tensor  # f, [N, A]
    derivative: Tensor  # f'
    second_derivative: Tensor  # f''

    @classmethod
    def at(cls, name: str, function: Callable[[Tensor], Tensor], parameter: Tensor) -> StateIndependent:
        """f and its two derivatives at a parameter [N, A]."""
        with torch.enable_grad():
            raw = parameter.detach().requires_grad_()
            value = function(raw)
            (derivative,) = torch.autograd.grad(value.sum(), raw, create_graph=True)
            (second_derivative,) = torch.autograd.grad(derivative.sum(), raw, allow_unused=True, materialize_grads=True)
        return cls(name, value.detach(), derivative.detach(), second_derivative)

    def of(self, tasks: slice) -> StateIndependent:
        """The field of some tasks."""
        return StateIndependent(self.name, self.value[tasks], self.derivative[tasks], self.second_derivative[tasks])


class Network(NamedTuple):
    """The parts of a policy: the names of each layer's weights and biases, σ, and the kind of distribution."""

    layers: Sequence[tuple[str, str]]
    activation: Activation
    kind: type[Distribution]

    def matrices(self, parameters: Parameters) -> list[Tensor]:
        """Weights with their biases as the last column, [N, out, in + 1]."""
        return [torch.cat([parameters[w], parameters[b].unsqueeze(-1)], dim=-1) for w, b in self.layers]


class PerceptronDerivatives:
    """One φ [N, ...] of a perceptron policy on observations [N, M, T, S]; a *step* is one of the R = M · T.

    `shared` are the fields of y after the network's outputs. No tensor has a history, here and in what comes back.
    """

    def __init__(
        self, network: Network, parameters: Parameters, shared: Sequence[StateIndependent], observations: Tensor
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
        return _joined([block.gradient([x[block.tasks] for x in flat]) for block in self._blocks()])

    @torch.no_grad()
    def fisher(self, weights: Tensor) -> LinearMap:
        """Σ over steps of `weights` [N, M, T] · the Fisher matrix of π_φ."""
        weights = weights.flatten(1).unsqueeze(-1)
        return _together([(block.tasks, block.fisher(weights[block.tasks])) for block in self._blocks()])

    @torch.no_grad()
    def derivatives(
        self, cotangents: Sequence[Tensor], actions: Tensor, first: Tensor, second: Tensor | None
    ) -> tuple[Parameters, LinearMap]:
        """`gradient` and the Hessian of a loss of each step's log-probability.

        Its `first` and `second` (None: 0), [N, M, T], are its two derivatives with respect to these, its `cotangents`
        those with respect to the fields.
        """
        flat = [x.flatten(1, 2) for x in cotangents]
        local = [actions.flatten(1, 2), *(x.flatten(1).unsqueeze(-1) for x in (first, second) if x is not None)]
        gradients, hessians = [], []
        for block in self._blocks():
            gradient, hessian = block.derivatives([x[block.tasks] for x in flat], *(x[block.tasks] for x in local))
            gradients.append(gradient)
            hessians.append((block.tasks, hessian))
        return _joined(gradients), _together(hessians)

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


def _joined(blocks: Sequence[Parameters]) -> Parameters:
    """Join the parameters of blocks along the tasks."""
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


def _together(blocks: Sequence[tuple[slice, LinearMap]]) -> LinearMap:
    """The product of all tasks from those of each block."""

    @torch.no_grad()
    def product(tangent: Parameters) -> Parameters:
        return _joined([own({n: x[tasks] for n, x in tangent.items()}) for tasks, own in blocks])

    return product


class Block:
    """The n tasks of `PerceptronDerivatives` that are taken at once, with their activations."""

    def __init__(
        self,
        tasks: slice,
        network: Network,
        parameters: Parameters,
        shared: Sequence[StateIndependent],
        observations: Tensor,
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

    def fisher(self, weights: Tensor) -> LinearMap:
        """Of weights [n, R, 1]."""

        def local(pushed: Sequence[Tensor]) -> list[Tensor]:
            return [weights * x for x in self.y.fisher_product(self.network.kind._make(pushed))]

        return lambda tangent: self._product(tangent, local)

    def derivatives(
        self, cotangents: Sequence[Tensor], actions: Tensor, first: Tensor, second: Tensor | None = None
    ) -> tuple[Parameters, LinearMap]:
        """Of cotangents [n, R, A], actions [n, R, ...] and derivatives [n, R, 1]."""
        delta, *rest = cotangents
        gradients, kept = self.perceptron.pullback(delta.mT)
        score, turned = self.y.score(actions), self.y.score_product(actions, first)
        totals = [x.sum(1) for x in rest]  # of what is shared, [n, A]

        def local(pushed: Sequence[Tensor]) -> Sequence[Tensor]:
            found = turned(self.network.kind._make(pushed))
            if second is None:
                return found
            along = second * sum((s * x).sum(-1, keepdim=True) for s, x in zip(score, pushed, strict=True))
            return [torch.addcmul(x, along, s) for x, s in zip(found, score, strict=True)]

        def product(tangent: Parameters) -> Parameters:
            found = self._product(tangent, local, kept)
            for s, total in zip(self.shared, totals, strict=True):
                found[s.name] += s.second_derivative * tangent[s.name] * total
            return found

        return self._named(gradients, rest), product

    def _product(self, tangent: Parameters, local: LocalProduct, kept: Cotangents | None = None) -> Parameters:
        """Jᵀ C J φ̇, and the term of (∂Jᵀ)[φ̇] if what a backward pass left is given."""
        along = self.network.matrices(tangent)
        *pushed, outputs = self.perceptron.pushforward(along)
        cotangents = local(self._fields(outputs, [s.derivative * tangent[s.name] for s in self.shared]))
        if kept is None:
            return self.gradient(cotangents)
        delta, *rest = cotangents
        gradients = self.perceptron.pullback_tangent(along, pushed, kept, delta.mT)
        return self._named(gradients, rest)

    def _fields(self, outputs: Tensor, shared: Sequence[Tensor]) -> list[Tensor]:
        """y from the network's outputs [n, A, R] and what is shared [n, A], or a tangent of y from theirs."""
        return [outputs.mT, *(x.unsqueeze(1).expand_as(outputs.mT) for x in shared)]

    def _named(self, gradients: Sequence[Tensor], shared: Sequence[Tensor]) -> Parameters:
        """Gradients of the matrices, and of what is shared step by step, under the names of the parameters."""
        found = {s.name: s.derivative * x.sum(1) for s, x in zip(self.shared, shared, strict=True)}
        for (weight, bias), gradient in zip(self.network.layers, gradients, strict=True):
            found[weight], found[bias] = gradient[..., :-1], gradient[..., -1]
        return {name: found[name] if name in found else torch.zeros_like(p) for name, p in self.parameters.items()}
