"""The contract of an agent that learns a task by itself, and the loop in which it plays.

Legend: **I** instances (tasks, each played once by an agent of its own), all of them at once · **S** observation ·
**A** action · **P** task parameters. An agent's every tensor has the instance axis first, and no instance sees another.
"""

from typing import Protocol

import torch
from torch import Tensor

from metarl_exp.tasks.base import TaskDistribution


class Agent(Protocol):
    """Learns from rewards without gradients; hyper-parameters are its constructor's arguments."""

    def start(self, tasks: Tensor, distribution: TaskDistribution, episodes: int, generator: torch.Generator) -> None:
        """Forget everything; `episodes` episodes of each of the tasks [I, P] will follow.

        Only an oracle reads what is in the tasks; others use their number and `distribution.spec`. `generator` is the
        only source of the agent's own randomness.
        """
        ...

    def act(self, observation: Tensor) -> Tensor:
        """Actions [I] for observations [I, S]."""
        ...

    def learn(self, observation: Tensor, action: Tensor, reward: Tensor, next_observation: Tensor, ended: bool) -> None:
        """One step of every instance: [I, S], [I], [I], [I, S]; `ended`: it was the episode's last."""
        ...


@torch.no_grad()
def play(
    agent: Agent,
    distribution: TaskDistribution,
    tasks: Tensor,
    episodes: int,
    actions: torch.Generator,
    environment: torch.Generator,
) -> Tensor:
    """Return of each of `episodes` episodes of `horizon` steps, [I, episodes], float64.

    The environments are those that policies train on; `actions` and `environment` generate the agent's and their
    randomness. Raises ValueError if an episode ends before its horizon, since an agent here has no notion of that.
    """
    horizon, returns = distribution.spec.horizon, torch.zeros(len(tasks), episodes, dtype=torch.float64)
    agent.start(tasks, distribution, episodes, actions)
    for episode in range(episodes):
        env = distribution.make_env(tasks, 1, environment, torch.device("cpu"))
        observation = env.reset()[:, 0]
        for t in range(horizon):
            action = agent.act(observation)
            step = env.step(action[:, None])
            ended, reward, following = t == horizon - 1, step.reward[:, 0], step.observation[:, 0]
            if not ended and (step.terminal | step.truncated).any():
                raise ValueError(f"an episode ended at step {t} of {horizon}: agents play episodes of full length")
            agent.learn(observation, action, reward, following, ended)
            returns[:, episode] += reward
            observation = following
    return returns
