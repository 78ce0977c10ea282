"""MAML in one call, with the defaults of the paper."""

from __future__ import annotations

from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.advantage import GAE
from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.fast_weights import All
from metarl_exp.algorithm.inner_optimizer import InnerOptimizer
from metarl_exp.algorithm.learner import Learner
from metarl_exp.algorithm.objective import MAML, MetaObjective
from metarl_exp.algorithm.outer_optimizer import TRPO, TorchOptimizer
from metarl_exp.process.streams import streams
from metarl_exp.tasks import TaskDistribution
from metarl_exp.types import Policy


class MetaLearner(Learner):
    """MAML for reinforcement learning [finn2017maml], in one call; `compose` takes any other composition.

    SGD of step size `inner_lr` inside, for `inner_steps` steps on `trajectories` fresh episodes each; outside Adam of
    step size `outer_lr`, or an `outer_optimizer`, whose step size is its own: then `outer_lr` is None. A meta-batch has
    `batch_size` tasks. `order` is "second", or "first" for inner gradients without derivatives (FOMAML).
    """

    compose = Learner

    def __init__(
        self,
        task_distribution: TaskDistribution,
        policy: Policy,
        inner_lr: float,
        outer_lr: float | None,
        inner_steps: int,
        batch_size: int,
        *,
        order: str = "second",
        objective: MetaObjective | None = None,
        outer_optimizer: TRPO | TorchOptimizer | None = None,
        trajectories: int = 20,  # [finn2017maml, Sec. 5.3]
        seed: int = 0,
        allow_stateful: bool = False,
    ) -> None:
        objective = objective or MAML()
        inner_optimizer = InnerOptimizer("SGD", inner_lr, {})
        super().__init__(
            task_distribution=task_distribution,
            policy=policy,
            # [finn2017maml, code], as advantage=gae
            advantage=GAE(discount=0.99, gae_lambda=1.0, ridge=1e-5, standardise=True, bootstrap_time_limit=False),
            adaptation=Adaptation(inner_steps, order, policy, inner_optimizer, All(), objective.inner_loss),
            objective=objective,
            outer_optimizer=_outer_optimizer(outer_lr, outer_optimizer),
            aggregator=Mean(),
            meta_batch_size=batch_size,
            trajectories=trajectories,
            streams=streams(seed),
            allow_stateful=allow_stateful,
        )


def _outer_optimizer(lr: float | None, given: TRPO | TorchOptimizer | None) -> TRPO | TorchOptimizer:
    """Adam with that step size, or the given optimizer. Raises ValueError for both, and for neither."""
    if given is None and lr is not None:
        return TorchOptimizer("Adam", lr, {})
    if given is not None and lr is None:
        return given
    raise ValueError(
        f"outer_lr={lr} with outer_optimizer={given if given is None else type(given).__name__}: pass a step size for "
        "Adam, or outer_lr=None and an outer optimizer, which has its own"
    )
