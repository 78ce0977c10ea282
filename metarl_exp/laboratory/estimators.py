"""The package's own meta-gradients on batches of enumerated trajectories, many independent replicates at once.

Replicates are the tasks of one meta-batch: stacked, they cost one pass through `Adaptation` and `MetaFunction`. All is
turned into the units of ∇J: losses are −J / T, since they are means over steps, and so an inner step size α is α · T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarl_exp.algorithm.adaptation import ORDERS, Adaptation
from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.fast_weights import All
from metarl_exp.algorithm.inner_optimizer import InnerOptimizer
from metarl_exp.algorithm.objective import EMAML, LVC, MAML, DiCE, LoadedDiCE, MetaBatch, MetaFunction, ProMP, Reptile
from metarl_exp.laboratory.exact import CREDITS, Batches, advantages, all_batches
from metarl_exp.laboratory.mdp import TinyMDP
from metarl_exp.laboratory.policy import TabularSoftmax
from metarl_exp.maths.distributions import constant
from metarl_exp.types import Experience
from metarl_exp.validation import require_choice

OBJECTIVES: dict[str, MAML] = {
    "maml": MAML(),
    "e_maml_sum": EMAML("sum"),
    "e_maml_mean": EMAML("mean"),
    "lvc": LVC(),
    "dice": DiCE(),
    "loaded_dice": LoadedDiCE(),
    "promp": ProMP(clip=0.3, kl_penalty=0.0005),
    "reptile": Reptile(),
}
Draw = Callable[[Tensor], Tensor]  # from the policies [N, S, A] that act to the numbers of their trajectories [N, M]


@dataclass(frozen=True)
class Estimator:
    """An estimator: the name of an objective, the order, and the credit Â of its inner losses."""

    objective: str
    order: str
    credit: str

    def __post_init__(self) -> None:
        require_choice("objective", self.objective, OBJECTIVES)
        require_choice("order", self.order, ORDERS)
        require_choice("credit", self.credit, CREDITS)

    @property
    def loss(self) -> MAML:
        """The package's objective."""
        return OBJECTIVES[self.objective]


class Outcomes(NamedTuple):
    """Everything that a meta-gradient can be, and how likely that is."""

    weights: Tensor  # [N]
    gradients: Tensor  # [N, P]

    def mean(self) -> Tensor:
        """The expectation, [P]."""
        return self.weights @ self.gradients


def experience(mdp: TinyMDP, phi: Tensor, members: Tensor, credit: str) -> Experience:
    """Experience from the trajectories `members` [N, M] that policies φ [N, S, A] sampled."""
    trajectories = mdp.trajectories
    observations = torch.eye(mdp.states, dtype=phi.dtype)[trajectories.states]
    return Experience(
        observations[members],
        trajectories.actions[members],
        advantages(mdp, phi, members, credit),
        torch.ones(*members.shape, mdp.horizon, dtype=torch.bool),
        {"logits": phi},
        trajectories.discounted_rewards[members],
    )


def expected_experience(mdp: TinyMDP, phi: Tensor) -> Experience:
    """One batch in place of the expectation over all, for losses that are sums over steps, linear in their credits.

    It has a step for every state and action, [N, 1, S · A], whose credit is what it weighs in
    ∇V = Σ_t Σ_s P(s_t = s) γ^t Σ_a Q_t(s, a) ∇π(a | s). Credits and rewards are multiplied by S · A / T, since losses
    are means over S · A steps here and over T elsewhere.
    """
    number, cells = len(phi), mdp.states * mdp.actions
    occupied = mdp.occupancies(phi) * mdp.powers.unsqueeze(-1)
    weights = (occupied.unsqueeze(-1) * mdp.action_values(phi)).sum(1) * phi.softmax(-1)  # [N, S, A]
    observations = torch.eye(mdp.states, dtype=phi.dtype).repeat_interleave(mdp.actions, 0)
    rewards = torch.zeros(number, 1, cells, dtype=phi.dtype)
    rewards[:, 0, 0] = mdp.value(phi)
    return Experience(
        observations.expand(number, 1, -1, -1),
        torch.arange(mdp.actions).repeat(mdp.states).expand(number, 1, -1),
        weights.view(number, 1, cells) * cells / mdp.horizon,
        torch.ones(number, 1, cells, dtype=torch.bool),
        {"logits": phi},
        rewards * cells / mdp.horizon,
    )


