"""Robots in a vertical plane, stepped by `mujoco.rollout`: the half-cheetah, the walker and the hopper."""

from dataclasses import replace
from functools import partial

import numpy as np

from metarl_exp.tasks.mujoco import models
from metarl_exp.tasks.mujoco.engines import Episodes, Rollouts
from metarl_exp.tasks.mujoco.goals import Motion
from metarl_exp.tasks.mujoco.robots.measures import centre_of_mass, displaced, joined
from metarl_exp.tasks.mujoco.robots.robot import Robot, normal_noise, uniform_noise


def place_of_root(episodes: Episodes, before: Motion | None, seconds: float) -> Motion:
    """A planar robot's root: x and z."""
    return displaced(episodes.qpos[:, :2], before, seconds)


def observe_walker(episodes: Episodes) -> np.ndarray:
    """Joint positions without the place ahead, and velocities within ± 10."""
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
