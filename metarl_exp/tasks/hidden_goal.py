"""MiniGrid rooms whose goal is where the task says, and is not seen: the game has to be learned anew in each task."""

from typing import Any

import gymnasium
import numpy as np


class HiddenGoal(gymnasium.Wrapper[np.ndarray, Any, Any, Any]):
    """Moves the goal of a MiniGrid room to (`goal_x`, `goal_y`), counted from 1 behind the upper left wall.

    What is observed is where the agent is and which way it looks, (x, y, direction) as a MultiDiscrete. Actions are
    the three moves: turn left, turn right, go forward. Rewards and ends are MiniGrid's: at the goal
    1 − 0.9 · steps / max_steps, otherwise 0. The goal is a parameter of the task.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.room: Any = env.unwrapped
        self.observation_space = gymnasium.spaces.MultiDiscrete([self.room.width - 2, self.room.height - 2, 4])
        self.action_space = gymnasium.spaces.Discrete(3)

    def apply_task(self, parameters: dict[str, Any]) -> None:
        self.place = int(parameters["goal_x"]), int(parameters["goal_y"])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        _, info = self.env.reset(seed=seed, options=options)
        grid = self.room.grid
        (goal,) = [i for i, thing in enumerate(grid.grid) if thing is not None and thing.type == "goal"]
        grid.grid[goal], there = None, grid.grid[goal]
        grid.set(*self.place, there)
        return self._observation(), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        _, reward, terminal, truncated, info = self.env.step(action)
        return self._observation(), float(reward), terminal, truncated, info | {"is_success": terminal}

    def _observation(self) -> np.ndarray:
        x, y = self.room.agent_pos
        return np.array([x - 1, y - 1, self.room.agent_dir])
