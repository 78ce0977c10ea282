"""The family of meta-objectives: the inner surrogate, the outer loss and the credit assignment of each.

In *first* order they differ in the outer loss alone: where the batches were sampled, the inner surrogates all have
the gradient of the log-likelihood. In *second* order the Hessian of the inner surrogate is what tells them apart.
docs/objectives.md says which of them estimates which gradient, and how well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.derivatives.base import sum_over_steps
from metarl_exp.algorithm.objective.base import OuterOptimizer, PolicyOnBatch
from metarl_exp.algorithm.objective.maml import MAML, log_probs
from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.reductions import masked_mean
from metarl_exp.maths.surrogate import (
    dice_loss,
    loaded_dice_loss,
    ratio_loss,
)
from metarl_exp.process.ranks import ALONE, Ranks
from metarl_exp.types import Critic, Experience
from metarl_exp.validation import require_choice, require_number

SCORES = ("sum", "mean")


class EMAML(MAML):
    """MAML with credit for the pre-update samples.  [stadie2018emaml, Sec. 3]

    Adds, to MAML's outer loss, −Σ_k s_k (R − b): s_k is the score log π_φ_k of batch k, k < K, summed over all its
    steps (`scores: sum`) or their mean (`mean`, whose size does not grow with the batch, ours); R is the mean
    discounted return of the task after adaptation over its mean number of steps, as the rest of the loss is a mean over
    steps, and b the same of the other tasks' mean return. With sums, episodes of one length and advantages that are
    rewards to go, its gradient is without bias for J_II(M), the expected return after an update with M sampled
    trajectories (`tests/laboratory/`); with means the credit is all but gone for M ≥ 10. First order drops ∇²L from
    ∂φ_k/∂θ in both parts.

    The inner surrogate is the log-likelihood: with a likelihood ratio or DiCE inside, the derivative of the inner
    gradient has part of this credit already, and would count it twice.
    """

    def __init__(
        self,
        scores: str,
        step_weights: Sequence[float] | None = None,
        clip: float | None = None,
        value_weight: float | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(step_weights, clip, value_weight)
        self.ranks = ranks  # whose tasks are the others, too
        require_choice("objective.scores", scores, SCORES)
        self.scores = scores

    def outer_loss(self, policies: Sequence[PolicyOnBatch]) -> Tensor:
        """MAML's losses and the credit, [N]."""
        post = policies[-1].experience
        returns, steps = (
            post.discounted_rewards.sum(-1).mean(1),
            post.mask.sum(-1).to(post.advantages.dtype).mean(1),
        )  # [N]
        everyone = self.ranks.gather(returns)
        others = (everyone.sum() - returns) / max(len(everyone) - 1, 1)
        credit = (returns - others) / steps
        return super().outer_loss(policies) - credit * sum(self._score(policy) for policy in policies[:-1])

    def _score(self, policy: PolicyOnBatch) -> Tensor:
        log_prob, mask = policy.distribution.log_prob(policy.experience.actions), policy.experience.mask
        if self.scores == "mean":
            return masked_mean(log_prob, mask)
        return log_prob.masked_fill(~mask, 0.0).sum((1, 2))


class LVC(MAML):
    """Likelihood ratio inside: the low-variance curvature estimator.  [rothfuss2019promp, Sec. 5]

    L_k(φ) = −mean π_φ(a|s)/π_{φ_k(θ_old)}(a|s) Â. Where the batch was sampled its gradient is MAML's, its Hessian has
    the outer product of each step's own score besides, and lacks those between steps: biased, with less variance than
    DiCE. First order: as MAML's.
    """

    @sum_over_steps
    def inner_loss(self, distribution: Distribution, behaviour_policy: Distribution, experience: Experience) -> Tensor:
        """−mean π / π_old Â, [N]."""
        return ratio_loss(
            *log_probs(distribution, behaviour_policy, experience), experience.advantages, experience.mask
        )


class DiCE(MAML):
    """DiCE inside: every derivative of the inner loss is, in expectation, that of −V.  [foerster2018dice]

    L_k(φ) = −mean box(Σ_{t' ≤ t} log π) γ^t r_t: rewards themselves, without baseline, so that the inner step is
    larger and noisier than with standardised advantages. The meta-gradient tends to ∇J_I as M grows; at finite M it is
    biased, as φ_K is an expectation of no one batch. First order: REINFORCE's step with rewards to go.
    """

    def inner_loss(self, distribution: Distribution, behaviour_policy: Distribution, experience: Experience) -> Tensor:
        """−mean box γ^t r_t, [N]."""
        return dice_loss(
            *log_probs(distribution, behaviour_policy, experience), experience.discounted_rewards, experience.mask
        )