def meta_gradients(
    mdp: TinyMDP,
    theta: Tensor,
    estimator: Estimator,
    alpha: float,
    replicates: int,
    inner: Sequence[Draw],
    outer: Draw | None,
    exhaustive: bool = False,
) -> Tensor:
    """Meta-gradients of N = `replicates` tasks, one inner step for each of the `inner` draws: [N, P].

    The batch after adaptation is drawn by `outer`, or, with None, taken in expectation. E-MAML's baseline is the mean
    of the other replicates, which is fair where they are independent. Reptile's θ − φ_K is divided by −α, so that it is
    K steps' sum of estimates of ∇V. `exhaustive` says that they are all outcomes
    there are: what is left when one is taken out then depends on that one, as the mean of the others is
    (N · mean − R) / (N − 1); rewards times (N − 1) / N leave R less a constant.
    """
    policy: Any = TabularSoftmax(mdp.states, mdp.actions, mdp.horizon)
    rule = InnerOptimizer("SGD", alpha * mdp.horizon, {})
    adaptation = Adaptation(len(inner), estimator.order, policy, rule, All(), estimator.loss.inner_loss)
    path = adaptation.start({"logits": theta}, replicates, estimator.order)
    experiences = []
    for draw in inner:
        phi = path.parameters["logits"].detach()
        experiences.append(experience(mdp, phi, draw(phi), estimator.credit))
        path.step(experiences[-1])
    phi = path.parameters["logits"].detach()
    after = expected_experience(mdp, phi) if outer is None else experience(mdp, phi, outer(phi), "to_go")
    if exhaustive and replicates > 1:
        after = after._replace(discounted_rewards=after.discounted_rewards * (replicates - 1) / replicates)
    nothing = torch.zeros(replicates, 1)
    batch = MetaBatch(nothing, (*experiences, after), nothing, path)
    function = MetaFunction(estimator.loss, batch, {"logits": theta}, adaptation, Mean())
    unit = 1 / alpha if isinstance(estimator.loss, Reptile) else mdp.horizon
    return -unit * function.task_gradients()["logits"].flatten(1)


def outcomes(mdp: TinyMDP, theta: Tensor, estimator: Estimator, alpha: float, size: int, steps: int = 1) -> Outcomes:
    """The meta-gradients of all B^K ways to sample K = `steps` batches of M = `size` trajectories.

    The batch after adaptation is taken in expectation.
    """
    batches = all_batches(mdp, size)
    number = len(batches.members)
    chosen = torch.cartesian_prod(*[torch.arange(number)] * steps).view(-1, steps).T  # [K, N]
    log_weights = torch.zeros(number**steps, dtype=theta.dtype)

    def take(batch: Tensor) -> Draw:
        def draw(phi: Tensor) -> Tensor:
            nonlocal log_weights
            log_weights = log_weights + chosen_log_probabilities(mdp, phi, batches, batch)
            return batches.members[batch]

        return draw

    inner = [take(batch) for batch in chosen]
    gradients = meta_gradients(mdp, theta, estimator, alpha, number**steps, inner, None, exhaustive=True)
    return Outcomes(log_weights.exp(), gradients)


def chosen_log_probabilities(mdp: TinyMDP, phi: Tensor, batches: Batches, chosen: Tensor) -> Tensor:
    """log P of the batch `chosen` [N] under each of N policies, [N]."""
    of_each = mdp.log_probabilities(phi).gather(1, batches.members[chosen])
    return of_each.sum(-1) + batches.log_orders[chosen]


def inner_hessians(mdp: TinyMDP, theta: Tensor, estimator: Estimator) -> Outcomes:
    """−T ∇² of the inner loss on every single trajectory, flat [L, P · P]; a batch's is the mean of M such."""
    number = len(mdp.trajectories.states)
    phi = theta.expand(number, *theta.shape).clone().requires_grad_()
    every = experience(mdp, phi.detach(), torch.arange(number).unsqueeze(-1), estimator.credit)
    policy = TabularSoftmax(mdp.states, mdp.actions, mdp.horizon)
    distribution = policy({"logits": phi}, every.observations)
    losses = estimator.loss.inner_loss(distribution, constant(distribution), every)
    (gradient,) = torch.autograd.grad(losses.sum(), phi, create_graph=True)
    rows = [torch.autograd.grad(g.sum(), phi, retain_graph=True)[0].flatten(1) for g in gradient.flatten(1).unbind(1)]
    weights = mdp.log_probabilities(theta.unsqueeze(0)).exp().squeeze(0)
    return Outcomes(weights, -mdp.horizon * torch.stack(rows, dim=1).flatten(1))
