"""Policies: a network with a head for its actions, as modules that take their parameters as a value.

    network    MLP, ContextMLP, Conv, RNN; with a critic beside it, CriticMLP and CriticRNN
    head       GaussianHead for continuous actions, CategoricalHead for discrete ones

`GaussianMLP` and `CategoricalMLP` are an MLP with its head: short to write, and to make a subclass of.
"""

from metarl_exp.policy.context import ContextMLP
from metarl_exp.policy.conv import Conv
from metarl_exp.policy.critic import CriticMLP, CriticRNN
from metarl_exp.policy.head import CategoricalHead, GaussianHead
from metarl_exp.policy.mlp import MLP, CategoricalMLP, GaussianMLP
from metarl_exp.policy.recurrent import RNN

__all__ = [
    "MLP",
    "RNN",
    "CategoricalHead",
    "CategoricalMLP",
    "ContextMLP",
    "Conv",
    "CriticMLP",
    "CriticRNN",
    "GaussianHead",
    "GaussianMLP",
]
