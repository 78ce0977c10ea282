"""Outer optimizers: from θ and a function of θ to the next θ, with a report of what happened."""

from metarl_exp.algorithm.outer_optimizer.ppo import PPO
from metarl_exp.algorithm.outer_optimizer.torch_optimizer import TorchOptimizer
from metarl_exp.algorithm.outer_optimizer.trpo import TRPO

__all__ = ["PPO", "TRPO", "TorchOptimizer"]
