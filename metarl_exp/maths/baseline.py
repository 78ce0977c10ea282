"""The linear feature baseline: a ridge regression of returns on time and observation, one fit a task.

Features [duan2016benchmarking, Sec. 4; constants from the code behind finn2017maml]: the observation clipped to
±10, its square, t/100, its square and cube, and 1. Solved in float64 from the normal equations.

Where a time limit only interrupts the task, returns go on beyond it with the baseline's own value of the last
observation, and the value depends on no time. The fit is then a fixed point, that of LSTD(1) [boyan2002lstd].
"""

import torch
from torch import Tensor


def features(observations: Tensor, time: Tensor | None = None) -> Tensor:
    """observations [N, M, T, S], time in steps, broadcast to [N, M, T] → [N, M, T, 2S + 4], float64.

    Without time, [N, M, T, 2S + 1].
    """
    clipped = observations.double().clamp(-10.0, 10.0)
    one = torch.ones_like(clipped[..., :1])
    if time is None:
        return torch.cat([clipped, clipped.square(), one], dim=-1)
    t = (time.double() / 100.0).expand(clipped.shape[:-1]).unsqueeze(-1)
    return torch.cat([clipped, clipped.square(), t, t.square(), t**3, one], dim=-1)


def fit_ridge(
    inputs: Tensor, targets: Tensor, mask: Tensor, ridge: float, bootstrapped: Tensor | None = None
) -> Tensor:
    """argmin_w Σ_valid (w·x − y)² + ridge |w|², for every task: inputs [N, M, T, F], targets, mask [N, M, T] → [N, F].

    With `bootstrapped` features x' [N, M, T, F] y + w·x' stands in place of y, and w is the fixed point. Finite for
    constant or collinear features: without x' the ridge makes the normal matrix positive definite.
    """
    x = inputs.masked_fill(~mask.unsqueeze(-1), 0.0).flatten(1, 2)
    y = targets.double().masked_fill(~mask, 0.0).flatten(1, 2).unsqueeze(-1)
    change = x if bootstrapped is None else x - bootstrapped.flatten(1, 2)
    normal = x.mT @ change + ridge * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(normal, x.mT @ y).squeeze(-1)


def predict(inputs: Tensor, weights: Tensor) -> Tensor:
    """inputs [N, M, T, F], weights [N, F] → values [N, M, T], float64."""
    return torch.einsum("nmtf,nf->nmt", inputs, weights)
