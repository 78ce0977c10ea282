"""A task distribution whose policy is told the task: what adaptation could at best make up for not knowing."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.types import BatchedEnv, Step

# What a distribution may have beside the contract, and which holds whether or not the policy sees the task.
KEPT = ("close", "optimal_returns", "landmarks")


class Oracle:
    """Another distribution with the same tasks and dynamics, in which an observation ends with the task: S + F.

    What is seen of a task is its row (F task parameters), or what `description` gives for it, where a row is but a
    key.
    """

    def __init__(self, of: TaskDistribution) -> None:
        self.of, self.version, self.parameter_names = of, of.version, of.parameter_names
        self.sample, self.test_tasks = of.sample, of.test_tasks
        self.description = getattr(of, "description", lambda tasks: tasks)
        features = self.description(of.sample(1, torch.Generator().manual_seed(0))).shape[1]
        self.spec = of.spec._replace(observation_size=of.spec.observation_size + features)
        for name in KEPT:
            if hasattr(of, name):
                setattr(self, name, getattr(of, name))
        if hasattr(of, "positions"):
            self.positions = lambda observations: of.positions(observations[..., :-features])  # type: ignore[attr-defined]

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> BatchedEnv:
        env = self.of.make_env(tasks, trajectories, generator, device)
        seen = self.description(tasks).to(device, torch.float32)  # [N, F]
        return InformedEnv(env, seen.unsqueeze(1).expand(-1, trajectories, -1))


class InformedEnv:
    """Environments whose every observation [N, M, S] is followed by what is `known` of the task [N, M, F]."""

    def __init__(self, env: BatchedEnv, known: Tensor) -> None:
        self.env, self.known = env, known

    def reset(self) -> Tensor:
        return self._informed(self.env.reset())

    def step(self, action: Tensor) -> Step:
        step = self.env.step(action)
        return step._replace(observation=self._informed(step.observation))

    def _informed(self, observation: Tensor) -> Tensor:
        return torch.cat([observation, self.known.to(observation.dtype)], dim=-1)
