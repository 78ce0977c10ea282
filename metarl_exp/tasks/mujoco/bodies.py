"""Tasks that differ in the body: every mass, inertia, damping and friction of a robot is multiplied by its own factor.

As in the environments that ProMP used [rothfuss2019promp, code: `rand_param_envs`]: a factor is b^u with u uniform in
± the limit, b = 1.3 for damping and 1.5 for the rest. Derived constants of the model follow, as MuJoCo asks (ours).
"""

import copy
import math
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl_exp.tasks.base import uniform
from metarl_exp.tasks.mujoco.goals import Motion
from metarl_exp.validation import require_number

BASES = {"body_mass": 1.5, "body_inertia": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}


class Body:
    """Run ahead in the body that one has. A task is the row of the factors' natural logarithms.

    What is zero in the robot stays so and has no factor: the world's mass, the damping of the root.
    """

    def __init__(self, mujoco: ModuleType, model: Any, log_scale_limit: float) -> None:
        require_number("tasks.log_scale_limit", log_scale_limit, low=0)
        self.mujoco = mujoco
        self.varied = {name: np.nonzero(getattr(model, name)) for name in BASES}
        self.parameter_names: tuple[str, ...] = tuple(
            f"{name}[{','.join([_owner(model, name, index[0]), *map(str, index[1:])])}]"
            for name, where in self.varied.items()
            for index in zip(*where, strict=True)
        )
        sizes = torch.tensor([len(where[0]) for where in self.varied.values()])
        limits = torch.tensor([log_scale_limit * math.log(base) for base in BASES.values()], dtype=torch.float64)
        self.limits = limits.repeat_interleave(sizes)  # [task parameters]
        self.latest: tuple[Tensor, list[Any]] = torch.empty(0), []

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return uniform((num_tasks, len(self.limits)), -self.limits, self.limits, generator)

    def published(self, num_tasks: int) -> None:
        """The MAML paper has no such tasks."""

    def reward(self, motion: Motion, task: np.ndarray) -> np.ndarray:
        return motion.speed

    def models(self, model: Any, tasks: Tensor) -> list[Any]:
        # The same tasks come again after each inner step.
        if not torch.equal(self.latest[0], tasks):
            scratch = self.mujoco.MjData(model)
            made = [self.multiplied(model, row, scratch) for row in tasks.exp().numpy()]
            self.latest = tasks.clone(), made
        return self.latest[1]

    def place(self, task: np.ndarray) -> None:
        """Anywhere."""

    def multiplied(self, model: Any, factors: np.ndarray, scratch: Any) -> Any:
        """A copy of the model with its numbers multiplied by factors [task parameters]."""
        model, start = copy.copy(model), 0
        for name, where in self.varied.items():
            end = start + len(where[0])
            getattr(model, name)[where] *= factors[start:end]
            start = end
        self.mujoco.mj_setConst(model, scratch)
        return model


def _owner(model: Any, name: str, index: int) -> str:
    """Name of the body, joint or geometry that an entry of the model's array `name` belongs to."""
    owners = {"body": model.body, "geom": model.geom, "dof": lambda dof: model.joint(model.dof_jntid[dof])}
    return owners[name.split("_")[0]](index).name
