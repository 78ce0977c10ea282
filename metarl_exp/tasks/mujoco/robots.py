"""The robots, in the physics settings they exist in: a model, its engine, and how it is started, seen and paid.

`gymnasium` is Gymnasium's v5 environment at its default arguments. `rllab` is what the MAML paper's code ran
[finn2017maml, code], rllab's environments with MuJoCo's contacts of today: one time step an action, the true velocity
of the centre of mass instead of a position's difference, and an observation that shows where that centre is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl_exp.tasks.base import uniform
from metarl_exp.tasks.extras import require_extra
from metarl_exp.tasks.mujoco import models
from metarl_exp.tasks.mujoco.engines import Engine, Episodes, Rollouts
from metarl_exp.tasks.mujoco.goals import Motion
from metarl_exp.validation import require_choice

Noise = Callable[[int, int, torch.Generator], Tensor]  # episodes, numbers, generator → [episodes, numbers]


def uniform_noise(scale: float) -> Noise:
    """Uniform in ± scale."""
    return lambda episodes, size, generator: uniform((episodes, size), -scale, scale, generator)


def normal_noise(scale: float) -> Noise:
    """Normal with standard deviation `scale`."""
    return lambda episodes, size, generator: (
        scale * torch.randn(episodes, size, generator=generator, dtype=torch.float64)
    )


@dataclass(frozen=True)
class Robot:
    """A robot in one physics setting; functions are over B episodes.

    reward = (forward_weight · forward + survival) − (control_weight · |control|² + contact cost)
    """

    asset: str
    frame_skip: int  # time steps an action
    engine: Callable[[ModuleType, Any, int], Engine]
    position_noise: Noise  # added to the model's qpos at the start
    velocity_noise: Noise  # added to zero
    observe: Callable[[Episodes], np.ndarray]  # → [B, S]
    motion: Callable[[Episodes, Motion | None, float], Motion]  # of now, what it was before, seconds between
    control_weight: float
    forward_weight: float = 1.0
    healthy: Callable[[Episodes], np.ndarray] | None = None  # → [B]: the others' episodes end; None: none does

    def start(self, model: Any, episodes: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """First qpos and qvel, [episodes, nq] and [episodes, nv]."""
        qpos = self.position_noise(episodes, model.nq, generator).numpy()
        return model.qpos0 + qpos, self.velocity_noise(episodes, model.nv, generator).numpy()


class Machine:
    """A robot that is loaded: its model, its engine and the range of its controls."""

    def __init__(self, name: str, settings: Mapping[str, Robot], physics: str) -> None:
        require_choice("tasks.physics", physics, settings)
        mujoco = require_extra("mujoco", "mujoco", f"tasks={name}_…")
        require_extra("mujoco.rollout", "mujoco", f"tasks={name}_…")
        self.physics, self.robot = physics, settings[physics]
        self.model = models.load(mujoco, self.robot.asset)
        self.engine = self.robot.engine(mujoco, self.model, self.robot.frame_skip)
        self.seconds = self.model.opt.timestep * self.robot.frame_skip  # between two actions
        low, high = self.model.actuator_ctrlrange.T
        self.control_centre, self.control_scale = (low + high) / 2, (high - low) / 2


def place_of_root(episodes: Episodes, before: Motion | None, seconds: float) -> Motion:
    """A planar robot's root, its speed as the difference of two positions."""
    x = episodes.qpos[:, 0]
    speed = np.zeros_like(x) if before is None else (x - before.place[:, 0]) / seconds
    return Motion(np.stack([x, np.zeros_like(x)], axis=1), speed)


def centre_of_mass(episodes: Episodes, before: Motion | None, seconds: float) -> Motion:
    """The whole robot's centre of mass and its velocity."""
    return Motion(episodes["mass_centre"][:, :2], episodes["mass_velocity"][:, 0])


HALF_CHEETAH = {
    "gymnasium": Robot(
        asset="half_cheetah.xml",
        frame_skip=5,
        engine=Rollouts,
        position_noise=uniform_noise(0.1),
        velocity_noise=normal_noise(0.1),
        observe=lambda e: np.concatenate([e.qpos[:, 1:], e.qvel], axis=1),
        motion=place_of_root,
        control_weight=0.1,
    ),
    "rllab": Robot(
        asset="half_cheetah.xml",
        frame_skip=1,
        engine=partial(Rollouts, derive=models.PlanarTree),
        position_noise=normal_noise(0.01),
        velocity_noise=normal_noise(0.1),
        observe=lambda e: np.concatenate([e.qpos[:, 1:], e.qvel, e["mass_centre"]], axis=1),
        motion=centre_of_mass,
        control_weight=0.05,
    ),
}
