"""The robots, in the physics settings they exist in: a model, its engine, and how it is started, seen and paid.

`gymnasium` is Gymnasium's v5 environment at its default arguments. `rllab` is what the MAML paper's code ran
[finn2017maml, code], rllab's environments with MuJoCo's contacts of today: one time step an action, the true velocity
of the centre of mass instead of a position's difference, and an observation that shows where that centre is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl_exp.process.streams import draw
from metarl_exp.tasks.base import uniform
from metarl_exp.tasks.extras import require_extra
from metarl_exp.tasks.mujoco import models
from metarl_exp.tasks.mujoco.engines import Engine, Episodes, Rollouts, Threads
from metarl_exp.tasks.mujoco.goals import Motion
from metarl_exp.validation import require_choice

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

    Raises ValueError for a physics setting that the robot does not have, ModuleNotFoundError without MuJoCo.
    """

    def __init__(self, name: str, settings: Mapping[str, Robot], physics: str) -> None:
        require_choice("tasks.physics", physics, settings)
        mujoco = require_extra("mujoco", "mujoco", f"tasks={name}_…")
        require_extra("mujoco.rollout", "mujoco", f"tasks={name}_…")
        self.physics, self.robot = physics, settings[physics]
        self.mujoco, self.model = mujoco, models.load(mujoco, self.robot.asset)
        self.robot.edit(self.model)
        self.engine, *self.halves = (self.robot.engine(mujoco, self.model, self.robot.frame_skip) for _ in range(3))
        self.seconds = self.model.opt.timestep * self.robot.frame_skip  # between two actions
        low, high = self.model.actuator_ctrlrange.T
        self.control_centre, self.control_scale = (low + high) / 2, (high - low) / 2

    def close(self) -> None:
        """End all threads."""
        for engine in (self.engine, *self.halves):
            engine.close()


def displaced(place: Any, before: Motion | None, seconds: float) -> Motion:
    """The speed as the difference of two places [B, 2], as Gymnasium has it; zero at the start."""
    place = place.clone() if isinstance(place, Tensor) else np.array(place)
    speed = 0.0 * place[:, 0] if before is None else (place[:, 0] - before.place[:, 0]) / seconds
    return Motion(place, speed)


def place_of_root(episodes: Episodes, before: Motion | None, seconds: float) -> Motion:
    """A planar robot's root: x and z."""
    return displaced(episodes.qpos[:, :2], before, seconds)


def place_of_torso(episodes: Episodes, before: Motion | None, seconds: float) -> Motion:
    """The torso of a robot in space."""
    return displaced(episodes["torso"][:, :2], before, seconds)


def centre_of_mass(episodes: Episodes, before: Motion | None, seconds: float) -> Motion:
    """The whole robot's centre of mass and its velocity."""
    return Motion(np.array(episodes["mass_centre"][:, :2]), np.array(episodes["mass_velocity"][:, 0]))


def mean_of_bodies(episodes: Episodes, before: Motion | None, seconds: float) -> Motion:
    """The centre of mass as the mean of the bodies' centres."""
    mass = episodes.models[0].body_mass
    return displaced((np.einsum("b,ebj->ej", mass, episodes["bodies"]) / mass.sum())[:, :2], before, seconds)


def joined(*parts: Any) -> Any:
    """Arrays [B, …] side by side, as a policy sees them: [B, S], float32; tensors as they are."""
    flat: Any = [part if part.ndim == 2 else part.reshape(len(part), -1) for part in parts]
    if isinstance(flat[0], Tensor):
        return torch.cat(flat, dim=1)
    return np.concatenate(flat, axis=1, dtype=np.float32, casting="same_kind")


def clipped_forces(episodes: Episodes) -> np.ndarray:
    """Contact forces and torques on every body (the world too), at most 1 each: [B, bodies, 6]."""
    return np.clip(episodes["contact_forces"], -1, 1)


def upright_ant(episodes: Episodes) -> np.ndarray:
    """Height in [0.2, 1], and everything finite."""
    height = episodes.qpos[:, 2]
    finite = np.isfinite(episodes.qpos).all(-1) & np.isfinite(episodes.qvel).all(-1)
    return finite & (height >= 0.2) & (height <= 1.0)


def contact_cost_of_ant(episodes: Episodes) -> np.ndarray:
    """5e-4 · |clipped contact forces|²; the same in both settings."""
    return 5e-4 * np.square(clipped_forces(episodes)).reshape(len(episodes.state), -1).sum(-1)


def ant_of_rllab(model: Any) -> None:
    """What rllab's file says otherwise: twice the time step, softer contacts."""
    model.opt.timestep = 0.02
    model.geom_solref[:] = 0.02, 1
    model.geom_solimp[:, :3] = 0.8, 0.8, 0.01


def observe_walker(episodes: Episodes) -> np.ndarray:
    return joined(episodes.qpos[:, 1:], np.clip(episodes.qvel, -10, 10))


def upright_walker(episodes: Episodes) -> np.ndarray:
    """Height in (0.8, 2), pitch in (−1, 1)."""
    height, pitch = episodes.qpos[:, 1], episodes.qpos[:, 2]
    return (height > 0.8) & (height < 2) & (np.abs(pitch) < 1)


