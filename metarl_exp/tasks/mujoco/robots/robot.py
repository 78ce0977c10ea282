"""A robot as data and functions, the noise that it starts with, and a robot that is loaded, with its engines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl_exp.process.streams import draw
from metarl_exp.tasks.base import uniform
from metarl_exp.tasks.mujoco import models
from metarl_exp.tasks.mujoco.engines import Engine, Episodes
from metarl_exp.tasks.mujoco.goals import Motion
from metarl_exp.validation import require_choice, require_extra

CONES = ("pyramidal", "elliptic")  # in the order of MuJoCo's mjtCone, whose default is the first
Noise = Callable[[int, int, torch.Generator], Tensor]  # episodes, numbers, generator → [episodes, numbers]


def uniform_noise(scale: float) -> Noise:
    """Uniform in ± scale."""
    return lambda episodes, size, generator: uniform((episodes, size), -scale, scale, generator)


def normal_noise(scale: float) -> Noise:
    """Normal with standard deviation `scale`."""
    return lambda episodes, size, generator: scale * draw(torch.randn, (episodes, size), generator, dtype=torch.float64)


def never_falls(episodes: Episodes) -> np.ndarray:
    """Healthy whatever happens."""
    return np.ones(len(episodes.state), dtype=bool)


@dataclass(frozen=True)
class Robot:
    """A robot in one physics setting; functions are over B episodes.

    Those of a robot that `Rollouts` steps and that never falls take torch's arrays too, as Warp has them.

    reward = (forward_weight · forward + alive_bonus + healthy_bonus · healthy) − (control_weight · |control|² + contact
    cost), where `forward` is what the task's goal pays.
    """

    asset: str
    frame_skip: int  # time steps an action
    engine: Callable[[ModuleType, Any, int], Engine]
    position_noise: Noise  # added to the model's qpos at the start
    velocity_noise: Noise  # added to zero
    observe: Callable[[Episodes], np.ndarray]  # → [B, S], float32
    motion: Callable[[Episodes, Motion | None, float], Motion]  # of now, what it was before, seconds between
    control_weight: float
    forward_weight: float = 1.0
    contact_cost: Callable[[Episodes], Any] = lambda e: 0.0  # → [B], or one number
    healthy: Callable[[Episodes], np.ndarray] = never_falls  # → [B], or it ends
    alive_bonus: float = 0.0  # for every step
    healthy_bonus: float = 0.0  # for a step after which the robot is healthy
    edit: Callable[[Any], None] = lambda model: None  # what differs from the file
    first_pose: Callable[[Any], np.ndarray] = lambda model: model.qpos0  # → [nq]

    def start(self, model: Any, episodes: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """First qpos and qvel, [episodes, nq] and [episodes, nv]."""
        noise = self.position_noise(episodes, model.nq, generator).numpy()
        return self.first_pose(model) + noise, self.velocity_noise(episodes, model.nv, generator).numpy()

    def reward(self, episodes: Episodes, forward: np.ndarray, control: np.ndarray, healthy: Any) -> np.ndarray:
        """[B], as above, of goals' payments `forward` [B] and control [B, nu]; `healthy` is [B] or the same for all."""
        bonus = self.alive_bonus + self.healthy_bonus * healthy
        cost = self.control_weight * (control**2).sum(-1) + self.contact_cost(episodes)
        return self.forward_weight * forward + bonus - cost


class Machine:
    """A robot that is loaded: its model, its engine and the range of its controls.

    `cone` is the friction cone of contacts.

    Raises ValueError for a physics setting that the robot does not have, ModuleNotFoundError without MuJoCo.
    """

    def __init__(self, name: str, settings: Mapping[str, Robot], physics: str, cone: str = CONES[0]) -> None:
        require_choice("tasks.physics", physics, settings)
        require_choice("tasks.cone", cone, CONES)
        mujoco = require_extra("mujoco", "mujoco", f"tasks={name}_…")
        require_extra("mujoco.rollout", "mujoco", f"tasks={name}_…")
        self.physics, self.robot = physics, settings[physics]
        self.mujoco, self.model = mujoco, models.load(mujoco, self.robot.asset)
        self.robot.edit(self.model)
        self.model.opt.cone = CONES.index(cone)
        self.engine, *self.halves = (self.robot.engine(mujoco, self.model, self.robot.frame_skip) for _ in range(3))
        self.seconds = self.model.opt.timestep * self.robot.frame_skip  # between two actions
        low, high = self.model.actuator_ctrlrange.T
        self.control_centre, self.control_scale = (low + high) / 2, (high - low) / 2

    def close(self) -> None:
        """End all threads."""
        for engine in (self.engine, *self.halves):
            engine.close()
