"""MAML, the objective from which the others of the family differ in a loss or two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.derivatives.base import sum_over_steps
from metarl_exp.algorithm.objective.base import OuterOptimizer, PolicyOnBatch
from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.surrogate import clipped_ratio_loss, log_likelihood_loss, ratio_loss
from metarl_exp.types import Critic, Experience, Policy
from metarl_exp.validation import require_number


class MAML:
    """Log-likelihood inside, likelihood ratio outside.  [finn2017maml, Alg. 3 and its code]

    L_k(φ) = −mean log π_φ(a|s) Â on batch k (the inner surrogate); outer: −mean π_φ(a|s)/π_{φ_K(θ_old)}(a|s) Â on the
    post-update batch. First order replaces ∂φ_K/∂θ by the derivative of the update rule alone. No credit goes to
    how θ changes the *distribution* of the pre-update samples, so the second-order gradient is biased for both exact
    meta-objectives: the expected Hessian of L_k is Σ_t E[∇² log π Â], that of −V has the outer products of scores too.

    `step_weights`, w_0 … w_K, make the outer loss Σ_k w_k L(φ_k), each on the batch that φ_k sampled, instead of
    L(φ_K) alone.  [antoniou2019maml, as multi-step loss] `clip`, ε, clips the outer ratio to 1 ± ε, for optimizers that
    take more than one step on a batch. `value_weight` is that of the value loss of a policy's critic, which is added
    to every L(φ_k): the critic of φ_k on the batch that φ_k sampled.
    """

    def __init__(
        self,
        step_weights: Sequence[float] | None = None,
        clip: float | None = None,
        value_weight: float | None = None,
    ) -> None:
        for weight in step_weights or []:
            require_number("objective.step_weights", weight, low=0)
        if clip is not None:
            require_number("objective.clip", clip, above=0)
        if value_weight is not None:
            require_number("objective.value_weight", value_weight, above=0)
        self.step_weights, self.clip, self.value_weight = step_weights, clip, value_weight

    @sum_over_steps
    def inner_loss(self, distribution: Distribution, behaviour_policy: Distribution, experience: Experience) -> Tensor:
        """−mean log π Â, [N]."""
        log_prob = distribution.log_prob(experience.actions)
        return log_likelihood_loss(log_prob, experience.advantages, experience.mask)

    def loss_after(self, policy: PolicyOnBatch) -> Tensor:
        """The surrogate of one φ_k on its batch, and the value loss of a critic, [N]."""
        if self.value_weight is None:
            return self.surrogate_after(policy)
        return self.surrogate_after(policy) + self.value_weight * policy.value_loss()

    def surrogate_after(self, policy: PolicyOnBatch) -> Tensor:
        """−mean π / π_old Â of one φ_k on its batch, clipped if asked, [N]."""
        experience = policy.experience
        compared = log_probs(policy.distribution, policy.behaviour_policy, experience)
        if self.clip is None:
            return ratio_loss(*compared, experience.advantages, experience.mask)
        return clipped_ratio_loss(*compared, experience.advantages, experience.mask, self.clip)

    def outer_loss(self, policies: Sequence[PolicyOnBatch]) -> Tensor:
        """Losses [N] after adaptation, or their weighted sum over its steps."""
        if self.step_weights is None:
            return self.loss_after(policies[-1])
        weighted = [w * self.loss_after(v) for w, v in zip(self.step_weights, policies, strict=True) if w > 0]
        return torch.stack(weighted).sum(0)

    def check_compatible(self, adaptation: Adaptation, outer_optimizer: OuterOptimizer) -> None:
        """ValueError for weights of another number of steps, or all 0, many steps on a loss without a clip, a critic
        without a value loss or the reverse, and a value loss in a trust region.
        """
        weights, needed = self.step_weights, adaptation.inner_steps + 1
        if weights is not None and (len(weights) != needed or not any(weights)):
            raise ValueError(
                f"objective.step_weights={list(weights)}: must be {needed} numbers ≥ 0, not all 0: one for θ and one "
                f"for each of adaptation.inner_steps={adaptation.inner_steps} steps"
            )
        if outer_optimizer.repeats and self.clip is None:
            raise ValueError(
                f"objective.clip=null with outer_optimizer={type(outer_optimizer).__name__}, which takes several steps "
                "on one batch: say how far the ratio may go, such as objective.clip=0.2, or take objective=promp"
            )
        self._check_critic(adaptation.policy, outer_optimizer)

    def _check_critic(self, policy: Policy, outer_optimizer: OuterOptimizer) -> None:
        weight, kind = self.value_weight, type(policy).__name__
        if weight is None:
            if isinstance(policy, Critic):
                raise ValueError(
                    f"objective.value_weight=null with policy={kind}, whose critic would never learn: set the weight "
                    "of its loss, such as objective.value_weight=0.5"
                )
            return
        if not isinstance(policy, Critic):
            raise ValueError(f"objective.value_weight={weight} with policy={kind}, which has no critic: take null")
        if outer_optimizer.uses_curvature:
            raise ValueError(
                f"objective.value_weight={weight} with outer_optimizer={type(outer_optimizer).__name__}: a trust "
                "region bounds the KL of the policy, not the step of a critic; take ppo or adam"
            )


def log_probs(
    distribution: Distribution, behaviour_policy: Distribution, experience: Experience
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of a batch's actions under a policy and under the behaviour policy, [N, M, T] each."""
    return distribution.log_prob(experience.actions), behaviour_policy.log_prob(experience.actions)
