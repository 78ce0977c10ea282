"""The distributions by name: which robot, which goal."""

from collections.abc import Sequence

from torch import Tensor

from metarl_exp.tasks.mujoco.bodies import Body
from metarl_exp.tasks.mujoco.goals import Direction, Position, Velocity
from metarl_exp.tasks.mujoco.locomotion import Locomotion
from metarl_exp.tasks.mujoco.robots import ANT, ANT_WITH_PLACE, HALF_CHEETAH, HOPPER, HUMANOID, WALKER2D, Machine

TWO_TASKS = "there are two tasks, ahead and back: test tasks are the same two that are trained on"


class HalfCheetahDirection(Locomotion):
    """A planar cheetah that runs ahead or back, as the task says.  [finn2017maml, Sec. 5.3]

    `backward` is the share of tasks that run back; `cone` the friction cone of contacts.
    """

    train_test_overlap = TWO_TASKS

    def __init__(
        self, physics: str, horizon: int, engine: str = "c", backward: float = 0.5, cone: str = "pyramidal"
    ) -> None:
        super().__init__(Machine("half_cheetah", HALF_CHEETAH, physics, cone), Direction(backward), horizon, engine)


class HalfCheetahVelocity(Locomotion):
    """A planar cheetah that runs at the task's velocity, uniform in [low, high] m/s.  [finn2017maml, Sec. 5.3]

    `cone` is the friction cone of contacts.
    """

    def __init__(
        self, physics: str, horizon: int, velocity: Sequence[float], engine: str = "c", cone: str = "pyramidal"
    ) -> None:
        machine = Machine("half_cheetah", HALF_CHEETAH, physics, cone)
        super().__init__(machine, Velocity(velocity, bonus=0.0), horizon, engine)


class AntDirection(Locomotion):
    """A four-legged robot that runs ahead or back, as the task says.  [finn2017maml, Sec. 5.3]

    `backward` is the share of tasks that run back; `cone` the friction cone of contacts.
    """

    train_test_overlap = TWO_TASKS

    def __init__(
        self, physics: str, horizon: int, engine: str = "c", backward: float = 0.5, cone: str = "pyramidal"
    ) -> None:
        super().__init__(Machine("ant", ANT, physics, cone), Direction(backward), horizon, engine)


class AntVelocity(Locomotion):
    """A four-legged robot that runs at the task's velocity, uniform in [low, high] m/s.  [finn2017maml, Sec. 5.3]

    `bonus` makes up for the cost, so that an end of the episode is not what pays best. `cone` is the friction cone of
    contacts.
    """

    def __init__(
        self,
        physics: str,
        horizon: int,
        velocity: Sequence[float],
        bonus: float,
        engine: str = "c",
        cone: str = "pyramidal",
    ) -> None:
        super().__init__(Machine("ant", ANT, physics, cone), Velocity(velocity, bonus), horizon, engine)


class AntGoal(Locomotion):
    """A four-legged robot that goes to a place, uniform in a square or disc; it observes where it is itself."""

    def __init__(self, physics: str, horizon: int, region: str, extent: float, bonus: float, engine: str = "c") -> None:
        super().__init__(Machine("ant", ANT_WITH_PLACE, physics), Position(region, extent, bonus), horizon, engine)

    def positions(self, observations: Tensor) -> Tensor:
        """Where in the plane a path is drawn: [..., S] → [..., 2], of the torso."""
        return observations[..., :2]

    def landmarks(self, tasks: Tensor) -> Tensor:
        """Goal of each task, which a drawing marks, [N, 2]."""
        return tasks


class Walker2dBody(Locomotion):
    """A two-legged robot in the plane whose masses, inertias, damping and friction are the task's."""

    def __init__(self, physics: str, horizon: int, log_scale_limit: float, engine: str = "c") -> None:
        machine = Machine("walker2d", WALKER2D, physics)
        super().__init__(machine, Body(machine.mujoco, machine.model, log_scale_limit), horizon, engine)


class HopperBody(Locomotion):
    """A one-legged robot in the plane whose masses, inertias, damping and friction are the task's."""

    def __init__(self, physics: str, horizon: int, log_scale_limit: float, engine: str = "c") -> None:
        machine = Machine("hopper", HOPPER, physics)
        super().__init__(machine, Body(machine.mujoco, machine.model, log_scale_limit), horizon, engine)


class HumanoidDirection(Locomotion):
    """A two-legged robot in space that runs ahead or back, as the task says.  [rothfuss2019promp, code]"""

    train_test_overlap = TWO_TASKS

    def __init__(self, physics: str, horizon: int, engine: str = "c") -> None:
        super().__init__(Machine("humanoid", HUMANOID, physics), Direction(), horizon, engine)
