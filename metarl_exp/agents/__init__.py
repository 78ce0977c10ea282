"""Agents that need no meta-training: the classical ones which published tables compare with."""

from metarl_exp.agents.bandit import (
    UCB1,
    BestArm,
    EpsilonGreedy,
    Gittins,
    Greedy,
    LikeliestSample,
    OptimisticThompsonSampling,
    ThompsonSampling,
)
from metarl_exp.agents.base import Agent, play
from metarl_exp.agents.random import Random

__all__ = [
    "UCB1",
    "Agent",
    "BestArm",
    "EpsilonGreedy",
    "Gittins",
    "Greedy",
    "LikeliestSample",
    "OptimisticThompsonSampling",
    "Random",
    "ThompsonSampling",
    "play",
]
