"""Agents for Bernoulli bandits: each scores the arms and pulls the first of the best.

They start from a success and a failure of every arm: the uniform prior of the Bayesian ones, and what the code behind
the published table counts for all of them [duan2016rl2, code].
"""

import math
from functools import cache

import torch
from torch import Tensor

from metarl_exp.maths.gittins import gittins_indices
from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.validation import require_integer, require_number


class Arms:
    """Beta posteriors of I × A arms, and the generator to draw from them."""

    def __init__(self, instances: int, arms: int, generator: torch.Generator) -> None:
        self.successes = torch.ones(instances, arms, dtype=torch.float64)
        self.failures = torch.ones(instances, arms, dtype=torch.float64)
        self.pulls, self.generator = 0, generator

    def record(self, action: Tensor, reward: Tensor) -> None:
        """One pull of every instance, [I] each. Raises ValueError for a reward that is not 0 or 1."""
        if ((reward != 0) & (reward != 1)).any():
            raise ValueError("an arm paid neither 0 nor 1: these agents are for Bernoulli bandits")
        self.successes.scatter_add_(1, action[:, None], reward[:, None].double())
        self.failures.scatter_add_(1, action[:, None], 1 - reward[:, None].double())
        self.pulls += 1

    def counts(self) -> Tensor:
        """[I, A]"""
        return self.successes + self.failures

    def mean(self) -> Tensor:
        """Posterior mean, [I, A]."""
        return self.successes / self.counts()

    def sample(self, number: int) -> tuple[Tensor, Tensor]:
        """Draws p of every arm's probability, [number, I, A], and 1 − p, exact where p rounds to one."""
        gamma = torch._standard_gamma  # pyright: ignore[reportPrivateImportUsage]  # torch's Beta takes no generator
        wins, losses = (gamma(x.expand(number, *x.shape), self.generator) for x in (self.successes, self.failures))
        return wins / (wins + losses), losses / (wins + losses)


class Greedy:
    """The largest posterior mean. The other agents are this one with another score."""

    def start(self, tasks: Tensor, distribution: TaskDistribution, episodes: int, generator: torch.Generator) -> None:
        self.arms = Arms(len(tasks), distribution.spec.action_size, generator)

    def scores(self) -> Tensor:
        """Index of each arm, by which the agent chooses, [I, A]."""
        return self.arms.mean()

    def act(self, observation: Tensor) -> Tensor:
        return self.scores().argmax(1)

    def learn(self, observation: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor, ended: bool) -> None:
        self.arms.record(action, reward)


class EpsilonGreedy(Greedy):
    """Any arm with probability ε, else the greedy one."""

    def __init__(self, epsilon: float) -> None:
        require_number("agent.epsilon", epsilon, low=0, high=1)
        self.epsilon = epsilon

    def act(self, observation: Tensor) -> Tensor:
        greedy, draw = super().act(observation), self.arms.generator
        explore = torch.rand(greedy.shape, generator=draw, dtype=torch.float64) < self.epsilon
        return torch.where(explore, torch.randint(self.arms.mean().shape[1], greedy.shape, generator=draw), greedy)


class UCB1(Greedy):
    """Mean + c √(2 ln t / n) after t pulls, n − 2 of them of the arm.  [auer2002; c and the two: duan2016rl2, code]"""

    def __init__(self, c: float) -> None:
        require_number("agent.c", c, low=0)
        self.c = c

    def scores(self) -> Tensor:
        return self.arms.mean() + self.c * (2 * math.log(max(self.arms.pulls, 1)) / self.arms.counts()).sqrt()


class ThompsonSampling(Greedy):
    """A draw from the posterior.  [thompson1933]"""

    def scores(self) -> Tensor:
        return self.arms.sample(1)[0][0]


class OptimisticThompsonSampling(Greedy):
    """A draw from the posterior, but at least its mean.  [may2012]"""

    def scores(self) -> Tensor:
        return torch.maximum(self.arms.sample(1)[0][0], self.arms.mean())


class LikeliestSample(Greedy):
    """The likeliest of `samples` joint draws from the posterior of all arms: «OTS» in [duan2016rl2, code]."""

    def __init__(self, samples: int) -> None:
        require_integer("agent.samples", samples, low=1)
        self.samples = samples

    def scores(self) -> Tensor:
        p, q = self.arms.sample(self.samples)
        log_density = torch.xlogy(self.arms.successes - 1, p) + torch.xlogy(self.arms.failures - 1, q)  # + constant
        likeliest = log_density.sum(2).argmax(0)  # [I]
        return p[likeliest, torch.arange(p.shape[1])]


class Gittins(Greedy):
    """The index that is optimal for the infinite sum discounted by `discount`.  [gittins2011]

    `depth` and `resolution` are those of `gittins_indices`; there must be no more pulls than `depth`.
    """

    def __init__(self, discount: float, depth: int, resolution: int) -> None:
        require_number("agent.discount", discount, above=0, below=1)
        require_integer("agent.depth", depth, low=1)
        require_integer("agent.resolution", resolution, low=2)
        self.index = cache_of_indices(discount, depth, resolution)
        self.depth = depth

    def start(self, tasks: Tensor, distribution: TaskDistribution, episodes: int, generator: torch.Generator) -> None:
        if episodes * distribution.spec.horizon > self.depth:
            raise ValueError(f"agent.depth={self.depth!r}: must be ≥ {episodes * distribution.spec.horizon}, all pulls")
        super().start(tasks, distribution, episodes, generator)

    def scores(self) -> Tensor:
        return self.index[self.arms.successes.long() - 1, self.arms.failures.long() - 1]


# Seconds to compute, the same for every bandit, a few megabytes.
cache_of_indices = cache(gittins_indices)


class BestArm:
    """An oracle: always the arm whose mean is the largest."""

    def start(self, tasks: Tensor, distribution: TaskDistribution, episodes: int, generator: torch.Generator) -> None:
        self.best = tasks.argmax(1)

    def act(self, observation: Tensor) -> Tensor:
        return self.best

    def learn(self, observation: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor, ended: bool) -> None:
        pass
