"""The agent that every published table begins with."""

import torch
from torch import Tensor

from metarl_exp.tasks.base import TaskDistribution


class Random:
    """Every action with the same probability, whatever happens."""

    def start(self, tasks: Tensor, distribution: TaskDistribution, episodes: int, generator: torch.Generator) -> None:
        self.actions, self.generator = distribution.spec.action_size, generator

    def act(self, observation: Tensor) -> Tensor:
        return torch.randint(self.actions, observation.shape[:1], generator=self.generator)

    def learn(self, observation: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor, ended: bool) -> None:
        pass
