"""Policies with memory: a recurrent cell whose state a linear policy reads.

Called with observations [N, M, T, S], a policy begins every trajectory with an empty memory and goes through its T
steps; while acting, its memory [N, M, H] goes from one call to the next. Parameters are a value, shared or stacked over
tasks, as in `mlp.py`, so the cells are written out: `torch.nn.GRU` has no task axis. Equations and names are torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.parameters import Parameters, below
from metarl_exp.policy.head import Head
from metarl_exp.policy.mlp import Perceptron, PerceptronPolicy, linear, require_parameters
from metarl_exp.types import Acting, Spec
from metarl_exp.validation import require_choice, require_integer

State = tuple[Tensor, ...]  # [N, M, H] each; the first is what is read


class Cell(NamedTuple):
    """One step of a memory, from what its gates get of the input, W_i x + b_i, and of the state, W_h h + b_h."""

    gates: int  # weights have so many blocks of H rows
    states: int  # tensors in a state
    step: Callable[[Tensor, Tensor, State], State]  # both [N, M, gates · H]


def gru(given: Tensor, recalled: Tensor, state: State) -> State:
    """Reset r, update z, candidate n: h' = (1 − z) n + z h.  [cho2014gru; r ∘ (W h + b) as in torch]"""
    (given_r, given_z, given_n), (recalled_r, recalled_z, recalled_n) = given.chunk(3, -1), recalled.chunk(3, -1)
    reset, update = torch.sigmoid(given_r + recalled_r), torch.sigmoid(given_z + recalled_z)
    candidate = torch.tanh(given_n + reset * recalled_n)
    return ((1 - update) * candidate + update * state[0],)


def lstm(given: Tensor, recalled: Tensor, state: State) -> State:
    """Input i, forget f, candidate g, output o: c' = f c + i g, h' = o tanh c'.  [hochreiter1997lstm; gers2000]"""
    i, f, g, o = (given + recalled).chunk(4, -1)
    content = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(content), content


CELLS = {"gru": Cell(3, 1, gru), "lstm": Cell(4, 2, lstm)}


class Memory(nn.Module):
    """A memory of H = `hidden_size` numbers and the network `readout`, which sees it instead of the observation.

    Input weights are Xavier-uniform, recurrent ones orthogonal, a gate at a time; biases are zero (ours).
    """

    def __init__(
        self,
        cell: str,
        hidden_size: int,
        spec: Spec,
        readout: Perceptron,
        generator: torch.Generator | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        numbers = CELLS[cell].gates * hidden_size * (spec.observation_size + hidden_size + 2)
        require_parameters(f"policy.hidden_size={hidden_size}", numbers, dtype)
        self.cell, self.hidden_size, self.spec, self.readout = CELLS[cell], hidden_size, spec, readout
        rows = self.cell.gates * hidden_size
        self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh = (
            nn.Parameter(torch.zeros(*shape, dtype=dtype))
            for shape in ((rows, spec.observation_size), (rows, hidden_size), (rows,), (rows,))
        )
        for given, recalled in zip(*(w.chunk(self.cell.gates) for w in (self.weight_ih, self.weight_hh)), strict=True):
            nn.init.xavier_uniform_(given, generator=generator)
            nn.init.orthogonal_(recalled, generator=generator)

    def remembered(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Memory at each of the steps [N, M, T, S], of the steps until then: [N, M, T, H]."""
        given, state, read = self._given(parameters, observations), self._empty(observations[:, :, 0]), []
        for now in given.unbind(2):
            state = self._next(parameters, now, state)
            read.append(state[0])
        return torch.stack(read, dim=2)

    def outputs(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """The network alone: [N, M, T, S] → [N, M, T, out]."""
        return self.readout.outputs(below("readout", parameters), self.remembered(parameters, observations))

    def _given(self, parameters: Parameters, observations: Tensor) -> Tensor:
        return linear(observations, parameters["weight_ih"], parameters["bias_ih"])

    def _next(self, parameters: Parameters, given: Tensor, state: State) -> State:
        return self.cell.step(given, linear(state[0], parameters["weight_hh"], parameters["bias_hh"]), state)

    def _empty(self, observations: Tensor) -> State:
        """The state before the first step, for observations [N, M, S] of one."""
        return (observations.new_zeros(*observations.shape[:2], self.hidden_size),) * self.cell.states


class RNN(Memory):
    """A memory that the linear policy `readout` acts by. Raises ValueError for a cell or a size that does not exist."""

    readout: PerceptronPolicy

    def __init__(
        self,
        cell: str,
        hidden_size: int,
        head: Head,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        require_choice("policy.cell", cell, CELLS)
        require_integer("policy.hidden_size", hidden_size, low=1)
        readout = PerceptronPolicy(hidden_size, [], "tanh", head, generator, dtype)
        super().__init__(cell, hidden_size, head.spec, readout, generator, dtype)

    @property
    def distribution(self) -> type[Distribution]:
        """Kind of distribution, which is the readout's."""
        return self.readout.distribution

    @property
    def head_names(self) -> frozenset[str]:
        """The parameters that read the memory, and log-std."""
        return frozenset(f"readout.{name}" for name in self.readout.head_names)

    @property
    def context_names(self) -> frozenset[str]:
        """None: what is remembered is no parameter."""
        return frozenset()

    def forward(self, parameters: Parameters, observations: Tensor) -> Distribution:
        """The policy at each of the steps [N, M, T, S], which remembers those before."""
        return self.readout(below("readout", parameters), self.remembered(parameters, observations))

    def acting(self, parameters: Parameters) -> Acting:
        act, state = self.readout.acting(below("readout", parameters)), None

        def distribution(observations: Tensor, idle: Tensor | None = None) -> Distribution:
            nonlocal state
            before = self._empty(observations) if state is None else state
            after = self._next(parameters, self._given(parameters, observations), before)
            state = after if idle is None else _unless(idle, after, before)
            return act(after[0])

        return distribution


def _unless(idle: Tensor, after: State, before: State) -> State:
    return tuple(torch.where(idle.unsqueeze(-1), b, a) for a, b in zip(after, before, strict=True))
