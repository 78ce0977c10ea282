"""2D navigation: a point in the plane has to reach a goal that it does not observe.  [finn2017maml, Sec. 5.3]

In the form of the code that produced the published numbers: the state starts at the origin and moves by the action,
at most 0.1 along each axis; the reward is minus the Euclidean distance to the goal after the move (the paper's text
says squared; its raw results say plain); the episode ends when both coordinates are within 0.01 of the goal.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl_exp.tasks.base import Episode, uniform
from metarl_exp.types import Spec, Step
from metarl_exp.validation import require_choice, require_flag, require_integer

MAX_MOVE = 0.1  # [finn2017maml, Sec. 5.3]
TOLERANCE = 0.01
EXTENT = 0.5  # goals (and varying starts) are uniform in [−0.5, 0.5]²


class Navigation2D:
    """Goals uniform in [−0.5, 0.5]²; S = A = 2.

    `action_map` says what a policy's output means: `scaled`, that [−1, 1] is stretched onto the legal moves and then
    clipped, as published; `clipped`, that the output itself is clipped to ±0.1, as in much later code, where a
    unit-variance policy saturates and the random policy's return falls from about −80 to about −100.
    `varying_start` draws a start for each task as well.  [li2017metasgd, Sec. 4.3]
    """

    version = 1
    discrete = False

    def __init__(self, horizon: int, action_map: str, varying_start: bool) -> None:
        require_integer("tasks.horizon", horizon, low=1)
        require_choice("tasks.action_map", action_map, ["scaled", "clipped"])
        require_flag("tasks.varying_start", varying_start)
        self.spec = Spec(observation_size=2, action_size=2, discrete=self.discrete, horizon=horizon)
        self.action_scale = MAX_MOVE if action_map == "scaled" else 1.0
        self.varying_start = varying_start
        self.parameter_names: tuple[str, ...] = ("goal_x", "goal_y") + (("start_x", "start_y") if varying_start else ())

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return uniform((num_tasks, len(self.parameter_names)), -EXTENT, EXTENT, generator)

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        """The paper's goals: the first rows of numpy's legacy uniform(−0.5, 0.5) with seed 1 (it used 40).

        Recovered from the raw results, whose returns before adaptation correlate with −|goal| at 0.9996 in this
        order. With a varying start, for which no list is known, tasks are drawn.
        """
        if self.varying_start:
            return self.sample(num_tasks, generator)
        return torch.from_numpy(np.random.RandomState(1).uniform(-EXTENT, EXTENT, (num_tasks, 2)))

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> "NavigationEnv":
        rows = tasks.to(device, torch.float32).unsqueeze(1).expand(-1, trajectories, -1)
        start = rows[..., 2:4] if self.varying_start else torch.zeros_like(rows[..., :2])
        return NavigationEnv(rows[..., :2], start, self.action_scale)

    def positions(self, observations: Tensor) -> Tensor:
        """Where in the plane a path is drawn: [..., S] → [..., 2]."""
        return observations

    def landmarks(self, tasks: Tensor) -> Tensor:
        """Goal of each task, which a drawing marks, [N, 2]."""
        return tasks[:, :2]

    def draw(self, axes: Any, task: Tensor, episode: Episode, step: int) -> None:
        """The path so far, from the black dot; the star is the goal, the square where goals can be."""
        square = torch.tensor([-1.0, 1.0, 1.0, -1.0, -1.0]) * EXTENT
        axes.plot(square, square.roll(1), color="0.75", linewidth=0.8, linestyle=":")
        draw_path(axes, self.positions(episode.observations), step, task[:2], 1.6 * EXTENT)


def draw_path(axes: Any, path: Tensor, step: int, goal: Tensor, extent: float) -> None:
    """The first steps of a path [T + 1, 2], from a black dot, and its goal, a star; axes to ± `extent` at least."""
    axes.plot(*path[: step + 1].T, color="C0", linewidth=1, alpha=0.4)
    axes.plot(*path[max(0, step - 10) : step + 1].T, color="C0", linewidth=1.6)
    axes.plot(*path[0], marker="o", markersize=5, color="black")
    axes.plot(*goal, marker="*", markersize=13, color="black")
    axes.plot(*path[step], marker="o", markersize=7, color="C3")
    limit = max(extent, 1.1 * path.abs().max().item())
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])


class NavigationEnv:
    """N × M points at once; what a policy sees is the whole state."""

    def __init__(self, goals: Tensor, start: Tensor, action_scale: float) -> None:
        self.goals, self.start, self.action_scale = goals, start, action_scale  # [N, M, 2] ×2

    def reset(self) -> Tensor:
        self.position = self.start
        return self.position

    def step(self, action: Tensor) -> Step:
        self.position = self.position + (action * self.action_scale).clamp(-MAX_MOVE, MAX_MOVE)
        offset = self.position - self.goals
        reward = -offset.square().sum(-1).sqrt()
        terminal = (offset.abs() < TOLERANCE).all(-1)
        return Step(self.position, reward, terminal, torch.zeros_like(terminal), success=terminal)
