"""Stepping N × M robots by MuJoCo Warp, on the learner's device: nothing of a step passes through the host.

Warp computes in float32 and the C engine in float64, so that the two agree for a few steps only, as far as contacts
spread what rounding has left. They are otherwise the same: the solver starts cold at every action, and what a robot
observes and is paid are the same functions.
"""

import logging
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl_exp.tasks.mujoco import drawing
from metarl_exp.tasks.mujoco.bodies import Body
from metarl_exp.tasks.mujoco.engines import Rollouts
from metarl_exp.tasks.mujoco.goals import Goal
from metarl_exp.tasks.mujoco.robots import Machine, never_falls
from metarl_exp.types import Step
from metarl_exp.validation import require_extra

WARP_LIBRARIES = ("mujoco", "mujoco-warp", "warp-lang")  # that its numbers depend on
CONTACTS_A_GEOMETRY, ROWS_A_CONTACT = 2, 4  # of a capsule on the floor; of a pyramid of friction along the floor


class States(NamedTuple):
    """B robots, float32, on the device; what a `Robot` takes as episodes."""

    qpos: Tensor  # [B, nq]
    qvel: Tensor  # [B, nv]


class Worlds:
    """Room in Warp for B robots on a device; `qpos` … are Warp's own memory as torch tensors."""

    def __init__(self, warp: Any, mujoco_warp: Any, machine: Machine, size: int, device: torch.device) -> None:
        self.warp, self.mujoco_warp, self.frame_skip = warp, mujoco_warp, machine.robot.frame_skip
        model = machine.model
        contacts = CONTACTS_A_GEOMETRY * model.ngeom
        rows = ROWS_A_CONTACT * contacts + model.njnt  # and one for each joint at its limit
        self.device = torch.empty(0, device=device).device  # with its index
        with self.on_device():
            self.model = mujoco_warp.put_model(model)
            self.data = mujoco_warp.make_data(model, nworld=size, nconmax=contacts, njmax=rows)
        self.qpos, self.qvel, self.control, self.warmstart = (
            warp.to_torch(x) for x in (self.data.qpos, self.data.qvel, self.data.ctrl, self.data.qacc_warmstart)
        )

    def on_device(self) -> Any:
        """Warp's work goes there, on a GPU after what torch has been asked for and before what it will be."""
        if self.device.type == "cpu":
            return self.warp.ScopedDevice("cpu")
        return self.warp.ScopedStream(self.warp.stream_from_torch(torch.cuda.current_stream(self.device)))

    def step(self, states: States, control: Tensor) -> States:
        """The states after `frame_skip` time steps under control [B, nu]."""
        self.qpos.copy_(states.qpos)
        self.qvel.copy_(states.qvel)
        self.control.copy_(control)
        self.warmstart.zero_()
        with self.on_device():
            for _ in range(self.frame_skip):
                self.mujoco_warp.step(self.model, self.data)
        return States(self.qpos.clone(), self.qvel.clone())


class Warp:
    """A machine and a goal that Warp steps, and the rooms in it that were used, by size and device.

    Raises ValueError, with the reason, for what cannot be stepped there, ModuleNotFoundError without MuJoCo Warp.
    """

    def __init__(self, machine: Machine, goal: Goal) -> None:
        reason = unsuited(machine, goal)
        if reason:
            raise ValueError(
                f"tasks.engine='warp' with {machine.robot.asset}, physics={machine.physics}: {reason}; take c"
            )
        self.warp = require_extra("warp", "warp", "tasks.engine=warp")
        self.warp.config.log_level = logging.WARNING  # not a line for each of a hundred kernels
        self.mujoco_warp = require_extra("mujoco_warp", "warp", "tasks.engine=warp")
        self.machine, self.goal = machine, goal
        self.rooms: dict[tuple[int, torch.device], Worlds] = {}

    def worlds(self, size: int, device: torch.device) -> Worlds:
        """Room for so many robots; all environments of that size share it, as they bring their states along."""
        if (size, device) not in self.rooms:
            self.rooms[size, device] = Worlds(self.warp, self.mujoco_warp, self.machine, size, device)
        return self.rooms[size, device]


def unsuited(machine: Machine, goal: Goal) -> str | None:
    """Why Warp cannot step these tasks, if it cannot."""
    if isinstance(goal, Body):
        return "each task has a body of its own, and all robots in Warp have one model"
    if machine.robot.engine is not Rollouts:
        return "what is observed does not follow from positions and velocities alone (contact forces, centre of mass)"
    if machine.robot.healthy is not never_falls:
        return "its episodes end when it falls"
    return None


class WarpEnv:
    """N × M robots as in `LocomotionEnv`, on the device. What became unstable is not finite, and so is found."""

    def __init__(
        self, warp: Warp, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> None:
        self.machine, self.goal, self.shape = warp.machine, warp.goal, (len(tasks), trajectories)
        self.worlds = warp.worlds(len(tasks) * trajectories, device)

        def there(x: Any) -> Tensor:
            return torch.as_tensor(np.asarray(x)).float().to(device)

        self.task = there(tasks.repeat_interleave(trajectories, dim=0))  # [B, task parameters]
        self.start = States(*map(there, self.machine.robot.start(self.machine.model, len(self.task), generator)))
        self.centre, self.scale = there(self.machine.control_centre), there(self.machine.control_scale)

    def reset(self) -> Tensor:
        self.states: Any = self.start
        self.motion = self.machine.robot.motion(self.states, None, self.machine.seconds)
        return self.observation()

    def step(self, action: Tensor) -> Step:
        robot = self.machine.robot
        control: Any = self.centre + self.scale * action.reshape(len(self.task), -1).float().clamp(-1, 1)
        self.states = self.worlds.step(self.states, control)
        self.motion = robot.motion(self.states, self.motion, self.machine.seconds)
        task: Any = self.task
        reward: Any = robot.reward(self.states, self.goal.reward(self.motion, task), control, healthy=True)
        on = torch.zeros(self.shape, dtype=torch.bool, device=self.task.device)
        return Step(self.observation(), reward.reshape(self.shape), on, on)

    def observation(self) -> Tensor:
        """[N, M, S]"""
        seen: Any = self.machine.robot.observe(self.states)
        return seen.unflatten(0, self.shape)

    def frame(self, task: int, trajectory: int) -> np.ndarray:
        """As in `LocomotionEnv`."""
        qpos = self.states.qpos.unflatten(0, self.shape)[task, trajectory].cpu().numpy()
        return drawing.robot(self.machine.mujoco, self.machine.model, qpos, None)
