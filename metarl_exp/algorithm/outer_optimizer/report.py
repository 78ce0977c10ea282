"""Metrics that every outer optimizer reports of a step."""

from torch import Tensor

from metarl_exp.algorithm.objective import Evaluated, MetaFunction


def report(function: MetaFunction, gradient: Tensor, after: Evaluated) -> dict[str, float]:
    """Metrics of a step from where `function` is, along `gradient`, to where `after` was evaluated."""
    return {
        "outer/gradient_norm": gradient.norm().item(),
        "outer/loss_before": function.loss,
        "outer/loss_after": after.loss,
        "outer/kl": after.kl,
        "outer/tasks_made_worse": (after.losses > function.losses).double().mean().item(),
    }
