"""From raw trajectories to advantages: discounting, the baseline and normalisation. Owner of γ and λ."""

import torch

from metarl_exp.maths import baseline
from metarl_exp.maths.parameters import Parameters, detach
from metarl_exp.maths.returns import discounted_sums, generalised_advantages, standardise
from metarl_exp.types import Experience, Trajectories
from metarl_exp.validation import require_flag, require_number


class GAE:
    """Generalised advantages over a linear feature baseline that is fit, per task, on the batch itself.

    `bootstrap_time_limit` says what a time limit means: true, that it only interrupts the task, so the baseline's
    value of the last observation is added; false, that the horizon is part of the task (the baseline sees the time),
    as in the published experiments. `standardise` gives each task's advantages mean 0 and deviation 1.
    """

    def __init__(
        self, discount: float, gae_lambda: float, ridge: float, standardise: bool, bootstrap_time_limit: bool
    ) -> None:
        require_number("advantage.discount", discount, low=0, high=1)
        require_number("advantage.gae_lambda", gae_lambda, low=0, high=1)
        require_number("advantage.ridge", ridge, above=0)
        require_flag("advantage.standardise", standardise)
        require_flag("advantage.bootstrap_time_limit", bootstrap_time_limit)
        self.discount, self.gae_lambda, self.ridge = discount, gae_lambda, ridge
        self.standardise, self.bootstrap_time_limit = standardise, bootstrap_time_limit

    @torch.no_grad()
    def __call__(self, trajectories: Trajectories, parameters: Parameters) -> Experience:
        """Trajectories [N, M, T, …] and the φ that acted → Experience; the only place where anything is fitted."""
        t, rewards, mask = trajectories, trajectories.rewards.double(), trajectories.mask
        time = torch.arange(mask.shape[-1], device=mask.device)
        inputs = baseline.features(t.observations, time)
        weights = baseline.fit_ridge(inputs, discounted_sums(rewards, self.discount), mask, self.ridge)
        values = baseline.predict(inputs, weights)
        final_value = torch.zeros_like(values[..., 0])
        if self.bootstrap_time_limit:
            final_inputs = baseline.features(t.final_observations.unsqueeze(2), mask.sum(-1, keepdim=True))
            final_value = baseline.predict(final_inputs, weights).squeeze(-1)
        advantages = generalised_advantages(
            rewards, values, final_value, t.terminal, mask, self.discount, self.gae_lambda
        )
        if self.standardise:
            advantages = standardise(advantages, mask)
        dtype, from_start = t.rewards.dtype, rewards * self.discount**time
        return Experience(
            t.observations, t.actions, advantages.to(dtype), mask, detach(parameters), from_start.to(dtype)
        )
