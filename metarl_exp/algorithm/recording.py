"""From the steps of N × M episodes, as they happen, to Trajectories: which steps count, and when all is over."""

import torch
from torch import Tensor

from metarl_exp.types import Step, Trajectories, after_last, zero_where

# Steps between two looks at whether all episodes are over, on a GPU: each look makes the CPU wait for it. ours
LOOK_EVERY = 16


class Recording:
    """Steps of N × M episodes since their first `observation` [N, M, S], in its precision.

    idle: [N, M] bool, the episodes that the next step is none of; None if it is one of all. over: all have ended, as
    far as was looked.
    """

    def __init__(self, observation: Tensor) -> None:
        self.observation, self.idle, self.over = observation, None, False
        self.alive = torch.ones(observation.shape[:2], dtype=torch.bool, device=observation.device)
        self.look_every = 1 if observation.device.type == "cpu" else LOOK_EVERY
        self.gaps = self.look_every > 1  # whether there may be steps that count for no episode
        self.steps: list[tuple[Tensor, ...]] = []
        self.successes: list[Tensor] = []

    def add(self, action: Tensor, step: Step) -> None:
        """Record an action and its step, and go on to the next observation."""
        dtype = self.observation.dtype
        happened = self.alive if self.idle is None else self.alive & ~self.idle
        self.steps.append((self.observation, action, step.reward.to(dtype), step.terminal, happened))
        if step.success is not None:
            self.successes.append(step.success & happened)
        self.observation, self.idle = step.observation.to(dtype), step.idle
        self.gaps = self.gaps or step.idle is not None
        ended = step.terminal | step.truncated
        if self.look_every > 1 or ended.any():
            self.alive = self.alive & ~ended
            self.over = len(self.steps) % self.look_every == 0 and not self.alive.any()

    def trajectories(self) -> Trajectories:
        """All that was recorded: [N, M, T, …], without the steps in which an episode was idle."""
        observations, actions, rewards, terminal, mask = (torch.stack(x, dim=2) for x in zip(*self.steps, strict=True))
        seen = torch.cat([observations, self.observation.unsqueeze(2)], dim=2)
        trajectories = Trajectories(
            zero_where(~mask, observations),
            zero_where(~mask, actions),
            zero_where(~mask, rewards),
            terminal & mask,
            mask,
            final_observations=seen.gather(2, after_last(mask, seen)).squeeze(2),
            success=torch.stack(self.successes, dim=2) if self.successes else None,
        )
        return trajectories.only(mask) if self.gaps else trajectories
