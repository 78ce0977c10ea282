"""The linear feature baseline: a ridge regression of returns on time and observation, one fit a task.

Features [duan2016benchmarking, Sec. 4; constants from the code behind finn2017maml]: the observation clipped to
±10, its square, t/100, its square and cube, and 1. Solved in float64 from the normal equations.
"""

import torch
from torch import Tensor


def features(observations: Tensor, time: Tensor) -> Tensor:
    """observations [N, M, T, S], time in steps, broadcast to [N, M, T] → [N, M, T, 2S + 4], float64."""
    clipped = observations.double().clamp(-10.0, 10.0)
    t = (time.double() / 100.0).expand(clipped.shape[:-1]).unsqueeze(-1)
    return torch.cat([clipped, clipped.square(), t, t.square(), t**3, torch.ones_like(t)], dim=-1)


def fit_ridge(inputs: Tensor, targets: Tensor, mask: Tensor, ridge: float) -> Tensor:
    """argmin_w Σ_valid (w·x − y)² + ridge |w|², for every task: inputs [N, M, T, F], targets, mask [N, M, T] → [N, F].

    Finite for constant or collinear features, since the ridge makes the normal matrix positive definite.
    """
    x = inputs.masked_fill(~mask.unsqueeze(-1), 0.0).flatten(1, 2)
    y = targets.double().masked_fill(~mask, 0.0).flatten(1, 2).unsqueeze(-1)
    normal = x.mT @ x + ridge * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(normal, x.mT @ y).squeeze(-1)


def predict(inputs: Tensor, weights: Tensor) -> Tensor:
    """inputs [N, M, T, F], weights [N, F] → values [N, M, T], float64."""
    return torch.einsum("nmtf,nf->nmt", inputs, weights)
