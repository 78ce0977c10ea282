"""Policies with a critic: a network of its own, beside the policy's, from observations to their values.

It shares no layer with the policy. So the action network is, number by number, that of the policy without a critic, a
step of the inner loop that adapts the one leaves the other as it is, and the weight of the value loss does not pull at
the features that actions are chosen by. It has the policy's hidden sizes, or a memory like the policy's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarl_exp.maths.parameters import Parameters, below
from metarl_exp.policy.mlp import MLP, CategoricalMLP, GaussianMLP
from metarl_exp.policy.recurrent import CategoricalRNN, GaussianRNN, Memory
from metarl_exp.types import Spec


class WithCritic(nn.Module):
    """Adds the network `critic`, whose only output is the value."""

    critic: MLP | Memory

    @property
    def critic_names(self) -> frozenset[str]:
        """The parameters of the critic."""
        return frozenset(f"critic.{name}" for name, _ in self.critic.named_parameters())

    def values(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """[N, M, T, S] → [N, M, T]."""
        return self.critic.outputs(below("critic", parameters), observations).squeeze(-1)


def mlp_critic(
    hidden_sizes: Sequence[int], activation: str, spec: Spec, generator: torch.Generator | None, dtype: torch.dtype
) -> MLP:
    """A value for every observation, [N, ..., S] → [N, ..., 1]."""
    return MLP([spec.observation_size, *hidden_sizes, 1], activation, generator, dtype)


def recurrent_critic(
    cell: str, hidden_size: int, spec: Spec, generator: torch.Generator | None, dtype: torch.dtype
) -> Memory:
    """A value for every observation and those before it, [N, M, T, S] → [N, M, T, 1]."""
    return Memory(cell, hidden_size, spec, MLP([hidden_size, 1], "tanh", generator, dtype), generator, dtype)


class GaussianCriticMLP(WithCritic, GaussianMLP):
    """`GaussianMLP` and an MLP of the same hidden sizes for values."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        init_std: float,
        min_std: float,
        max_std: float,
        spec: Spec,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(hidden_sizes, activation, init_std, min_std, max_std, spec, generator, dtype)
        self.critic = mlp_critic(hidden_sizes, activation, spec, generator, dtype)


class CategoricalCriticMLP(WithCritic, CategoricalMLP):
    """`CategoricalMLP` and an MLP of the same hidden sizes for values."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        spec: Spec,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(hidden_sizes, activation, spec, generator, dtype)
        self.critic = mlp_critic(hidden_sizes, activation, spec, generator, dtype)


class GaussianCriticRNN(WithCritic, GaussianRNN):
    """`GaussianRNN` and another memory of the same kind and size for values."""

    def __init__(
        self,
        cell: str,
        hidden_size: int,
        init_std: float,
        min_std: float,
        max_std: float,
        spec: Spec,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(cell, hidden_size, init_std, min_std, max_std, spec, generator, dtype)
        self.critic = recurrent_critic(cell, hidden_size, spec, generator, dtype)


class CategoricalCriticRNN(WithCritic, CategoricalRNN):
    """`CategoricalRNN` and another memory of the same kind and size for values."""

    def __init__(
        self,
        cell: str,
        hidden_size: int,
        spec: Spec,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(cell, hidden_size, spec, generator, dtype)
        self.critic = recurrent_critic(cell, hidden_size, spec, generator, dtype)
