"""A task distribution whose every episode is a trial: E episodes of one task, for a policy that remembers them.

What a policy with memory adapts by is what it sees, so a trial shows it, beside each observation, its last action, the
last reward and whether an episode has just ended.  [duan2016rl2, Sec. 2.2]
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.types import BatchedEnv, Spec, Step, Trajectories
from metarl_exp.validation import require_integer


class Trials:
    """Another distribution with the same tasks and dynamics, in which E `episodes` of it are one.

    An observation is [S + A + 2]: the observation, the last action (one-hot if discrete), the last reward and whether
    the last step ended an episode; the last three are zero when a trial begins. A trial has at most E times the horizon
    of an episode, and ends with the last one: in a terminal state if that did.
    """

    def __init__(self, of: TaskDistribution, episodes: int) -> None:
        require_integer("trial_episodes", episodes, low=1)
        self.of, self.number, self.version, self.parameter_names = of, episodes, of.version, of.parameter_names
        self.sample, self.test_tasks = of.sample, of.test_tasks
        seen = of.spec.observation_size + of.spec.action_size + 2
        self.spec = of.spec._replace(observation_size=seen, horizon=episodes * of.spec.horizon)
        for name in ("close", "optimal_returns"):  # the latter of an episode, as returns are measured
            if hasattr(of, name):
                setattr(self, name, getattr(of, name))

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> BatchedEnv:
        # Made ahead, since a reset begins the same episode again.
        envs = [self.of.make_env(tasks, trajectories, generator, device) for _ in range(self.number)]
        return TrialEnv(envs, self.of.spec)

    def episodes(self, trajectories: Trajectories) -> list[Trajectories]:
        """The E batches of episodes that trials [N, M, T, …] are made of.

        What follows an episode's last step is what the next one begins with.
        """
        number = trajectories.observations[..., -1].cumsum(-1)  # [N, M, T] episodes that ended before this step
        return [trajectories.only(trajectories.mask & (number == episode)) for episode in range(self.number)]


class TrialEnv:
    """N × M trials at once, their k-th episodes in the k-th of E batches of environments.

    A trial whose episode is over is idle until those of all others are, since a batch can only be reset as a whole.
    """

    def __init__(self, envs: list[BatchedEnv], spec: Spec) -> None:
        self.envs, self.spec = envs, spec

    def reset(self) -> Tensor:
        observation = self._begin(0)
        self.last = observation.new_zeros(*observation.shape[:2], self.spec.action_size + 2)
        return self._with_last(observation)

    def _begin(self, episode: int) -> Tensor:
        self.episode, self.time = episode, 0
        observation = self.envs[episode].reset()
        self.over = torch.zeros(observation.shape[:2], dtype=torch.bool, device=observation.device)
        return observation

    def step(self, action: Tensor) -> Step:
        step = self.envs[self.episode].step(action)
        self.time += 1
        ended = step.terminal | step.truncated
        if self.time == self.spec.horizon:
            ended = torch.ones_like(ended)
        self._remember(action, step.reward, ended)
        self.over = self.over | ended
        if self.episode == len(self.envs) - 1:
            observation = self._with_last(step.observation)
            return step._replace(observation=observation, truncated=ended & ~step.terminal)
        goes_on = torch.zeros_like(ended)
        everyone = self.over.numel()
        over = everyone if self.time == self.spec.horizon else int(self.over.sum())  # the one number a GPU is asked for
        observation = self._begin(self.episode + 1) if over == everyone else step.observation
        return Step(
            self._with_last(observation),
            step.reward,
            goes_on,
            goes_on,
            step.success,
            idle=self.over if 0 < over < everyone else None,
        )

    def _remember(self, action: Tensor, reward: Tensor, ended: Tensor) -> None:
        """Keep action, reward and end of this step for the next observation; an idle trial keeps those of its last."""
        taken = one_hot(action, self.spec.action_size) if self.spec.discrete else action
        told = [taken, reward.unsqueeze(-1), ended.unsqueeze(-1)]
        now = torch.cat([x.to(self.last.dtype) for x in told], dim=-1)
        self.last = torch.where(self.over.unsqueeze(-1), self.last, now)

    def _with_last(self, observation: Tensor) -> Tensor:
        return torch.cat([observation, self.last.to(observation.dtype)], dim=-1)
