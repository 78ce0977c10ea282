"""Goals of a robot's tasks: the numbers in which they differ, and their rewards."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from metarl_exp.tasks.base import uniform
from metarl_exp.validation import require_choice, require_number, require_range


class Motion(NamedTuple):
    """How the robots move."""

    place: np.ndarray  # [B, 2] where they are, m: x and y, or x and z of a robot in the plane
    speed: np.ndarray  # [B] along x, m/s


class Goal(Protocol):
    """One kind of tasks. A task is a row of numbers, `parameter_names` says which."""

    parameter_names: tuple[str, ...]

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        """Draw tasks: [N, task parameters], float64."""
        ...

    def published(self, num_tasks: int) -> Tensor | None:
        """The first test tasks of the MAML paper, [N, task parameters]; None if it has no such tasks."""
        ...

    def reward(self, motion: Motion, task: np.ndarray) -> np.ndarray:
        """Reward in place of the forward reward, [B]; the episodes' tasks are `task` [B, task parameters]."""
        ...

    def models(self, model: Any, tasks: Tensor) -> list[Any]:
        """The MjModel of each task, [N]."""
        ...

    def place(self, task: np.ndarray) -> np.ndarray | None:
        """Where on the ground one task wants the robot to be: (x, y), or None for anywhere."""
        ...


class Direction:
    """Run ahead (+1) or, with probability `backward`, back (−1); the reward is the speed that way."""

    parameter_names: tuple[str, ...] = ("direction",)

    def __init__(self, backward: float = 0.5) -> None:
        require_number("tasks.backward", backward, low=0, high=1)
        self.backward = backward

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return _sign(uniform((num_tasks, 1), 0.0, 1.0, generator), self.backward)

    def published(self, num_tasks: int) -> Tensor:
        """Signs of numpy's legacy uniform draws with seed 1, below and above the middle of their range.

        [finn2017maml, code and raw results]: 22 of the first 40 point back. The range there is [0, 2] for the cheetah
        and [0, 3] for the ant, which makes no difference to the sign.
        """
        return _sign(torch.from_numpy(np.random.RandomState(1).uniform(size=(num_tasks, 1))), 0.5)

    def reward(self, motion: Motion, task: np.ndarray) -> np.ndarray:
        return task[:, 0] * motion.speed

    def models(self, model: Any, tasks: Tensor) -> list[Any]:
        return [model] * len(tasks)

    def place(self, task: np.ndarray) -> None:
        """Anywhere."""


def _sign(draw: Tensor, backward: float) -> Tensor:
    """−1 for draws from [0, 1) below `backward`, else +1."""
    return torch.where(draw < backward, -1.0, 1.0).double()


class Velocity:
    """Run at a velocity g, uniform in [low, high] m/s; the reward is bonus − |speed − g|."""

    parameter_names: tuple[str, ...] = ("velocity",)

    def __init__(self, velocity: Sequence[float], bonus: float) -> None:
        require_range("tasks.velocity", velocity)
        require_number("tasks.bonus", bonus)
        self.low, self.high = map(float, velocity)
        self.bonus = bonus

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return uniform((num_tasks, 1), self.low, self.high, generator)

    def published(self, num_tasks: int) -> Tensor:
        """numpy's legacy uniform draws with seed 1 [finn2017maml, code and raw results]."""
        return torch.from_numpy(np.random.RandomState(1).uniform(self.low, self.high, (num_tasks, 1)))

    def reward(self, motion: Motion, task: np.ndarray) -> np.ndarray:
        return self.bonus - abs(motion.speed - task[:, 0])

    def models(self, model: Any, tasks: Tensor) -> list[Any]:
        return [model] * len(tasks)

    def place(self, task: np.ndarray) -> None:
        """Anywhere."""


class Position:
    """Go to a place on the ground and stay there; the reward is bonus − the L1 distance to it.

    `region` is where goals are uniform: the `square` [−extent, extent]², or the `disc` of radius `extent`, m.
    """

    parameter_names: tuple[str, ...] = ("goal_x", "goal_y")

    def __init__(self, region: str, extent: float, bonus: float) -> None:
        require_choice("tasks.region", region, ["square", "disc"])
        require_number("tasks.extent", extent, above=0)
        require_number("tasks.bonus", bonus)
        self.region, self.extent, self.bonus = region, extent, bonus

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        draws = uniform((num_tasks, 2), 0.0, 1.0, generator)
        if self.region == "square":
            return self.extent * (2 * draws - 1)
        radius, angle = self.extent * draws[:, 0].sqrt(), 2 * math.pi * draws[:, 1]
        return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)

    def published(self, num_tasks: int) -> None:
        """There is no number that a list of goals would belong to."""

    def reward(self, motion: Motion, task: np.ndarray) -> np.ndarray:
        return self.bonus - np.abs(motion.place - task).sum(-1)

    def models(self, model: Any, tasks: Tensor) -> list[Any]:
        return [model] * len(tasks)

    def place(self, task: np.ndarray) -> np.ndarray:
        return task
