"""Means that say over what: one owner for the rule «per task, over all steps that happened»."""

from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x over the valid entries of each task: x, mask [N, ...] → [N].

    All steps of a task weigh the same, so a long episode counts for more than a short one; the mean of per-episode
    means is a different number as soon as episodes end early.
    """
    axes = tuple(range(1, x.dim()))
    return x.masked_fill(~mask, 0.0).sum(axes) / mask.sum(axes)
