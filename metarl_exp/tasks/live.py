"""One live Gymnasium environment as a batch of one, for adapting to it at test time."""

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl_exp.types import Spec, Step


class LiveEnv:
    """Steps the environment itself: N = M = 1, one episode between two calls of `reset`.

    Continuous actions are clipped to the environment's bounds. The first reset is seeded from `generator`, later
    ones let the environment go on with its own randomness, as Gymnasium asks. Raises ValueError if the spaces do not
    fit the policy's spec.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], spec: Spec, generator: torch.Generator) -> None:
        self.env, self.spec = env, spec
        self.seed: int | None = int(torch.randint(2**31 - 1, (), generator=generator))
        observation, action = env.observation_space, env.action_space
        wanted = f"{spec.action_size} discrete" if spec.discrete else f"{spec.action_size} continuous"
        if (_size(observation), *_kind(action)) != spec[:3]:
            raise ValueError(
                f"environment has observations {observation} and actions {action}; the policy was made for "
                f"{spec.observation_size} observed numbers and {wanted} actions"
            )

    def reset(self) -> Tensor:
        observation, _ = self.env.reset(seed=self.seed)
        self.seed = None
        return self._batch(observation)

    def step(self, action: Tensor) -> Step:
        observation, reward, terminal, truncated, _ = self.env.step(self.in_env_form(action))
        flags = (torch.tensor([[bool(flag)]]) for flag in (terminal, truncated))
        return Step(self._batch(observation), torch.tensor([[float(reward)]]), *flags)

    def in_env_form(self, action: Tensor) -> Any:
        """What `env.step` takes for a policy's action [1, 1, A] (or [1, 1] if discrete), inside the bounds."""
        space = self.env.action_space
        if not isinstance(space, gymnasium.spaces.Box):
            return int(action)
        return np.clip(action.cpu().numpy().reshape(space.shape), space.low, space.high).astype(space.dtype)

    @staticmethod
    def _batch(observation: Any) -> Tensor:
        return torch.as_tensor(np.asarray(observation, dtype=np.float32)).reshape(1, 1, -1)


def _size(space: gymnasium.Space[Any]) -> int | None:
    """How many numbers an element of a Box has; None for other spaces."""
    return int(np.prod(space.shape)) if isinstance(space, gymnasium.spaces.Box) else None


def _kind(space: gymnasium.Space[Any]) -> tuple[int | None, bool]:
    """Action size and whether actions are discrete; a policy's choices count from zero."""
    if isinstance(space, gymnasium.spaces.Discrete) and space.start == 0:
        return int(space.n), True
    return _size(space), False
