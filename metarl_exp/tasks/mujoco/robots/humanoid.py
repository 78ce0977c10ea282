"""The humanoid, a robot of two legs in space that observes the inertias and velocities of its bodies."""

from functools import partial

import numpy as np

from metarl_exp.tasks.mujoco.engines import Episodes, Threads
from metarl_exp.tasks.mujoco.goals import Motion
from metarl_exp.tasks.mujoco.robots.measures import displaced, joined
from metarl_exp.tasks.mujoco.robots.robot import Robot, uniform_noise


def mean_of_bodies(episodes: Episodes, before: Motion | None, seconds: float) -> Motion:
    """The centre of mass as the mean of the bodies' centres."""
    mass = episodes.models[0].body_mass
    return displaced((np.einsum("b,ebj->ej", mass, episodes["bodies"]) / mass.sum())[:, :2], before, seconds)


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
