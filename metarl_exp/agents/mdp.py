"""The classical agents for small MDPs: each plans before an episode, on what it believes then, and follows the plan.

They differ in the MDP that they plan on: the expected one (`Greedy`, `EpsilonGreedy`), one or the best of several drawn
from the posterior (`PSRL`, `OPSRL`), the best of a set that holds the truth with confidence (`UCRL2`), the expected one
with a bonus for what was seldom tried (`BEB`), or the true one (`Optimal`). Where the papers leave a choice, it is that
of the code whose numbers duan2016rl2 printed, TabulaRL [osband2017posterior, code].
"""

import math

import torch
from torch import Tensor

from metarl_exp.agents.belief import Belief, Prior
from metarl_exp.maths.planning import (
    backward_induction,
    expectation,
    optimal_action_values,
    optimistic_action_values,
    zero_values,
)
from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.tasks.tabular_mdp import TabularMDP
from metarl_exp.validation import require_integer, require_number

ROUNDING = 1e-6  # relative, of float32


class Greedy:
    """Plans on the expected MDP. The other agents are this one with other action values."""

    def __init__(self, prior: Prior) -> None:
        self.prior = prior

    def start(self, tasks: Tensor, distribution: TaskDistribution, episodes: int, generator: torch.Generator) -> None:
        spec = distribution.spec
        self.belief = Belief(self.prior, len(tasks), spec.observation_size, spec.action_size)
        self.horizon, self.generator = spec.horizon, generator
        self.episode = self.step = 0

    def action_values(self) -> Tensor:
        """Q [I, T, S, A] of the coming episode."""
        return optimal_action_values(self.belief.mean(), self.horizon)

    def act(self, observation: Tensor) -> Tensor:
        if self.step == 0:
            self.plan = best_at_random(self.action_values(), self.generator)  # [I, T, S]
        return self.plan[self.belief.instance, self.step, observation.argmax(-1)]

    def learn(self, observation: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor, ended: bool) -> None:
        self.belief.observe(observation.argmax(-1), action, reward, next_observation.argmax(-1))
        self.episode, self.step = (self.episode + 1, 0) if ended else (self.episode, self.step + 1)


def best_at_random(values: Tensor, generator: torch.Generator) -> Tensor:
    """The action of the largest value, [..., A] → [...]; among equals, rounding aside, each with the same probability.

    At every step afresh: who always took the first of them would try one action a state in his first episode, and be
    worth 5 % less without a prior that makes him look for better.
    """
    largest = values.amax(-1, keepdim=True)
    equal = values >= largest - ROUNDING * largest.abs()
    return torch.rand(values.shape, generator=generator).masked_fill(~equal, -1).argmax(-1)


class EpsilonGreedy(Greedy):
    """With probability ε an action is uniform."""

    def __init__(self, epsilon: float, prior: Prior) -> None:
        require_number("agent.epsilon", epsilon, low=0, high=1)
        super().__init__(prior)
        self.epsilon = epsilon

    def act(self, observation: Tensor) -> Tensor:
        planned = super().act(observation)
        actions = self.belief.totals.shape[-1]
        uniform = torch.randint(actions, planned.shape, generator=self.generator)
        return torch.where(torch.rand(planned.shape, generator=self.generator) < self.epsilon, uniform, planned)


class OPSRL(Greedy):
    """The largest of the action values of `samples` MDPs drawn from the posterior.  [osband2017posterior, code]"""

    def __init__(self, samples: int, prior: Prior) -> None:
        require_integer("agent.samples", samples, low=1)
        super().__init__(prior)
        self.samples = samples

    def action_values(self) -> Tensor:
        best = self._sampled()
        for _ in range(self.samples - 1):
            best = torch.maximum(best, self._sampled())
        return best

    def _sampled(self) -> Tensor:
        return optimal_action_values(self.belief.sample(self.generator), self.horizon)


class PSRL(OPSRL):
    """Thompson sampling: the optimal policy of one MDP drawn from the posterior.  [strens2000; osband2013psrl]"""

    def __init__(self, prior: Prior) -> None:
        super().__init__(1, prior)


class UCRL2(Greedy):
    """The best MDP within a confidence region around the expected one.  [jaksch2010ucrl2, Fig. 1]

    With L = 4 log(2SA(k + 1) / δ) in episode k, from 1, and n ≥ 1 visits, mean rewards reach `scaling` √(L / n)
    higher and next-state distributions √S times as far, in L1. [osband2017posterior, code]
    """

    def __init__(self, scaling: float, delta: float, prior: Prior) -> None:
        require_number("agent.scaling", scaling, low=0)
        require_number("agent.delta", delta, above=0, below=1)
        super().__init__(prior)
        self.scaling, self.delta = scaling, delta

    def action_values(self) -> Tensor:
        reward_slack, radius = self.slack()
        return optimistic_action_values(self.belief.mean(), reward_slack, radius, self.horizon)

    def slack(self) -> tuple[Tensor, Tensor]:
        """How far mean rewards and, in L1, next-state distributions may be from the expected ones: [I, S, A] each."""
        _, states, actions = self.belief.totals.shape
        logarithm = 4 * math.log(2 * states * actions * (self.episode + 2) / self.delta)
        slack = self.scaling * (logarithm / self.belief.visits.clamp_min(1)).sqrt()
        return slack, states**0.5 * slack


class BEB(Greedy):
    """A bonus for pairs (s, a) that were seldom tried, falling as 1 / n: Bayesian exploration bonus.  [kolter2009beb]

    The bonus for uncertain next states is β H / (1 + Dirichlet weights of the pair) for every step that is left after
    this one, with β = 2 H² `scaling` and H the horizon, where the paper adds β / (1 + weights) to every step's reward;
    the one for uncertain rewards is 1 / (1 + their precision). [osband2017posterior, code]
    """

    def __init__(self, scaling: float, prior: Prior) -> None:
        require_number("agent.scaling", scaling, low=0)
        super().__init__(prior)
        self.scaling = scaling

    def action_values(self) -> Tensor:
        mdps, last = self.belief.mean(), self.horizon - 1
        rewards = mdps.rewards + 1 / (1 + self.belief.precision)
        bonus = 2 * self.scaling * self.horizon**3 / (1 + self.belief.weights.sum(-1))

        def backup(t: int, values: Tensor) -> Tensor:
            return rewards + (last - t) * bonus + expectation(mdps.transitions, values)

        return backward_induction(backup, zero_values(mdps), self.horizon)


class Optimal:
    """The oracle: it knows the MDP. Raises ValueError for tasks that are not `TabularMDP`."""

    def start(self, tasks: Tensor, distribution: TaskDistribution, episodes: int, generator: torch.Generator) -> None:
        if not isinstance(distribution, TabularMDP):
            raise ValueError(f"tasks={type(distribution).__name__}: this oracle knows the optimum of TabularMDP only")
        self.plan = optimal_action_values(distribution.mdps(tasks), distribution.spec.horizon).argmax(-1)
        self.instance, self.step = torch.arange(len(tasks)), 0

    def act(self, observation: Tensor) -> Tensor:
        return self.plan[self.instance, self.step, observation.argmax(-1)]

    def learn(self, observation: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor, ended: bool) -> None:
        self.step = 0 if ended else self.step + 1
