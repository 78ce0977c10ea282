"""Returns and advantages along time, [N, M, T] in and out, in units of environment reward.

`mask` says which steps happened, `terminal` at which the MDP ended. What follows the last step of an episode that
did *not* end in a terminal state is the caller's choice, given as `final_value`: its estimated value if the time
limit only interrupts the task, zero if the horizon is part of the task.
"""

import torch
from torch import Tensor

from metarl_exp.maths.reductions import masked_mean


def discounted_sums(x: Tensor, discount: float) -> Tensor:
    """Σ_{l≥0} discount^l x_{t+l} at every t; x [N, M, T] must be zero where no step happened."""
    sums = torch.empty_like(x)
    running = torch.zeros_like(x[..., 0])
    for t in reversed(range(x.shape[-1])):
        running = x[..., t] + discount * running
        sums[..., t] = running
    return sums


def last_step(mask: Tensor) -> Tensor:
    """True at the last step that happened of each episode, [N, M, T]."""
    following = torch.cat([mask[..., 1:], torch.zeros_like(mask[..., :1])], dim=-1)
    return mask & ~following


def generalised_advantages(
    rewards: Tensor,
    values: Tensor,
    final_value: Tensor,
    terminal: Tensor,
    mask: Tensor,
    discount: float,
    lambda_: float,
) -> Tensor:
    """Â_t = Σ_l (γλ)^l δ_{t+l},  δ_t = r_t + γ V_{t+1} − V_t.  [schulman2016gae, Eq. 16]

    rewards, values, terminal, mask [N, M, T]; final_value [N, M] is V of the observation that followed the last step.
    V_{t+1} is zero after a terminal step, whatever `values` or `final_value` say. Zero where mask is false.
    """
    ends = last_step(mask)
    following = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], dim=-1)
    following = torch.where(ends, final_value.unsqueeze(-1), following)
    following = following.masked_fill(terminal, 0.0)
    deltas = (rewards + discount * following - values).masked_fill(~mask, 0.0)
    return discounted_sums(deltas, discount * lambda_).masked_fill(~mask, 0.0)


def standardise(x: Tensor, mask: Tensor) -> Tensor:
    """Per task (axis 0): zero mean and unit standard deviation over valid steps, zero elsewhere.

    A task whose values are all equal becomes all zeros: the population deviation gets 1e-8 added, as in the code
    behind the published numbers.
    """
    shape = (-1,) + (1,) * (x.dim() - 1)
    centred = x - masked_mean(x, mask).view(shape)
    deviation = masked_mean(centred.square(), mask).sqrt().view(shape)
    return (centred / (deviation + 1e-8)).masked_fill(~mask, 0.0)
