"""The inner loop, K gradient steps from θ to φ for every task at once; acting and differentiating share it.

    φ_0 = θ,   g_k = ∇_φ L_k(φ_k),   φ_{k+1} = U(φ_k, g_k)          U: the inner optimizer's rule

The *order* says what the derivative of φ_K with respect to θ contains. `second`: everything, the Hessians of L_k
included. `first`: the g_k count as constants while U is still differentiated, so that for plain SGD ∂φ_K/∂θ is the
identity, and no graph of L_k is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarl_exp.algorithm.derivatives import derivatives_of
from metarl_exp.algorithm.derivatives.autograd import JacobianProduct, jvp
from metarl_exp.algorithm.derivatives.base import InnerLoss, LinearMap
from metarl_exp.algorithm.fast_weights import FastWeights, acting_names
from metarl_exp.algorithm.inner_optimizer import InnerOptimizer, InnerRule
from metarl_exp.maths.distributions import Distribution, constant
from metarl_exp.maths.parameters import Parameters, stack, zip_names
from metarl_exp.maths.surrogate import value_loss
from metarl_exp.types import Critic, Experience, Policy, require_finite
from metarl_exp.validation import require_choice, require_integer, require_number

ORDERS = ("first", "second")


class Adaptation:
    """Adaptation to tasks: K (`inner_steps`), the order, and the parts of an update.

    With a `value_weight` the policy's critic adapts too, by the gradient of its value loss times the weight; with none
    (null) it is the same in φ_0 … φ_K. Raises ValueError for a weight without a critic.
    """

    def __init__(
        self,
        inner_steps: int,
        order: str,
        policy: Policy,
        inner_optimizer: InnerOptimizer,
        fast_weights: FastWeights,
        inner_loss: InnerLoss,
        value_weight: float | None = None,
    ) -> None:
        require_integer("adaptation.inner_steps", inner_steps, low=0)
        require_choice("adaptation.order", order, ORDERS)
        self.inner_steps, self.order = inner_steps, order
        self.policy, self.inner_optimizer, self.inner_loss = policy, inner_optimizer, inner_loss
        self.fast_weights, self.value_weight = fast_weights, value_weight
        self.fast = fast_weights.select(acting_names(policy))  # the names of what adapts
        parameters = dict(policy.named_parameters())
        if value_weight is not None:
            require_number("adaptation.value_weight", value_weight, above=0)
            if not isinstance(policy, Critic):
                raise ValueError(
                    f"adaptation.value_weight={value_weight}: the policy, {type(policy).__name__}, has no critic; "
                    "take null, policy=mlp_critic or policy=rnn_critic"
                )
            self.fast += [name for name in parameters if name in policy.critic_names]
        self.derivatives = derivatives_of(policy, inner_loss, value_loss=value_weight is not None)
        self.step_sizes = inner_optimizer.step_sizes({n: parameters[n] for n in self.fast}, inner_steps)

    def meta_parameters(self) -> Parameters:
        """θ where it is kept: the policy's parameters, then the inner step sizes if they are learned."""
        return {**dict(self.policy.named_parameters()), **self.step_sizes}

    def split(self, theta: Parameters) -> tuple[Parameters, Parameters]:
        """θ as what the policy takes, and inner step sizes."""
        policy = {name: p for name, p in theta.items() if name not in self.step_sizes}
        return policy, {name: theta[name] for name in self.step_sizes}

    def losses(
        self, parameters: Parameters, distribution: Distribution, behaviour_policy: Distribution, experience: Experience
    ) -> Tensor:
        """Losses [N] of φ and its policy, whose gradients adapt: the inner surrogate and, if asked, the value loss."""
        losses = self.inner_loss(distribution, behaviour_policy, experience)
        if self.value_weight is None:
            return losses
        return losses + self.value_weight * value_loss_of(self.policy, parameters, experience)

    def start(self, theta: Parameters, num_tasks: int, order: str) -> AdaptationPath:
        """φ_0 = θ for N tasks, to be stepped as experience comes in; context parameters are zero there."""
        return AdaptationPath(self, stack(theta, num_tasks), order)


class InnerStep(NamedTuple):
    """One step as it was made; in second order the gradients can be differentiated with respect to the parameters."""

    parameters: Parameters  # φ_k [N, ...]
    gradients: Parameters  # g_k [N, ...], in first order of what adapts alone
    hessian: LinearMap | None  # v ↦ H_k v of the inner loss, all names; None in first order, which leaves it out
    behaviour_policy: Distribution  # that sampled the experience, on its observations; without history
    scale: float  # multiple of the inner step size


