"""Locomotion: robots of MuJoCo that learn to run another way, at another speed, to another place, in another body.

A distribution is a robot, in one of two physics settings, and a goal. `physics=gymnasium` is Gymnasium's v5 environment
with its forward reward replaced by the task's; `physics=rllab` is the cheetah and the ant of the MAML paper's code,
whose returns are on another scale. Models are those installed with Gymnasium.
"""

from metarl_exp.tasks.mujoco.distributions import (
    AntDirection,
    AntGoal,
    AntVelocity,
    HalfCheetahDirection,
    HalfCheetahVelocity,
    HopperBody,
    HumanoidDirection,
    Walker2dBody,
)

__all__ = [
    "AntDirection",
    "AntGoal",
    "AntVelocity",
    "HalfCheetahDirection",
    "HalfCheetahVelocity",
    "HopperBody",
    "HumanoidDirection",
    "Walker2dBody",
]
