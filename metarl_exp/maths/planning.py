"""Planning in finite MDPs whose tables are known: a finite horizon, backward in time, all MDPs at once.

Legend: **I** MDPs · **T** steps of an episode · **S** states · **A** actions. V_t(s) and Q_t(s, a) are expected
discounted sums of the rewards of steps t … T − 1, and V_T = 0.  [puterman1994, Sec. 4.5]
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class MDPs(NamedTuple):
    """Tables of I MDPs, the same at every step of an episode."""

    rewards: Tensor  # [I, S, A] mean reward of an action
    transitions: Tensor  # [I, S, A, S] probability of each next state


def backward_induction(backup: Callable[[int, Tensor], Tensor], values: Tensor, horizon: int) -> Tensor:
    """Q [I, T, S, A] with Q_t = backup(t, max_a Q_{t+1}), from `values` = V_T [I, S]."""
    steps: list[Tensor] = []
    for t in reversed(range(horizon)):
        steps.append(backup(t, values))
        values = steps[-1].amax(-1)
    return torch.stack(steps[::-1], dim=1)


def optimal_action_values(mdps: MDPs, horizon: int, discount: float = 1.0) -> Tensor:
    """Q*_t(s, a) = r(s, a) + γ Σ_s' p(s' | s, a) max_a' Q*_{t+1}(s', a'): [I, T, S, A]."""

    def backup(_: int, values: Tensor) -> Tensor:
        return mdps.rewards + discount * expectation(mdps.transitions, values)

    return backward_induction(backup, zero_values(mdps), horizon)


def optimistic_action_values(mdps: MDPs, reward_slack: Tensor, radius: Tensor, horizon: int) -> Tensor:
    """Extended value iteration: Q*_t of the best MDP in a set around `mdps`, [I, T, S, A].  [jaksch2010ucrl2, Sec. 3.1]

    The set has mean rewards up to r + `reward_slack` and next-state distributions within an L1 distance `radius` of
    p, both [I, S, A]; the best is chosen afresh at every step.
    """

    def backup(_: int, values: Tensor) -> Tensor:
        return mdps.rewards + reward_slack + optimistic_expectation(mdps.transitions, radius, values)

    return backward_induction(backup, zero_values(mdps), horizon)


def policy_values(mdps: MDPs, policy: Tensor, discount: float = 1.0) -> Tensor:
    """V_t(s) of the policy π_t(a | s) [I, T, S, A], a probability for each action: [I, T, S]."""
    values, steps = zero_values(mdps), []
    for t in reversed(range(policy.shape[1])):
        action_values = mdps.rewards + discount * expectation(mdps.transitions, values)
        values = (policy[:, t] * action_values).sum(-1)
        steps.append(values)
    return torch.stack(steps[::-1], dim=1)


def expectation(transitions: Tensor, values: Tensor) -> Tensor:
    """Σ_s' p(s' | s, a) V(s'): [I, S, A, S], [I, S] → [I, S, A]."""
    return (transitions.flatten(1, 2) @ values.unsqueeze(-1)).view(transitions.shape[:-1])


def optimistic_expectation(transitions: Tensor, radius: Tensor, values: Tensor) -> Tensor:
    """max Σ_s' q(s') V(s') over distributions q with ‖q − p(· | s, a)‖₁ ≤ radius: [I, S, A].  [jaksch2010ucrl2, Fig. 2]

    Half of the radius is added to the best next state and taken from the worst ones. With states in order of falling
    value, the distribution function of that q is the one of p plus half the radius, cut at 1; and its mean is
    V_S + Σ_k F_k (V_k − V_{k+1}), by summation by parts.
    """
    values, order = values.sort(dim=-1, descending=True)
    states = order[:, None, None].expand_as(transitions)
    below = transitions.gather(-1, states)[..., :-1].cumsum(-1)  # F of p at all states but the last, where it is 1
    lifted = (below + radius.unsqueeze(-1) / 2).clamp(max=1)
    drops = values[:, :-1] - values[:, 1:]
    return values[:, None, -1:] + expectation(lifted, drops)


def zero_values(mdps: MDPs) -> Tensor:
    """V_T = 0, [I, S]."""
    return torch.zeros_like(mdps.rewards[..., 0])