class LoadedDiCE(MAML):
    """DiCE with advantages inside.  [farquhar2019loaded, Sec. 4]

    L_k(φ) = −mean (box(Σ_{t' ≤ t} log π) − box(Σ_{t' < t} log π)) Â_t. Where the batch was sampled its gradient is
    MAML's; its Hessian is, in expectation, that of −V as far as Â estimates the advantage without bias. First order:
    as MAML's.
    """

    def inner_loss(self, distribution: Distribution, behaviour_policy: Distribution, experience: Experience) -> Tensor:
        """−mean of differences of boxes Â, [N]."""
        return loaded_dice_loss(
            *log_probs(distribution, behaviour_policy, experience), experience.advantages, experience.mask
        )


class ProMP(LVC):
    """Proximal meta-policy search: LVC inside; outside clipped, with a penalty on the pre-update policies.

    Outer: −mean min(r Â, clamp(r, 1 ± ε) Â) after adaptation + η Σ_{k<K} mean KL(π_φ_k(θ_old) ‖ π_φ_k(θ)), ε `clip` and
    η `kl_penalty`.  [rothfuss2019promp, Sec. 6, Alg. 1] Both act from the second gradient step on one batch on: with
    ε → ∞ and η = 0 this is LVC. First order: as MAML's.
    """

    def __init__(
        self,
        clip: float,
        kl_penalty: float,
        step_weights: Sequence[float] | None = None,
        value_weight: float | None = None,
    ) -> None:
        require_number("objective.clip", clip, above=0)
        super().__init__(step_weights, clip, value_weight)
        require_number("objective.kl_penalty", kl_penalty, low=0)
        self.kl_penalty = kl_penalty

    def outer_loss(self, policies: Sequence[PolicyOnBatch]) -> Tensor:
        """Clipped losses and the penalty, [N]."""
        losses = super().outer_loss(policies)
        if self.kl_penalty == 0:
            return losses
        return losses + self.kl_penalty * sum(policy.kl_from_behaviour() for policy in policies[:-1])


class Reptile(MAML):
    """θ moves towards φ_K.  [nichol2018reptile, Alg. 2]

    Outer: ⟨θ, stop_gradient(θ_old − φ_K(θ_old))⟩, linear in θ, of gradient θ − φ_K: no derivative of the adaptation
    is taken, so there is no second order, and no batch after adaptation is learned from. With K = 1 it is joint
    training on the inner loss.
    """

    def __init__(self) -> None:
        super().__init__()

    def outer_loss(self, policies: Sequence[PolicyOnBatch]) -> Tensor:
        """⟨θ, θ_old − φ_K(θ_old)⟩ of each task, [N]."""
        theta, adapted = policies[0].experience.parameters, policies[-1].experience.parameters
        terms = [(p * (theta[name] - adapted[name])).flatten(1).sum(1) for name, p in policies[0].parameters.items()]
        return torch.stack(terms).sum(0)

    def check_compatible(self, adaptation: Adaptation, outer_optimizer: OuterOptimizer) -> None:
        """ValueError for no inner steps, second order, learned step sizes, a critic, which it has no loss for, and an
        optimizer that measures curvature or repeats.
        """
        _require("reptile", "adaptation.inner_steps", adaptation.inner_steps, adaptation.inner_steps > 0,
                 "θ − φ_K is 0 without a step")  # fmt: skip
        _require("reptile", "adaptation.order", adaptation.order, adaptation.order == "first",
                 "it takes no derivative of the adaptation: say first")  # fmt: skip
        _require("reptile", "inner_optimizer", type(adaptation.inner_optimizer).__name__, not adaptation.step_sizes,
                 "it takes no derivative of the adaptation: take fixed step sizes")  # fmt: skip
        _require("reptile", "policy", type(adaptation.policy).__name__, not isinstance(adaptation.policy, Critic),
                 "its loss has no value loss, so that a critic would never learn: take a policy without")  # fmt: skip
        _require("reptile", "outer_optimizer", type(outer_optimizer).__name__, not outer_optimizer.uses_curvature,
                 "a trust region of policies bounds no step towards φ_K: take sgd or adam")  # fmt: skip
        _require("reptile", "outer_optimizer", type(outer_optimizer).__name__, not outer_optimizer.repeats,
                 "its loss is linear, and the same at every step on one batch: take sgd or adam")  # fmt: skip


class Joint(MAML):
    """Joint training on all tasks, without adaptation: pretraining.  [finn2017maml, Sec. 5.3, «pretrained»]

    Outer: MAML's for K = 0. Whatever adapts to a task, evaluation fine-tunes the result on it.
    """

    def __init__(self, clip: float | None = None, value_weight: float | None = None) -> None:
        super().__init__(clip=clip, value_weight=value_weight)

    def check_compatible(self, adaptation: Adaptation, outer_optimizer: OuterOptimizer) -> None:
        """ValueError for inner steps, and as MAML."""
        super().check_compatible(adaptation, outer_optimizer)
        _require("joint", "adaptation.inner_steps", adaptation.inner_steps, adaptation.inner_steps == 0,
                 "joint training takes none: say adaptation=none")  # fmt: skip


def _require(objective: str, field: str, value: Any, holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(f"objective={objective} with {field}={value}: {reason}")
