"""From a robot and a goal to a task distribution, and its environments: N × M robots at once."""

import copy

import numpy as np
import torch
from torch import Tensor

from metarl_exp.process.side_by_side import GilTurn
from metarl_exp.tasks.mujoco import drawing
from metarl_exp.tasks.mujoco.engines import Engine, Rollouts
from metarl_exp.tasks.mujoco.goals import Goal
from metarl_exp.tasks.mujoco.robots import Machine
from metarl_exp.tasks.mujoco.warp import WARP_LIBRARIES, Warp, WarpEnv
from metarl_exp.tasks.transfer import to_device
from metarl_exp.types import BatchedEnv, Spec, Step
from metarl_exp.validation import require_choice, require_integer

CLOCK = 1.0  # s, when an episode starts: MuJoCo sets a clock back to 0, which shows at the first step too


class Locomotion:
    """Tasks of a machine that differ in a goal; `physics` names the setting, as results of two are not comparable.

    `engine` is `c`, MuJoCo itself on the host, or `warp`, MuJoCo Warp on the learner's device, in float32.
    """

    version = 1
    discrete = False

    def __init__(self, machine: Machine, goal: Goal, horizon: int, engine: str) -> None:
        require_integer("tasks.horizon", horizon, low=1)
        require_choice("tasks.engine", engine, ["c", "warp"])
        self.warp = Warp(machine, goal) if engine == "warp" else None
        self.libraries = WARP_LIBRARIES if self.warp else ()
        self.machine, self.goal, self.physics = machine, goal, machine.physics
        self.parameter_names = goal.parameter_names
        episode = machine.engine.episodes([machine.model])
        machine.engine.reset(episode)
        self.spec = Spec(
            observation_size=machine.robot.observe(episode).shape[1],
            action_size=machine.model.nu,
            discrete=self.discrete,
            horizon=horizon,
        )

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.goal.sample(num_tasks, generator)

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        """The published tasks in the physics that they were published for, else drawn."""
        published = self.goal.published(num_tasks) if self.physics == "rllab" else None
        return self.sample(num_tasks, generator) if published is None else published

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> BatchedEnv:
        if self.warp:
            return WarpEnv(self.warp, tasks, trajectories, generator, device)
        made = SeparableLocomotionEnv if isinstance(self.machine.engine, Rollouts) else LocomotionEnv
        return made(self.machine, self.goal, tasks.cpu(), trajectories, generator, device)

    def close(self) -> None:
        self.machine.close()


class LocomotionEnv:
    """N × M robots of one machine; a policy's action in [−1, 1] is stretched onto the range of the controls.

    An episode that ended is not stepped any more. Raises ArithmeticError if a simulation becomes unstable, where MuJoCo
    alone would put the robot back to its first pose and go on.
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
        self.shape, self.first_task = (len(tasks), trajectories), 0
        self.task = tasks.repeat_interleave(trajectories, dim=0).numpy()  # [B, task parameters], B = N M
        models = [model for model in goal.models(machine.model, tasks) for _ in range(trajectories)]
        self.start = machine.robot.start(machine.model, len(models), generator)
        self.engine = machine.engine
        self.episodes = self.engine.episodes(models)

    def reset(self) -> Tensor:
        self.episodes.state[:], self.time = 0, CLOCK
        self.episodes.time[:] = CLOCK
        self.episodes.qpos[:], self.episodes.qvel[:] = self.start
        self.engine.reset(self.episodes)
        self.motion = self.machine.robot.motion(self.episodes, None, self.machine.seconds)
        self.alive = np.ones(len(self.task), dtype=bool)
        observation, self.never = self.batch(self.machine.robot.observe(self.episodes), np.zeros_like(self.alive))
        return observation

    def step(self, action: Tensor) -> Step:
        robot, episodes = self.machine.robot, self.episodes
        output = action.reshape(len(self.task), -1).clamp(-1, 1).double().cpu().numpy()
        control = self.machine.control_centre + self.machine.control_scale * output
        if self.alive.any():
            self.engine.step(episodes, control, None if self.alive.all() else np.flatnonzero(self.alive))
        self.time += self.machine.seconds
        self.refuse_unstable()
        self.motion = robot.motion(episodes, self.motion, self.machine.seconds)
        healthy = robot.healthy(episodes)
        reward = robot.reward(episodes, self.goal.reward(self.motion, self.task), control, healthy)
        self.alive &= healthy
        observed, earned, fallen = self.batch(robot.observe(episodes), reward.astype(np.float32), ~healthy)
        return Step(observed, earned, fallen, self.never)

    def refuse_unstable(self) -> None:
        """Raise ArithmeticError if an episode's clock is behind: MuJoCo has set it back, and the robot with it."""
        behind = self.alive & (self.episodes.time < self.time - self.machine.seconds / 2)
        if behind.any():
            index = int(behind.argmax())
            task, trajectory = divmod(index, self.shape[1])
            raise ArithmeticError(
                f"the simulation of {self.machine.robot.asset} became unstable {self.time - CLOCK:g} s into episode "
                f"{self.first_task + task, trajectory} (task, trajectory) of task {self.task[index].tolist()}"
            )

    def frame(self, task: int, trajectory: int) -> np.ndarray:
        """The robot from the side; from above, with its goal, where the goal is a place: [320, 480, 3], uint8."""
        index = task * self.shape[1] + trajectory
        model, mark = self.episodes.models[index], self.goal.place(self.task[index])
        return drawing.robot(self.machine.mujoco, model, self.episodes.qpos[index], mark)

    def batch(self, *arrays: np.ndarray) -> list[Tensor]:
        """[B, …] → [N, M, …] on the device."""
        return [x.unflatten(0, self.shape) for x in to_device(arrays, self.device)]


class SeparableLocomotionEnv(LocomotionEnv):
    """Robots whose physics is one call of C, during which other threads may run Python."""

    def halves(self, gil_turn: GilTurn) -> "tuple[SeparableLocomotionEnv, SeparableLocomotionEnv]":
        """Each has an engine of its own, of all threads but one, which chooses the actions of the other half."""
        middle, threads = self.shape[0] // 2, max(1, torch.get_num_threads() - 1)
        first, second = self.machine.halves
        return (
            self.part(0, middle, first, threads, gil_turn),
            self.part(middle, self.shape[0], second, threads, gil_turn),
        )

    def part(self, begin: int, end: int, engine: Engine, threads: int, gil_turn: GilTurn) -> "SeparableLocomotionEnv":
        """The environments of the tasks from `begin` to `end`, before their first step."""
        part, trajectories = copy.copy(self), self.shape[1]
        rows = slice(begin * trajectories, end * trajectories)
        part.shape, part.first_task = (end - begin, trajectories), begin
        part.task, part.start, part.engine = self.task[rows], (self.start[0][rows], self.start[1][rows]), engine
        part.episodes = engine.episodes(self.episodes.models[rows])
        part.episodes.threads, part.episodes.without_python = threads, gil_turn.released
        return part
