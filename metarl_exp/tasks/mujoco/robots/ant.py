"""The ant, a robot of four legs in space that observes contact forces; with its place where that is a task's goal."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from metarl_exp.tasks.mujoco.engines import Episodes, Threads
from metarl_exp.tasks.mujoco.goals import Motion
from metarl_exp.tasks.mujoco.robots.measures import centre_of_mass, clipped_forces, displaced, joined
from metarl_exp.tasks.mujoco.robots.robot import Robot, normal_noise, uniform_noise


def place_of_torso(episodes: Episodes, before: Motion | None, seconds: float) -> Motion:
    """The torso of a robot in space."""
    return displaced(episodes["torso"][:, :2], before, seconds)


def upright_ant(episodes: Episodes) -> np.ndarray:
    """Height in [0.2, 1], and everything finite."""
    height = episodes.qpos[:, 2]
    finite = np.isfinite(episodes.qpos).all(-1) & np.isfinite(episodes.qvel).all(-1)
    return finite & (height >= 0.2) & (height <= 1.0)


def contact_cost_of_ant(episodes: Episodes) -> np.ndarray:
    """5e-4 · |clipped contact forces|²; the same in both settings."""
    return 5e-4 * np.square(clipped_forces(episodes)).reshape(len(episodes.state), -1).sum(-1)


def ant_of_rllab(model: Any) -> None:
    """Changes that rllab's file makes: twice the time step, softer contacts."""
    model.opt.timestep = 0.02
    model.geom_solref[:] = 0.02, 1
    model.geom_solimp[:, :3] = 0.8, 0.8, 0.01


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
