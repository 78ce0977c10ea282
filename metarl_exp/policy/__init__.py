"""Policy architectures: modules that take their parameters as a value."""

from metarl_exp.policy.mlp import CategoricalMLP, GaussianMLP

__all__ = ["CategoricalMLP", "GaussianMLP"]