def upright_hopper(episodes: Episodes) -> np.ndarray:
    """Height above 0.7, pitch in (−0.2, 0.2), and no joint or velocity beyond 100."""
    height, pitch = episodes.qpos[:, 1], episodes.qpos[:, 2]
    moderate = (np.abs(episodes.qpos[:, 2:]) < 100).all(-1) & (np.abs(episodes.qvel) < 100).all(-1)
    return moderate & (height > 0.7) & (np.abs(pitch) < 0.2)


HALF_CHEETAH = {
    "gymnasium": Robot(
        asset="half_cheetah.xml",
        frame_skip=5,
        engine=Rollouts,
        position_noise=uniform_noise(0.1),
        velocity_noise=normal_noise(0.1),
        observe=lambda e: joined(e.qpos[:, 1:], e.qvel),
        motion=place_of_root,
        control_weight=0.1,
    ),
    "rllab": Robot(
        asset="half_cheetah.xml",
        frame_skip=1,
        engine=partial(Rollouts, derive=models.PlanarTree),
        position_noise=normal_noise(0.01),
        velocity_noise=normal_noise(0.1),
        observe=lambda e: joined(e.qpos[:, 1:], e.qvel, e["mass_centre"]),
        motion=centre_of_mass,
        control_weight=0.05,
    ),
}

ANT = {
    "gymnasium": Robot(
        asset="ant.xml",
        frame_skip=5,
        engine=partial(
            Threads,
            quantities={"torso": lambda d: d.xpos[1], "contact_forces": lambda d: d.cfrc_ext},
            at_reset=["mj_forward"],
            after_step=["mj_rnePostConstraint"],
        ),
        position_noise=uniform_noise(0.1),
        velocity_noise=normal_noise(0.1),
        observe=lambda e: joined(e.qpos[:, 2:], e.qvel, clipped_forces(e)[:, 1:]),
        motion=place_of_torso,
        control_weight=0.5,
        contact_cost=contact_cost_of_ant,
        healthy=upright_ant,
        healthy_bonus=1.0,
    ),
    "rllab": Robot(
        asset="ant.xml",
        frame_skip=1,
        engine=partial(
            Threads,
            quantities={
                "contact_forces": lambda d: d.cfrc_ext,
                "rotation": lambda d: d.xmat[1],
                "mass_centre": lambda d: d.subtree_com[1],
                "mass_velocity": lambda d: d.subtree_linvel[1],
            },
            at_reset=["mj_forward", "mj_rnePostConstraint", "mj_subtreeVel"],
            after_step=["mj_forward", "mj_rnePostConstraint", "mj_subtreeVel"],
        ),
        position_noise=normal_noise(0.01),
        velocity_noise=normal_noise(0.1),
        observe=lambda e: joined(e.qpos, e.qvel, clipped_forces(e), e["rotation"], e["mass_centre"]),
        motion=centre_of_mass,
        control_weight=0.005,
        contact_cost=contact_cost_of_ant,
        healthy=upright_ant,
        alive_bonus=0.05,
        edit=ant_of_rllab,
        first_pose=lambda model: model.numeric("init_qpos").data,
    ),
}

# To go to a place, one has to know where one is: Ant-v5 with `exclude_current_positions_from_observation=False`.
ANT_WITH_PLACE = ANT | {
    "gymnasium": replace(ANT["gymnasium"], observe=lambda e: joined(e.qpos, e.qvel, clipped_forces(e)[:, 1:]))
}

WALKER2D = {
    "gymnasium": Robot(
        asset="walker2d_v5.xml",
        frame_skip=4,
        engine=Rollouts,
        position_noise=uniform_noise(0.005),
        velocity_noise=uniform_noise(0.005),
        observe=observe_walker,
        motion=place_of_root,
        control_weight=0.001,
        healthy=upright_walker,
        healthy_bonus=1.0,
    )
}

HOPPER = {"gymnasium": replace(WALKER2D["gymnasium"], asset="hopper.xml", healthy=upright_hopper)}

HUMANOID = {
    "gymnasium": Robot(
        asset="humanoid.xml",
        frame_skip=5,
        engine=partial(
            Threads,
            quantities={
                "bodies": lambda d: d.xipos,
                "inertia": lambda d: d.cinert[1:],
                "velocity": lambda d: d.cvel[1:],
                "actuator_forces": lambda d: d.qfrc_actuator[6:],
                "contact_forces": lambda d: d.cfrc_ext,
            },
            at_reset=["mj_forward"],
            after_step=["mj_rnePostConstraint"],
        ),
        position_noise=uniform_noise(0.01),
        velocity_noise=uniform_noise(0.01),
        observe=lambda e: joined(
            e.qpos[:, 2:], e.qvel, e["inertia"], e["velocity"], e["actuator_forces"], e["contact_forces"][:, 1:]
        ),
        motion=mean_of_bodies,
        control_weight=0.1,
        forward_weight=1.25,
        contact_cost=lambda e: np.minimum(5e-7 * np.square(e["contact_forces"]).reshape(len(e.state), -1).sum(-1), 10),
        healthy=lambda e: (e.qpos[:, 2] > 1) & (e.qpos[:, 2] < 2),
        healthy_bonus=5.0,
    )
}