class AdaptationPath:
    """φ_0 … φ_k of N tasks on the way: append-only, with the products of J = ∂φ_k/∂θ in both directions."""

    def __init__(self, adaptation: Adaptation, theta: Parameters, order: str) -> None:
        require_choice("order", order, ORDERS)
        self.adaptation, self.second_order = adaptation, order == "second"
        # [N, ...]: one leaf for each task
        self.theta = {name: p.requires_grad_() for name, p in self._without_context(theta).items()}
        self.parameters, step_sizes = adaptation.split(self.theta)
        self.fast = adaptation.fast
        self.rule = adaptation.inner_optimizer.start(self.fast, step_sizes)
        self.steps: list[InnerStep] = []

    def _without_context(self, parameters: Parameters) -> Parameters:
        """Zero the context entries: of θ, which gives φ_0, of a tangent, and of a cotangent."""
        context = self.adaptation.policy.context_names
        return {n: torch.zeros_like(p) if n in context else p for n, p in parameters.items()}

    def step(self, experience: Experience, scale: float = 1.0, behaviour_policy: Distribution | None = None) -> None:
        """φ_{k+1} from experience sampled with φ_k; `scale` multiplies the inner step size.

        When the path is replayed from another θ, the `behaviour_policy` sampled the experience instead of φ_k. Raises
        NonFiniteError if a task's inner loss or gradient is not finite.
        """
        derivatives = self.adaptation.derivatives
        with torch.enable_grad():
            distribution = derivatives.distribution(self.parameters, experience.observations)
            behaviour_policy = constant(distribution) if behaviour_policy is None else behaviour_policy
            loss = partial(
                self.adaptation.losses, self.parameters, behaviour_policy=behaviour_policy, experience=experience
            )
            losses = loss(distribution)
            require_finite("inner loss (index: task)", losses, experience)
            if self.second_order:
                gradients, hessian = derivatives.gradient(loss, self.parameters, distribution, experience)
            else:
                gradients, hessian = self._gradients_of_fast_weights(losses), None
        for name, gradient in gradients.items():
            require_finite(f"inner gradient of {name} (indices: task, …)", gradient, experience)
        self.steps.append(InnerStep(self.parameters, gradients, hessian, behaviour_policy, scale))
        self.parameters = self._updated(self.rule, self.parameters, gradients, scale)

    def _gradients_of_fast_weights(self, losses: Tensor) -> Parameters:
        """g_k of first order, which asks for no other. Parameters are stacked: each task's gradient is its own."""
        fast = {name: self.parameters[name] for name in self.fast}
        return zip_names(fast, torch.autograd.grad(losses.sum(), [*fast.values()], materialize_grads=True))

    def _updated(self, rule: InnerRule, parameters: Parameters, gradients: Parameters, scale: float) -> Parameters:
        fast = rule.step({n: parameters[n] for n in self.fast}, {n: gradients[n] for n in self.fast}, scale)
        # Alias shared parameters at every step, so that ∂L_k/∂p holds the contribution of step k alone.
        return {n: fast[n] if n in fast else p.view_as(p) for n, p in parameters.items()}

    def iterates(self) -> list[Parameters]:
        """φ_0 … φ_k, with their graphs back to θ."""
        return [*(step.parameters for step in self.steps), self.parameters]

    def vjp(self, cotangents: Mapping[int, Parameters]) -> Parameters:
        """Σ_k (∂φ_k/∂θ)ᵀ u_k for every task, from {k: u_k}: one backward pass through the retained graph.

        u_k and the result are {name: [N, ...]}, u_k of some names or all; K, the last, may also be called −1.
        """
        iterates = self.iterates()
        outputs = [iterates[k][name] for k, cotangent in cotangents.items() for name in cotangent]
        given = [u for cotangent in cotangents.values() for u in cotangent.values()]
        found = torch.autograd.grad(
            outputs, list(self.theta.values()), given, retain_graph=True, materialize_grads=True
        )
        return self._without_context(zip_names(self.theta, found))

    def jvp(self) -> Callable[[Parameters], Parameters]:
        """v ↦ J v for every task: {name: [N, ...]} → {name: [N, ...]}.

        The tangent goes through the update rule step by step, and a step's gradient gets the tangent H_k φ̇_k, a
        Hessian-vector product of that step's own (in first order, none).
        """
        updates = self._updates()

        def product(tangent: Parameters) -> Parameters:
            start = self._without_context(tangent)
            moved, _ = self.adaptation.split(start)
            given = [*start.values()]
            for step, update in zip(self.steps, updates, strict=True):
                curved = step.hessian(moved) if step.hessian else dict.fromkeys(self.fast)
                given += [curved[name] for name in self.fast]
                moved = moved | zip_names(self.fast, update(given))
            return moved

        return product

    def _updates(self) -> list[JacobianProduct]:
        """For every k the tangent of φ_{k+1}, of what adapts, from those of θ and of g_0 … g_k, tensor after tensor.

        The rule is taken once more, on leaves.
        """
        theta = {name: p.detach().requires_grad_() for name, p in self.theta.items()}
        parameters, step_sizes = self.adaptation.split(theta)
        rule, inputs, updates = self.adaptation.inner_optimizer.start(self.fast, step_sizes), [*theta.values()], []
        for step in self.steps:
            gradients = {name: step.gradients[name].detach().requires_grad_() for name in self.fast}
            inputs = [*inputs, *gradients.values()]
            parameters = self._updated(rule, parameters, gradients, step.scale)
            updates.append(jvp([parameters[name] for name in self.fast], inputs))
        return updates


def value_loss_of(policy: Policy, parameters: Parameters, experience: Experience) -> Tensor:
    """Mean over valid steps of ½ (V_φ − target)² of a policy's critic, [N].

    Raises ValueError if the policy has no critic, or the experience no targets for one.
    """
    if not isinstance(policy, Critic) or experience.targets is None:
        raise ValueError("a value loss needs a policy with a critic and value targets: take advantage=critic")
    return value_loss(policy.values(parameters, experience.observations), experience.targets, experience.mask)


def scale_at(schedule: Sequence[float], step: int) -> float:
    """The multiple of the inner step size at a step (from 0); the last number holds from there on."""
    return schedule[min(step, len(schedule) - 1)]


def require_schedule(field: str, schedule: Any) -> None:
    """Raise ValueError unless it is a list of at least one number ≥ 0."""
    if isinstance(schedule, str) or not isinstance(schedule, Sequence) or not schedule:
        raise ValueError(f"{field}={schedule!r}: must be a list of at least one number ≥ 0")
    for scale in schedule:
        require_number(field, scale, low=0)
