"""Each distribution as a Gymnasium environment, one task at a time, for any tool that speaks Gymnasium.

gymnasium.make("metarl_exp/Navigation2D-v0", task=[0.3, -0.2])
"""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch

from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.tasks.cartpole import NOMINAL, CartPole
from metarl_exp.tasks.navigation_2d import Navigation2D


class TaskEnv(gymnasium.Env[np.ndarray, Any]):
    """One task of a distribution: the same dynamics with N = M = 1.

    `task` is a row of the distribution; without one, the first of its test tasks. Continuous actions are a policy's
    output, nominally in [−1, 1]. `reset(seed=…)` seeds the environment's own randomness.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  # declared like this by Gymnasium

    def __init__(self, distribution: TaskDistribution, task: Sequence[float] | None = None) -> None:
        spec = distribution.spec
        row = distribution.test_tasks(1, torch.Generator().manual_seed(0))[0].tolist() if task is None else list(task)
        if len(row) != len(distribution.parameter_names):
            raise ValueError(
                f"task={row}: must be the {len(distribution.parameter_names)} numbers {distribution.parameter_names}"
            )
        self.distribution = distribution
        self.task = torch.tensor([row], dtype=torch.float64)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (spec.observation_size,), np.float32)
        self.action_space = (
            gymnasium.spaces.Discrete(spec.action_size)
            if spec.discrete
            else gymnasium.spaces.Box(-1.0, 1.0, (spec.action_size,), np.float32)
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        generator = torch.Generator().manual_seed(int(self.np_random.integers(2**62)))
        self._env = self.distribution.make_env(self.task, 1, generator, torch.device("cpu"))
        self._steps = 0
        return self._env.reset()[0, 0].numpy().copy(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        step = self._env.step(torch.as_tensor(np.asarray(action))[None, None])
        self._steps += 1
        out_of_time = self._steps >= self.distribution.spec.horizon
        truncated = (out_of_time or bool(step.truncated)) and not bool(step.terminal)
        return step.observation[0, 0].numpy().copy(), float(step.reward), bool(step.terminal), truncated, {}


def navigation_env(task: Sequence[float] | None = None, **settings: Any) -> TaskEnv:
    """2D navigation as published, unless settings say otherwise."""
    published: dict[str, Any] = {"horizon": 100, "action_map": "scaled", "varying_start": False}
    return TaskEnv(Navigation2D(**published | settings), task)


def cartpole_env(task: Sequence[float] | None = None, **settings: Any) -> TaskEnv:
    """CartPole-v1 at its nominal parameters, unless the task or settings say otherwise."""
    nominal: dict[str, Any] = {"horizon": 500, "hidden": "none", **NOMINAL}
    return TaskEnv(CartPole(**nominal | settings), task)


ENVIRONMENTS: dict[str, Callable[..., TaskEnv]] = {
    "metarl_exp/Navigation2D-v0": navigation_env,
    "metarl_exp/CartPole-v0": cartpole_env,
}


def register_all() -> None:
    """Make the environments known to `gymnasium.make`; again and again does no harm."""
    for name, entry_point in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point=entry_point)
