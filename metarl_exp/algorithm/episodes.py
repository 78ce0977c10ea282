"""Batches of episodes: joined, divided into those of trials, and measured."""

import torch
from torch import Tensor

from metarl_exp.tasks.base import Divisible, TaskDistribution
from metarl_exp.types import Trajectories


def join_episodes(episodes: list[Trajectories], dim: int = 1) -> Trajectories:
    """Batches of episodes as one: of the same tasks (dim 1), [N, ΣM, T, …], or of others (dim 0), [ΣN, M, T, …]."""
    longest = max(episode.mask.shape[2] for episode in episodes)

    def padded(x: Tensor) -> Tensor:
        missing = longest - x.shape[2]
        return torch.cat([x, x.new_zeros(*x.shape[:2], missing, *x.shape[3:])], dim=2) if missing else x

    fields = {
        name: torch.cat([padded(getattr(episode, name)) for episode in episodes], dim=dim)
        for name in Trajectories._fields
        if name != "final_observations" and getattr(episodes[0], name) is not None
    }
    return Trajectories(**fields, final_observations=torch.cat([e.final_observations for e in episodes], dim=dim))


def episodes_of(distribution: TaskDistribution, trajectories: Trajectories) -> list[Trajectories]:
    """Batches that returns are measured on: the E episodes of trials, or the trajectories as they are."""
    return distribution.episodes(trajectories) if isinstance(distribution, Divisible) else [trajectories]


def mean_returns(measured: list[Trajectories]) -> Tensor:
    """Mean undiscounted return of each task in each of some batches of episodes: [N, len(measured)]."""
    return torch.stack([trajectories.returns().mean(1) for trajectories in measured], dim=1).cpu()


def success_rates(measured: list[Trajectories]) -> Tensor | None:
    """Share of each task's episodes that reached its goal, [N, len(measured)]; None if the tasks have no such thing."""
    rates = [t.success.any(-1).double().mean(1) for t in measured if t.success is not None]
    return torch.stack(rates, dim=1).cpu() if rates else None
