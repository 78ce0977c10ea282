"""Gittins indices of a Bernoulli arm with a uniform prior, by calibration.  [gittins2011, Ch. 8]

An arm that gave s successes and f failures is worth a sure reward λ a step if, between pulling it on (and retiring to
λ whenever wanted) and taking λ for ever, one is indifferent; that λ is its index. Values are per step: (1 − γ) times
the discounted sum.
"""

import torch
from torch import Tensor


def gittins_indices(discount: float, depth: int, resolution: int) -> Tensor:
    """Index of every arm pulled fewer than `depth` times: [depth, depth], float64, at [s, f]; NaN elsewhere.

    Backward induction over the number of pulls, for `resolution` values of λ from 0 to 1 at once, with linear
    interpolation between the two around the index. After `depth` pulls the arm's mean is taken for known, which makes
    every index too low: by nothing that matters where discount^(depth − s − f) is small.
    """
    reward = torch.linspace(0, 1, resolution, dtype=torch.float64)  # λ
    index = torch.full((depth, depth), torch.nan, dtype=torch.float64)
    value = torch.maximum(_mean(depth), reward)  # [s, λ] after `depth` pulls
    for pulls in range(depth - 1, -1, -1):
        mean = _mean(pulls)
        going_on = mean * (1 - discount + discount * value[1:]) + (1 - mean) * discount * value[:-1]
        successes = torch.arange(pulls + 1)
        index[successes, pulls - successes] = _crossing(going_on - reward, reward)
        value = torch.maximum(going_on, reward)
    return index


def _mean(pulls: int) -> Tensor:
    """Posterior mean after s = 0, …, pulls successes: [s, 1]."""
    return (1 + torch.arange(pulls + 1, dtype=torch.float64).unsqueeze(1)) / (2 + pulls)


def _crossing(surplus: Tensor, reward: Tensor) -> Tensor:
    """λ at which each row of the surplus [s, λ], which falls from positive to negative, is zero: [s]."""
    last = (surplus > 0).sum(1, keepdim=True).clamp(1, len(reward) - 1)
    above, below = surplus.gather(1, last - 1), surplus.gather(1, last)
    share = (above / (above - below)).squeeze(1)
    low, high = reward[last - 1].squeeze(1), reward[last].squeeze(1)
    return low + share * (high - low)
