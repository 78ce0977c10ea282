"""Aggregation of the meta-gradients of single tasks into the one that an outer optimizer follows.

With TRPO it is the gradient alone that is combined; the curvature stays that of the mean over tasks.
"""

from typing import Protocol

import torch

from metarl_exp.maths.interference import pcgrad
from metarl_exp.maths.parameters import Parameters, task_mean, unflatten


class Aggregator(Protocol):
    """From {name: [N, ...]} to {name: [...]}."""

    def __call__(self, gradients: Parameters) -> Parameters: ...


class Mean:
    """∇F, the mean over tasks."""

    def __call__(self, gradients: Parameters) -> Parameters:
        return task_mean(gradients)


class PCGrad:
    """The mean of task gradients that have been projected off each other.  [yu2020pcgrad, Alg. 1]"""

    def __call__(self, gradients: Parameters) -> Parameters:
        like = {name: g[0] for name, g in gradients.items()}
        return unflatten(pcgrad(per_task(gradients)), like)


def per_task(gradients: Parameters) -> torch.Tensor:
    """{name: [N, ...]} → [N, P]."""
    return torch.cat([g.reshape(len(g), -1) for g in gradients.values()], dim=1)
