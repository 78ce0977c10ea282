"""How much the gradients of tasks disagree, and a gradient that is against none of them. Gradients are [N, P]."""

import torch
from torch import Tensor


def cosines(gradients: Tensor) -> Tensor:
    """Cosine of the angle of every pair of tasks, [N (N − 1) / 2]; 0 where a gradient is 0."""
    norms = gradients.norm(dim=1, keepdim=True)
    directions = gradients / norms.masked_fill(norms == 0, 1.0)
    rows, columns = torch.triu_indices(len(gradients), len(gradients), offset=1, device=gradients.device)
    return (directions @ directions.T)[rows, columns]


def pcgrad(gradients: Tensor) -> Tensor:
    """The mean of the gradients, each without what it has against any other, [P].  [yu2020pcgrad, Alg. 1]

    Each g_i meets the others in turn and loses its projection on g_j where ⟨g_i, g_j⟩ < 0. The turn of i begins with
    its neighbour i + 1 and goes round: tasks are drawn independently, so that this is as random as a shuffled order.
    Gradients that agree are left alone.
    """
    squares = gradients.square().sum(1)
    projected = gradients
    for shift in range(1, len(gradients)):
        others, square = gradients.roll(-shift, 0), squares.roll(-shift)
        against = (projected * others).sum(1).clamp(max=0) / square.masked_fill(square == 0, 1.0)
        projected = projected - against.unsqueeze(1) * others
    return projected.mean(0)
