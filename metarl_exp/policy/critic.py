"""Policies with a critic: a network of its own, beside the policy's, from observations to their values.

It shares no layer with the policy. So the action network is, number by number, that of the policy without a critic, a
step of the inner loop that adapts the one leaves the other as it is, and the weight of the value loss does not pull at
the features that actions are chosen by. It has the policy's hidden sizes, or a memory like the policy's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarl_exp.maths.parameters import Parameters, below
from metarl_exp.policy.head import Head
from metarl_exp.policy.mlp import MLP, Perceptron
from metarl_exp.policy.recurrent import RNN, Memory


class WithCritic(nn.Module):
    """Adds the network `critic`, whose only output is the value."""

    critic: Perceptron | Memory

    @property
    def critic_names(self) -> frozenset[str]:
        """The parameters of the critic."""
        return frozenset(f"critic.{name}" for name, _ in self.critic.named_parameters())

    def values(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """[N, M, T, S] → [N, M, T]."""
        return self.critic.outputs(below("critic", parameters), observations).squeeze(-1)


class CriticMLP(WithCritic, MLP):
    """An MLP, and a perceptron of the same hidden sizes for values."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        head: Head,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(hidden_sizes, activation, head, generator, dtype)
        self.critic = Perceptron([self.spec.observation_size, *hidden_sizes, 1], activation, generator, dtype)


class CriticRNN(WithCritic, RNN):
    """An RNN, and another memory of the same kind and size for values, which it reads linearly."""

    def __init__(
        self,
        cell: str,
        hidden_size: int,
        head: Head,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(cell, hidden_size, head, generator, dtype)
        readout = Perceptron([hidden_size, 1], "tanh", generator, dtype)
        self.critic = Memory(cell, hidden_size, self.spec, readout, generator, dtype)
