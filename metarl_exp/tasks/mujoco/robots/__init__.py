"""The robots, in the physics settings they exist in: a model, its engine, and how it is started, seen and paid.

`gymnasium` is Gymnasium's v5 environment at its default arguments. `rllab` is what the MAML paper's code ran
[finn2017maml, code], rllab's environments with MuJoCo's contacts of today: one time step an action, the true velocity
of the centre of mass instead of a position's difference, and an observation that shows where that centre is.
"""

from metarl_exp.tasks.mujoco.robots.ant import ANT, ANT_WITH_PLACE
from metarl_exp.tasks.mujoco.robots.humanoid import HUMANOID
from metarl_exp.tasks.mujoco.robots.planar import HALF_CHEETAH, HOPPER, WALKER2D
from metarl_exp.tasks.mujoco.robots.robot import Machine, Robot, never_falls

__all__ = [
    "ANT",
    "ANT_WITH_PLACE",
    "HALF_CHEETAH",
    "HOPPER",
    "HUMANOID",
    "WALKER2D",
    "Machine",
    "Robot",
    "never_falls",
]
