"""One live Gymnasium environment as a batch of one, for adapting to it at test time."""

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl_exp.tasks.guard import foreign
from metarl_exp.tasks.spaces import Interface, in_words
from metarl_exp.tasks.transfer import to_device
from metarl_exp.types import Spec, Step


class LiveEnv:
    """Steps the environment itself: N = M = 1, one episode between two calls of `reset`.

    Observations and actions are what they are to a policy trained on such environments (`spaces.Interface`): output in
    [−1, 1] is stretched onto the bounds of continuous actions. The first reset is seeded from `generator`, later ones
    let the environment go on with its own randomness, as Gymnasium asks. Raises ValueError if the spaces do not fit
    the policy's spec.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], spec: Spec, generator: torch.Generator, device: torch.device
    ) -> None:
        self.env, self.device = env, device
        self.seed: int | None = int(torch.randint(2**31 - 1, (), generator=generator))
        self.interface = _interface(env, spec)

    def reset(self) -> Tensor:
        with foreign():
            observation, _ = self.env.reset(seed=self.seed)
        self.seed = None
        return self.in_policy_form(observation)

    def step(self, action: Tensor) -> Step:
        with foreign():
            observation, reward, terminal, truncated, _ = self.env.step(self.in_env_form(action))
        numbers = np.float32(float(reward)), np.bool_(bool(terminal)), np.bool_(bool(truncated))
        answers = self.interface.observe(observation), *numbers
        return Step(*to_device([np.reshape(x, (1, 1, *np.shape(x))) for x in answers], self.device))

    def in_env_form(self, action: Tensor) -> Any:
        """Action for `env.step`, inside the bounds, from a policy's [1, 1, A] ([1, 1] if discrete)."""
        return self.interface.act(action[0, 0].cpu().numpy())

    def in_policy_form(self, observation: Any) -> Tensor:
        """Observation for a policy, [1, 1, S] on its device."""
        return torch.from_numpy(self.interface.observe(observation)).reshape(1, 1, -1).to(self.device)


def _interface(env: gymnasium.Env[Any, Any], spec: Spec) -> Interface:
    """The environment's side of the policy's spec; ValueError if there is none."""
    message = (
        f"environment has observations {env.observation_space} and actions {env.action_space}; the policy was made "
        f"for {in_words(*spec[:3])}"
    )
    try:
        interface = Interface(env.observation_space, env.action_space)
    except ValueError as error:
        raise ValueError(message) from error
    if interface.sizes != spec[:3]:
        raise ValueError(message)
    return interface
