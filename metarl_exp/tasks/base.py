"""The contract of a task distribution."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from metarl_exp.types import BatchedEnv, Spec


class TaskDistribution(Protocol):
    """p(τ). A task is data, one row of `sample`, and never a mode that an environment is in."""

    spec: Spec
    parameter_names: tuple[str, ...]  # what the columns of a task are
    version: int  # rises when the same task would give other numbers

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        """Draw tasks for training or validation: [N, task parameters], float64, on the CPU."""
        ...

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        """The tasks that tables are made of; a published list where there is one, else drawn like any other."""
        ...

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> BatchedEnv:
        """Environments of N tasks × M episodes; `generator` is the only source of their randomness."""
        ...


@runtime_checkable
class Closeable(Protocol):
    """What a distribution adds that holds processes, threads or windows between two samplings."""

    def close(self) -> None:
        """Give them all back; the next `make_env` starts afresh."""
        ...


@runtime_checkable
class Drawable(Protocol):
    """What a distribution adds whose paths can be drawn in a plane."""

    def positions(self, observations: Tensor) -> Tensor:
        """Where a path is: observations [..., S] → [..., 2]."""
        ...

    def landmarks(self, tasks: Tensor) -> Tensor:
        """What a drawing marks for each task, such as its goal: [N, 2]."""
        ...


def uniform(shape: tuple[int, ...], low: float | Tensor, high: float | Tensor, generator: torch.Generator) -> Tensor:
    """Uniform draws in [low, high), float64."""
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)
