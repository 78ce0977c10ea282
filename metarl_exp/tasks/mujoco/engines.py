"""Stepping B = N × M episodes in threads of C, with no process and no MjData for each episode.

An engine belongs to a distribution and is used by all its environments, one after the other: it holds the threads,
which start at the first step and again after `close`, and no state of an episode. As many threads as torch has.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch


@dataclass
class Episodes:
    """The states of B episodes: rows of an array, with views of their parts."""

    models: list[Any]  # [B] the MjModel of each
    state: np.ndarray  # [B, 1 + nq + nv + …] time, qpos, qvel, and what else the engine carries from step to step
    quantities: dict[str, np.ndarray] = field(default_factory=dict)  # [B, …] what follows from the state

    def __post_init__(self) -> None:
        nq, nv = self.models[0].nq, self.models[0].nv
        self.time, self.qpos, self.qvel = self.state[:, 0], self.state[:, 1 : 1 + nq], self.state[:, 1 + nq :][:, :nv]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.quantities[name]


class Engine(Protocol):
    """How states follow each other. The results do not depend on the number of threads nor on who else is stepped."""

    def episodes(self, models: list[Any]) -> Episodes:
        """Room for the states of B episodes."""
        ...

    def reset(self, episodes: Episodes) -> None:
        """Make whatever follows from the states that were written, as `step` does."""
        ...

    def step(self, episodes: Episodes, control: np.ndarray, rows: np.ndarray | None) -> None:
        """Apply control [B, nu] for `frame_skip` time steps, to all or to the episodes `rows`."""
        ...

    def close(self) -> None:
        """End the threads."""
        ...


class Rollouts:
    """`mujoco.rollout`, for robots of which only qpos and qvel are needed, or what `derive(model)` makes of them.

    The solver starts cold at each step (zero acceleration) and warm at the time steps within. So the next state is a
    function of the state and the control alone, and differs from that of an MjData stepped on by what the solver's
    tolerance leaves.
    """

    def __init__(
        self,
        mujoco: ModuleType,
        model: Any,
        frame_skip: int,
        derive: Callable[[Any], Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]] | None = None,
    ) -> None:
        self.mujoco, self.model, self.frame_skip = mujoco, model, frame_skip
        self.derive = derive(model) if derive else None
        self.width = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        self.pool: Any = None
        self.data: list[Any] = []
        self.reserve(0)

    def reserve(self, size: int) -> None:
        """Buffers for the rollouts of so many episodes."""
        self.control = np.empty((size, self.frame_skip, self.model.nu))
        self.states = np.empty((size, self.frame_skip, self.width))
        self.sensors = np.empty((size, self.frame_skip, self.model.nsensordata))

    def episodes(self, models: list[Any]) -> Episodes:
        return Episodes(models, np.zeros((len(models), self.width)))

    def reset(self, episodes: Episodes) -> None:
        if self.derive:
            episodes.quantities = self.derive(episodes.qpos, episodes.qvel)

    def step(self, episodes: Episodes, control: np.ndarray, rows: np.ndarray | None) -> None:
        models, state = episodes.models, episodes.state
        if rows is not None:
            models, state, control = [models[i] for i in rows.tolist()], state[rows], control[rows]
        size = len(state)
        if size > len(self.control):
            self.reserve(size)
        self.control[:size] = control[:, None]
        self.threads().rollout(
            models,
            self.data,
            state,
            self.control[:size],
            nstep=self.frame_skip,
            skip_checks=True,
            state=self.states[:size],
            sensordata=self.sensors[:size],
        )
        episodes.state[slice(None) if rows is None else rows] = self.states[:size, -1]
        self.reset(episodes)

    def threads(self) -> Any:
        """The pool, as large as torch's. With one thread the calling thread itself does the work."""
        wanted = torch.get_num_threads()
        if self.pool is None or len(self.data) != wanted:
            self.close()
            self.data = [self.mujoco.MjData(self.model) for _ in range(wanted)]
            self.pool = self.mujoco.rollout.Rollout(nthread=wanted if wanted > 1 else 0)
        return self.pool

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()
        self.pool, self.data = None, []
