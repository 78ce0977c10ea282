"""From raw trajectories to advantages: discounting, the values that are subtracted, normalisation. Owner of γ and λ."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from metarl_exp.maths import baseline
from metarl_exp.maths.parameters import Parameters, detach
from metarl_exp.maths.returns import discounted_sums, generalised_advantages, standardise
from metarl_exp.types import Critic, Experience, Policy, Trajectories
from metarl_exp.validation import require_flag, require_number


class GeneralisedAdvantages(ABC):
    """Generalised advantages [schulman2016gae] over values V that a subclass has.

    `bootstrap_time_limit` says what a time limit means: true, that it only interrupts the task, so the value of the
    last observation is added; false, that the horizon is part of the task (as in the published experiments, whose
    baseline sees the time). `standardise` gives each task's advantages mean 0 and deviation 1. Raises ValueError for a
    discount of 1 where nothing but a time limit ends an episode: its value would be a sum without an end.
    """

    def __init__(self, discount: float, gae_lambda: float, standardise: bool, bootstrap_time_limit: bool) -> None:
        require_number("advantage.discount", discount, low=0, high=1)
        require_number("advantage.gae_lambda", gae_lambda, low=0, high=1)
        require_flag("advantage.standardise", standardise)
        require_flag("advantage.bootstrap_time_limit", bootstrap_time_limit)
        if bootstrap_time_limit and discount == 1:
            raise ValueError(
                f"advantage.discount={discount} with advantage.bootstrap_time_limit=true: rewards that go on "
                "beyond the limit have a finite sum only if they are discounted; take a discount < 1"
            )
        self.discount, self.gae_lambda = discount, gae_lambda
        self.standardise, self.bootstrap_time_limit = standardise, bootstrap_time_limit

    @abstractmethod
    def values(self, trajectories: Trajectories, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """V of every observation [N, M, T] and of what followed the last step [N, M], float64."""

    def targets(self, advantages: Tensor, values: Tensor) -> Tensor | None:
        """Value targets (λ-returns), [N, M, T], from advantages that are not standardised; None without a critic."""
        return None

    @torch.no_grad()
    def __call__(self, trajectories: Trajectories, parameters: Parameters) -> Experience:
        """Trajectories [N, M, T, …] and the φ that acted → Experience; the only place where anything is fitted."""
        t, rewards, mask = trajectories, trajectories.rewards.double(), trajectories.mask
        values, final_value = self.values(t, parameters)
        if not self.bootstrap_time_limit:
            final_value = torch.zeros_like(final_value)
        advantages = generalised_advantages(
            rewards, values, final_value, t.terminal, mask, self.discount, self.gae_lambda
        )
        targets = self.targets(advantages, values)
        if self.standardise:
            advantages = standardise(advantages, mask)
        dtype = t.rewards.dtype
        from_start = rewards * self.discount ** _times(mask)
        return Experience(
            t.observations,
            t.actions,
            advantages.to(dtype),
            mask,
            detach(parameters),
            from_start.to(dtype),
            None if targets is None else targets.masked_fill(~mask, 0.0).to(dtype),
        )


class GAE(GeneralisedAdvantages):
    """Over a linear feature baseline that is fit, per task, on the batch itself.

    Where a time limit only interrupts the task, returns beyond it are the baseline's own, and it does not see the time.
    """

    def __init__(
        self, discount: float, gae_lambda: float, ridge: float, standardise: bool, bootstrap_time_limit: bool
    ) -> None:
        super().__init__(discount, gae_lambda, standardise, bootstrap_time_limit)
        require_number("advantage.ridge", ridge, above=0)
        self.ridge = ridge

    def values(self, trajectories: Trajectories, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """The fitted baseline's; the parameters have no part in it."""
        t, mask = trajectories, trajectories.mask
        final, time, length = t.final_observations.unsqueeze(2), _times(mask), mask.sum(-1, keepdim=True)
        if self.bootstrap_time_limit:
            inputs, final_inputs = baseline.features(t.observations), baseline.features(final)
            cut_off = mask & ~t.terminal.any(-1, keepdim=True)
            beyond = (self.discount ** (length - time).double()).masked_fill(~cut_off, 0.0)  # γ^(T − t)
            bootstrapped = beyond.unsqueeze(-1) * final_inputs
        else:
            inputs, final_inputs = baseline.features(t.observations, time), baseline.features(final, length)
            bootstrapped = None
        returns = discounted_sums(t.rewards.double(), self.discount)
        weights = baseline.fit_ridge(inputs, returns, mask, self.ridge, bootstrapped)
        return baseline.predict(inputs, weights), baseline.predict(final_inputs, weights).squeeze(-1)


class CriticGAE(GeneralisedAdvantages):
    """Over the values of the acting policy's own critic, at the φ that acted, as numbers: nothing is fitted.

    The critic learns by the value losses of the objective and, where asked, of the adaptation, from targets Â + V: the
    λ-returns [sutton2018, Sec. 12.1], which with λ = 1 are discounted rewards to go. Raises ValueError for a policy
    without a critic.
    """

    def __init__(
        self, discount: float, gae_lambda: float, standardise: bool, bootstrap_time_limit: bool, policy: Policy
    ) -> None:
        super().__init__(discount, gae_lambda, standardise, bootstrap_time_limit)
        if not isinstance(policy, Critic):
            raise ValueError(
                f"advantage=critic with policy={type(policy).__name__}, which has no critic: "
                "take policy=mlp_critic, policy=rnn_critic, or advantage=gae"
            )
        self.critic = policy

    def values(self, trajectories: Trajectories, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """The critic's; one with memory goes on to the last observation from those before."""
        values = self.critic.values(parameters, trajectories.seen()).double()
        final = values.gather(2, trajectories.mask.sum(-1, keepdim=True)).squeeze(-1)
        return values[..., :-1], final

    def targets(self, advantages: Tensor, values: Tensor) -> Tensor:
        """λ-returns, [N, M, T]."""
        return advantages + values


def _times(mask: Tensor) -> Tensor:
    """Steps since the start of an episode, [T]."""
    return torch.arange(mask.shape[-1], device=mask.device)
