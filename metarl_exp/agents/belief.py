"""Beliefs about an MDP after some of its steps: conjugate posteriors of every transition and every mean reward.

Legend as in `base.py`, here with **S** states and **A** actions. Next states have a Dirichlet, mean rewards a normal
posterior under unit normal noise, each pair (s, a) its own.  [strens2000; osband2013psrl]
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarl_exp.maths.planning import MDPs
from metarl_exp.validation import require_number


@dataclass(frozen=True)
class Prior:
    """Prior before the first step, equal for every state and action.

    next_state: Dirichlet weight of each next state. reward: mean of the mean reward. precision: how many rewards that
    mean counts for; the prior variance is its reciprocal. Near zero, weights and precision leave what was observed.
    """

    next_state: float
    reward: float
    precision: float

    def __post_init__(self) -> None:
        require_number("agent.prior.next_state", self.next_state, above=0)
        require_number("agent.prior.reward", self.reward)
        require_number("agent.prior.precision", self.precision, above=0)


class Belief:
    """The posteriors of I MDPs by their sufficient statistics: how often each transition was seen, sums of rewards."""

    def __init__(self, prior: Prior, instances: int, states: int, actions: int) -> None:
        self.prior = prior
        self.counts = torch.zeros(instances, states, actions, states)
        self.totals = torch.zeros(instances, states, actions)
        self.instance = torch.arange(instances)

    def observe(self, state: Tensor, action: Tensor, reward: Tensor, next_state: Tensor) -> None:
        """One step of every MDP, each [I]."""
        self.counts[self.instance, state, action, next_state] += 1
        self.totals[self.instance, state, action] += reward

    @property
    def visits(self) -> Tensor:
        """How often each action was taken in each state, [I, S, A]."""
        return self.counts.sum(-1)

    @property
    def weights(self) -> Tensor:
        """Of the Dirichlet posteriors, [I, S, A, S]."""
        return self.prior.next_state + self.counts

    @property
    def precision(self) -> Tensor:
        """Of the mean rewards, [I, S, A]."""
        return self.prior.precision + self.visits

    def mean(self) -> MDPs:
        """The expected tables."""
        rewards = (self.prior.precision * self.prior.reward + self.totals) / self.precision
        return MDPs(rewards, self.weights / self.weights.sum(-1, keepdim=True))

    def sample(self, generator: torch.Generator) -> MDPs:
        """Tables drawn from the posterior."""
        deviation = torch.randn(self.totals.shape, generator=generator) / self.precision.sqrt()
        gamma = torch._standard_gamma  # pyright: ignore[reportPrivateImportUsage]  # torch's Dirichlet takes no generator
        gammas = gamma(self.weights, generator)
        return MDPs(self.mean().rewards + deviation, gammas / gammas.sum(-1, keepdim=True))
