"""The contract of a task distribution."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from metarl_exp.process.streams import draw
from metarl_exp.types import BatchedEnv, Spec, Trajectories


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
        """Environments of N tasks × M episodes; `generator` is the only source of their randomness.

        Drawn from by `streams.draw`, it gives several ranks the numbers of one process.
        """
        ...


class Traits(NamedTuple):
    """Optional statements of a distribution about itself: attributes of these names, each with its value if absent."""

    physics: str | None = None  # the variant of its dynamics, as part of the identity of its results
    libraries: Sequence[str] = ()  # that its numbers depend on, as package indices call them
    written_in: Sequence[str] = ()  # further modules whose changes make its results old
    without_effect: Sequence[str] = ()  # arguments of its class, said by the class, that change no number
    discrete: bool | None = None  # spec.discrete, said by the class for those who ask before it is made
    train_test_overlap: str | None = None  # why a test task may be one of training
    ends_at_horizon: str | None = None  # why the MDP ends with the last step, which is then no time limit
    sparse_reward: str | None = None  # why arbitrary actions may not tell tasks apart

    @classmethod
    def of(cls, distribution: Any) -> "Traits":
        """The traits of a distribution, or of its class."""
        return cls(*(getattr(distribution, name, default) for name, default in cls._field_defaults.items()))

    @classmethod
    def mistyped(cls, distribution: Any) -> dict[str, str]:
        """Attributes that are nearly called as a trait, each with its name."""
        names = [name for name in dir(distribution) if not name.startswith("_") and name not in cls._fields]
        close = {name: get_close_matches(name, cls._fields, n=1, cutoff=0.85) for name in names}
        return {name: found[0] for name, found in close.items() if found}


@runtime_checkable
class Closeable(Protocol):
    """A distribution that holds processes, threads or windows between two samplings."""

    def close(self) -> None:
        """Give them all back; the next `make_env` starts afresh."""
        ...


@runtime_checkable
class Rebuildable(Protocol):
    """A distribution that puts tasks into environments which are made already."""

    def rebuilt(self) -> "TaskDistribution | None":
        """Build environments that have the tasks' numbers from the start; None where that cannot be done.

        Where these answer otherwise, something was computed from a number before the task had changed it.
        """
        ...


@runtime_checkable
class Solvable(Protocol):
    """A distribution whose tasks can be solved exactly."""

    def optimal_returns(self, tasks: Tensor) -> Tensor:
        """Largest expected undiscounted return of an episode of each task, by a policy that knows it: [N], float64."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """A distribution whose episodes are trials: several episodes of a task, one after the other."""

    def episodes(self, trajectories: Trajectories) -> list[Trajectories]:
        """The first episode of each trial [N, M, T, …], the second, and so on: E batches of N × M episodes."""
        ...


@runtime_checkable
class DrawsPaths(Protocol):
    """A distribution whose paths can be drawn in a plane."""

    def positions(self, observations: Tensor) -> Tensor:
        """Where a path is: observations [..., S] → [..., 2]."""
        ...

    def landmarks(self, tasks: Tensor) -> Tensor:
        """Points that a drawing marks for each task, such as its goal: [N, 2]."""
        ...


class Episode(NamedTuple):
    """One episode of Trajectories as it happened, without padding; on the CPU."""

    observations: Tensor  # [T + 1, S] the last one is what followed the last step
    actions: Tensor  # [T, A], or [T] if discrete
    rewards: Tensor  # [T]

    @classmethod
    def of(cls, trajectories: Trajectories, task: int, trajectory: int) -> "Episode":
        """The episode at that place of a batch."""
        happened = trajectories.mask[task, trajectory]
        seen = trajectories.observations[task, trajectory][happened]
        final = trajectories.final_observations[task, trajectory]
        actions, rewards = (x[task, trajectory][happened].cpu() for x in (trajectories.actions, trajectories.rewards))
        return cls(torch.cat([seen, final[None]]).cpu(), actions, rewards)


@runtime_checkable
class DrawsFrames(Protocol):
    """A distribution whose episodes can be drawn, step by step."""

    def draw(self, axes: Any, task: Tensor, episode: Episode, step: int) -> None:
        """Draw an episode of a task (a row) as it stands after `step` of its T steps, 0 ≤ step ≤ T.

        `axes` are empty ones of matplotlib; only their methods are used. Their limits must not depend on `step`.
        """
        ...


def uniform(shape: tuple[int, ...], low: float | Tensor, high: float | Tensor, generator: torch.Generator) -> Tensor:
    """Uniform draws in [low, high), float64."""
    return low + (high - low) * draw(torch.rand, shape, generator, dtype=torch.float64)
