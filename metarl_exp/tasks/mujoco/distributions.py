"""The distributions by name: which robot, which goal."""

from collections.abc import Sequence

from metarl_exp.tasks.mujoco.goals import Direction, Velocity
from metarl_exp.tasks.mujoco.locomotion import Locomotion
from metarl_exp.tasks.mujoco.robots import HALF_CHEETAH, Machine

TWO_TASKS = "there are two tasks, ahead and back, and both are trained on: test tasks are new draws of the same two"


class HalfCheetahDirection(Locomotion):
    """A planar cheetah that runs ahead or back, as the task says.  [finn2017maml, Sec. 5.3]"""

    train_test_overlap = TWO_TASKS

    def __init__(self, physics: str, horizon: int) -> None:
        super().__init__(Machine("half_cheetah", HALF_CHEETAH, physics), Direction(), horizon)


class HalfCheetahVelocity(Locomotion):
    """A planar cheetah that runs at the task's velocity, uniform in [low, high] m/s.  [finn2017maml, Sec. 5.3]"""

    def __init__(self, physics: str, horizon: int, velocity: Sequence[float]) -> None:
        super().__init__(Machine("half_cheetah", HALF_CHEETAH, physics), Velocity(velocity), horizon)
