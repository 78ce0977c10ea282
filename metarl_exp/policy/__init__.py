"""Policy architectures: modules that take their parameters as a value."""

from metarl_exp.policy.context import CategoricalContextMLP, GaussianContextMLP
from metarl_exp.policy.conv import CategoricalConv, GaussianConv
from metarl_exp.policy.critic import (
    CategoricalCriticMLP,
    CategoricalCriticRNN,
    GaussianCriticMLP,
    GaussianCriticRNN,
)
from metarl_exp.policy.mlp import CategoricalMLP, GaussianMLP
from metarl_exp.policy.recurrent import CategoricalRNN, GaussianRNN

__all__ = [
    "CategoricalContextMLP",
    "CategoricalConv",
    "CategoricalCriticMLP",
    "CategoricalCriticRNN",
    "CategoricalMLP",
    "CategoricalRNN",
    "GaussianContextMLP",
    "GaussianConv",
    "GaussianCriticMLP",
    "GaussianCriticRNN",
    "GaussianMLP",
    "GaussianRNN",
]
