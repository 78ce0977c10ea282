"""From a robot and a goal to a task distribution, and its environments: N × M robots at once."""

import numpy as np
import torch
from torch import Tensor

from metarl_exp.tasks.mujoco.goals import Goal
from metarl_exp.tasks.mujoco.robots import Machine
from metarl_exp.types import Spec, Step
from metarl_exp.validation import require_integer


class Locomotion:
    """Tasks of a machine that differ in a goal; `physics` names the setting, as results of two are not comparable."""

    version = 1

    def __init__(self, machine: Machine, goal: Goal, horizon: int) -> None:
        require_integer("tasks.horizon", horizon, low=1)
        self.machine, self.goal, self.physics = machine, goal, machine.physics
        self.parameter_names = goal.parameter_names
        episode = machine.engine.episodes([machine.model])
        machine.engine.reset(episode)
        self.spec = Spec(
            observation_size=machine.robot.observe(episode).shape[1],
            action_size=machine.model.nu,
            discrete=False,
            horizon=horizon,
        )

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.goal.sample(num_tasks, generator)

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        """The published tasks in the physics that they were published for, else drawn."""
        return self.goal.published(num_tasks) if self.physics == "rllab" else self.sample(num_tasks, generator)

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> "LocomotionEnv":
        return LocomotionEnv(self.machine, self.goal, tasks.cpu(), trajectories, generator, device)

    def close(self) -> None:
        self.machine.engine.close()


class LocomotionEnv:
    """N × M robots of one machine; a policy's action in [−1, 1] is stretched onto the range of the controls.

    An episode that ended is not stepped any more.
    """

    def __init__(
        self,
        machine: Machine,
        goal: Goal,
        tasks: Tensor,
        trajectories: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.machine, self.goal, self.device = machine, goal, device
        self.shape = len(tasks), trajectories
        self.task = tasks.repeat_interleave(trajectories, dim=0).numpy()  # [B, task parameters], B = N M
        models = [model for model in goal.models(machine.model, tasks) for _ in range(trajectories)]
        self.start = machine.robot.start(machine.model, len(models), generator)
        self.episodes = machine.engine.episodes(models)

    def reset(self) -> Tensor:
        self.episodes.state[:] = 0
        self.episodes.qpos[:], self.episodes.qvel[:] = self.start
        self.machine.engine.reset(self.episodes)
        self.motion = self.machine.robot.motion(self.episodes, None, self.machine.seconds)
        self.alive = np.ones(len(self.task), dtype=bool)
        return self.batch(self.machine.robot.observe(self.episodes)).float()

    def step(self, action: Tensor) -> Step:
        robot, episodes = self.machine.robot, self.episodes
        control = action.reshape(len(self.task), -1).cpu().double().numpy().clip(-1, 1)
        control = self.machine.control_centre + self.machine.control_scale * control
        self.machine.engine.step(episodes, control, None if self.alive.all() else np.flatnonzero(self.alive))
        self.motion = robot.motion(episodes, self.motion, self.machine.seconds)
        forward = robot.forward_weight * self.goal.reward(self.motion, self.task)
        cost = robot.control_weight * np.square(control).sum(-1)
        terminal = np.zeros_like(self.alive)
        return Step(
            self.batch(robot.observe(episodes)).float(),
            self.batch(forward - cost).float(),
            self.batch(terminal),
            self.batch(np.zeros_like(terminal)),
        )

    def batch(self, x: np.ndarray) -> Tensor:
        """[B, …] → [N, M, …] on the device."""
        return torch.from_numpy(x).reshape(*self.shape, *x.shape[1:]).to(self.device)
