"""Navigation with sparse rewards: a point is paid near a goal only, and has to find out where that is.

The state starts at the origin and moves by the action, at most `max_move` along each axis. The reward is 1 at the goal
and falls linearly to 0 at the distance `radius`, so that elsewhere nothing tells where to go: a policy that adapts well
has explored before. An episode lasts `horizon` steps, and is a success if the point comes within half of the radius.
"""

import math
from typing import Any

import torch
from torch import Tensor

from metarl_exp.tasks.base import Episode, uniform
from metarl_exp.tasks.navigation_2d import draw_path
from metarl_exp.types import Spec, Step
from metarl_exp.validation import require_integer, require_number


class SparseGoals:
    """Base of both distributions; S = A = 2. A policy's output in [−1, 1] is stretched onto the moves and clipped."""

    version = 1
    discrete = False
    parameter_names: tuple[str, ...] = ("goal_x", "goal_y")
    sparse_reward = "only what comes near a goal is paid"

    def __init__(self, horizon: int, radius: float, max_move: float, extent: float) -> None:
        require_integer("tasks.horizon", horizon, low=1)
        require_number("tasks.radius", radius, above=0)
        require_number("tasks.max_move", max_move, above=0)
        self.spec = Spec(observation_size=2, action_size=2, discrete=self.discrete, horizon=horizon)
        self.radius, self.max_move, self.extent = radius, max_move, extent

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> "SparseNavigationEnv":
        goals = tasks.to(device, torch.float32).unsqueeze(1).expand(-1, trajectories, -1)
        return SparseNavigationEnv(goals, self.radius, self.max_move)

    def positions(self, observations: Tensor) -> Tensor:
        """Where in the plane a path is drawn: [..., S] → [..., 2]."""
        return observations

    def landmarks(self, tasks: Tensor) -> Tensor:
        """Goal of each task, which a drawing marks, [N, 2]."""
        return tasks

    def draw(self, axes: Any, task: Tensor, episode: Episode, step: int) -> None:
        """The path so far, from the black dot; the star is the goal, the circle where it pays."""
        angles = torch.linspace(0, 2 * math.pi, 100)
        circle = task[:, None] + self.radius * torch.stack([angles.cos(), angles.sin()])
        axes.plot(*circle, color="0.75", linewidth=0.8, linestyle=":")
        draw_path(axes, self.positions(episode.observations), step, task, self.extent + self.radius)


class HalfCircle(SparseGoals):
    """Goals uniform on the upper half of a circle of radius `distance` around the start."""

    def __init__(self, horizon: int, distance: float, radius: float, max_move: float) -> None:
        require_number("tasks.distance", distance, above=0)
        super().__init__(horizon, radius, max_move, extent=distance)

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        angle = uniform((num_tasks, 1), 0.0, math.pi, generator)
        return self.extent * torch.cat([angle.cos(), angle.sin()], dim=1)

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.sample(num_tasks, generator)


class FourCorners(SparseGoals):
    """The goal is one of the corners (± `corner`, ± `corner`), each as likely.  [rothfuss2019promp, Sec. 6.3]

    Test tasks go through the corners in turn.
    """

    train_test_overlap = "there are four tasks, one for each corner: test tasks are those that are trained on"

    def __init__(self, horizon: int, corner: float, radius: float, max_move: float) -> None:
        require_number("tasks.corner", corner, above=0)
        super().__init__(horizon, radius, max_move, extent=corner)

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.extent * (1 - 2 * uniform((num_tasks, 2), 0.0, 2.0, generator).floor())

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        corners = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]], dtype=torch.float64)
        return self.extent * corners[torch.arange(num_tasks) % 4]


class SparseNavigationEnv:
    """N × M points at once, each paid near its goal [N, M, 2]; what a policy sees is the whole state."""

    def __init__(self, goals: Tensor, radius: float, max_move: float) -> None:
        self.goals, self.radius, self.max_move = goals, radius, max_move

    def reset(self) -> Tensor:
        self.position = torch.zeros_like(self.goals)
        return self.position

    def step(self, action: Tensor) -> Step:
        self.position = self.position + self.max_move * action.clamp(-1, 1)
        distance = (self.position - self.goals).square().sum(-1).sqrt()
        reward = (1 - distance / self.radius).clamp(min=0)
        never = torch.zeros_like(distance, dtype=torch.bool)
        return Step(self.position, reward, never, never, success=distance < self.radius / 2)
