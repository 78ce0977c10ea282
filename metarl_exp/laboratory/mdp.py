"""MDPs of a few states, actions and steps: values by dynamic programming, and every trajectory with its probability.

Policies are logits φ [N, S, A], one table for each of N; what is returned is differentiable in them to any order.
"""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_exp.maths import planning
from metarl_exp.maths.planning import MDPs
from metarl_exp.tasks import TabularMDP
from metarl_exp.validation import require_integer, require_number

MOST_TRAJECTORIES = 20_000


class Trajectories(NamedTuple):
    """All L trajectories that the MDP can have, whatever the policy."""

    states: Tensor  # [L, T] int64
    actions: Tensor  # [L, T] int64
    discounted_rewards: Tensor  # [L, T] γ^t r(s_t, a_t), t counted from the start
    log_chance: Tensor  # [L] log of the MDP's part of the probability: first state and transitions

    @property
    def to_go(self) -> Tensor:
        """G_t = Σ_{t' ≥ t} γ^t' r_t', [L, T]."""
        return self.discounted_rewards.flip(-1).cumsum(-1).flip(-1)


class TinyMDP:
    """First states `start` [S], mean rewards and transitions of `tables` (one MDP), T = `horizon` steps, γ.

    Rewards are their means. Raises ValueError for a horizon < 1, γ outside [0, 1], and more than 20 000 trajectories.
    """

    def __init__(self, start: Tensor, tables: MDPs, horizon: int, discount: float) -> None:
        require_integer("horizon", horizon, low=1)
        require_number("discount", discount, low=0, high=1)
        self.start, self.tables, self.horizon, self.discount = start, tables, horizon, discount
        self.states, self.actions = tables.rewards.shape[1:]
        require_number("number of trajectories", (self.states * self.actions) ** horizon, high=MOST_TRAJECTORIES)

    @property
    def powers(self) -> Tensor:
        """γ^t, [T]."""
        return self.discount ** torch.arange(self.horizon, dtype=torch.float64)

    # ---- by dynamic programming

    def values(self, logits: Tensor) -> Tensor:
        """V_t(s), the expected discounted sum of the rewards of steps t … T − 1: [N, T, S]."""
        policy = logits.softmax(-1).unsqueeze(1).expand(-1, self.horizon, -1, -1)
        return planning.policy_values(self._tables(len(logits)), policy, self.discount)

    def action_values(self, logits: Tensor) -> Tensor:
        """Q_t(s, a), [N, T, S, A]."""
        values, tables = self.values(logits), self._tables(len(logits))
        following = [*values.unbind(1)[1:], planning.zero_values(tables)]
        return torch.stack([tables.rewards + self.discount * planning.expectation(tables.transitions, v)
                            for v in following], dim=1)  # fmt: skip

    def value(self, logits: Tensor) -> Tensor:
        """V(φ), the expected discounted return of an episode: [N]."""
        return self.values(logits)[:, 0] @ self.start

    def occupancies(self, logits: Tensor) -> Tensor:
        """Probability of each state at each step, [N, T, S]."""
        moves = torch.einsum("nsa,saz->nsz", logits.softmax(-1), self.tables.transitions[0])
        steps = [self.start.expand(len(logits), 1, -1)]
        for _ in range(self.horizon - 1):
            steps.append(steps[-1] @ moves)
        return torch.cat(steps, dim=1)

    def _tables(self, number: int) -> MDPs:
        return MDPs(*(table.expand(number, *table.shape[1:]) for table in self.tables))

    # ---- by enumeration

    @cached_property
    def trajectories(self) -> Trajectories:
        """Every sequence of states and actions of a positive probability."""
        cells = torch.tensor(list(itertools.product(range(self.states * self.actions), repeat=self.horizon)))
        states, actions = cells // self.actions, cells % self.actions
        moves = self.tables.transitions[0, states[:, :-1], actions[:, :-1], states[:, 1:]]
        chance = self.start[states[:, 0]] * moves.prod(-1)
        states, actions, chance = (x[chance > 0] for x in (states, actions, chance))
        return Trajectories(states, actions, self.tables.rewards[0, states, actions] * self.powers, chance.log())

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """log p(τ; φ) of every trajectory, [N, L]."""
        taken = logits.log_softmax(-1)[:, self.trajectories.states, self.trajectories.actions]  # [N, L, T]
        return taken.sum(-1) + self.trajectories.log_chance


def random_mdp(seed: int, states: int, actions: int, horizon: int, discount: float) -> TinyMDP:
    """The MDP of a key of the tasks `tabular_mdp`: every episode starts in state 0, mean rewards are around 1."""
    tables = TabularMDP(states, actions, horizon).mdps(torch.tensor([[float(seed)]], dtype=torch.float64))
    start = torch.nn.functional.one_hot(torch.tensor(0), states).double()
    return TinyMDP(start, tables, horizon, discount)
