"""Test-time adaptation to one live environment, and the policy that comes out of it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metarl_exp.algorithm.adaptation import Adaptation, require_schedule, scale_at
from metarl_exp.algorithm.advantage import GeneralisedAdvantages
from metarl_exp.algorithm.episodes import join_episodes
from metarl_exp.algorithm.sampler import action_noise, sample_episodes
from metarl_exp.maths.parameters import Parameters, detach
from metarl_exp.process.streams import stream
from metarl_exp.tasks import LiveEnv
from metarl_exp.types import Acting, Policy
from metarl_exp.validation import require_integer


class AdaptedPolicy:
    """A policy adapted to one environment. `returns` [steps, episodes] are those seen before each gradient step.

    One with memory remembers from call to call of `act`: `reset()` begins an episode.
    """

    def __init__(
        self, policy: Policy, parameters: Parameters, returns: Tensor, env: LiveEnv, generator: torch.Generator
    ) -> None:
        self.policy, self.parameters, self.returns = policy, parameters, returns
        self.env, self.generator = env, generator
        self.reset()

    def reset(self) -> None:
        """Forget what was observed."""
        self.acting: Acting | None = None

    @torch.no_grad()
    def act(self, observation: Any, deterministic: bool = True) -> Any:
        """The action for one observation, in the form that `env.step` takes."""
        like = next(iter(self.parameters.values()))
        batch = self.env.in_policy_form(observation).to(like.device, like.dtype)
        self.acting = self.acting or self.policy.acting(self.parameters)
        distribution = self.acting(batch)
        if deterministic:
            action = distribution.mode()
        else:
            noise = self.policy.distribution.noise((1, 1), self.policy.spec.action_size, self.generator)
            action = distribution.sample(noise.to(like.device, like.dtype))
        return self.env.in_env_form(action)


def adapt_to(
    env: Any,
    theta: Parameters,
    adaptation: Adaptation,
    advantage: GeneralisedAdvantages,
    episodes: int,
    steps: int,
    step_size_schedule: Sequence[float],
    seed: int,
) -> AdaptedPolicy:
    """`steps` gradient steps from θ on `episodes` fresh episodes each, one after the other in `env`."""
    require_integer("steps", steps, low=0)
    require_schedule("step_size_schedule", step_size_schedule)
    policy, actions = adaptation.policy, stream(seed, "adapt/actions")
    device = next(iter(theta.values())).device
    live = LiveEnv(env, policy.spec, stream(seed, "adapt/environment"), device)
    path = adaptation.start(theta, 1, "first")
    returns = torch.zeros(steps, episodes)
    for k in range(steps):
        noise = [action_noise(policy, (1, 1), actions) for _ in range(episodes)]
        trajectories = join_episodes([sample_episodes(live, policy, path.parameters, n) for n in noise])
        returns[k] = trajectories.returns()[0]
        path.step(advantage(trajectories, path.parameters), scale_at(step_size_schedule, k))
    return AdaptedPolicy(policy, detach(path.parameters), returns, live, actions)
