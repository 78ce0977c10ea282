"""Stepping B = N × M episodes in threads of C, with no process and no MjData for each episode.

An engine belongs to a distribution and is used by all its environments, one after the other: it holds the threads,
which start at the first step and again after `close`, and no state of an episode. As many threads as torch has.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
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
    threads: int | None = None  # of `Rollouts` that step them; None: as many as torch has
    without_python: Callable[[], AbstractContextManager[None]] = nullcontext  # a block around physics, all of it C

    def __post_init__(self) -> None:
        nq, nv = self.models[0].nq, self.models[0].nv
        self.time, self.qpos, self.qvel = self.state[:, 0], self.state[:, 1 : 1 + nq], self.state[:, 1 + nq :][:, :nv]
        self.rows = list(self.state)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.quantities[name]


class Engine(Protocol):
    """How states follow each other. The results do not depend on the number of threads nor on who else is stepped."""

    def episodes(self, models: list[Any]) -> Episodes:
        """Room for the states of B episodes."""
        ...

    def reset(self, episodes: Episodes) -> None:
        """Compute the quantities that follow from the states written, as `step` does."""
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
        pool = self.start(episodes.threads)
        with episodes.without_python():
            pool.rollout(
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

    def start(self, threads: int | None) -> Any:
        """The pool of so many threads, or as many as torch has. If one, the calling thread itself does the work."""
        wanted = threads or torch.get_num_threads()
        if self.pool is None or len(self.data) != wanted:
            self.close()
            self.data = [self.mujoco.MjData(self.model) for _ in range(wanted)]
            self.pool = self.mujoco.rollout.Rollout(nthread=wanted if wanted > 1 else 0)
        return self.pool

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()
        self.pool, self.data = None, []


class Threads:
    """One MjData a thread, which takes on one episode after the other: for what only an MjData can tell.

    `quantities` are arrays of an MjData that are copied after `at_reset` and `after_step`, functions of (model, data)
    that follow the setting of a state and a step. The state holds the solver's warm start as well, so that an episode
    goes as in an MjData of its own.
    """

    def __init__(
        self,
        mujoco: ModuleType,
        model: Any,
        frame_skip: int,
        quantities: Mapping[str, Callable[[Any], np.ndarray]],
        at_reset: Sequence[str],
        after_step: Sequence[str],
    ) -> None:
        self.mujoco, self.model, self.frame_skip, self.quantities = mujoco, model, frame_skip, quantities
        self.at_reset, self.after_step = ([getattr(mujoco, name) for name in names] for names in (at_reset, after_step))
        # Stored in this order, that of their bits.
        parts = ("TIME", "QPOS", "QVEL", "WARMSTART", "CTRL")
        self.kept = sum(int(getattr(mujoco.mjtState, f"mjSTATE_{part}")) for part in parts)
        self.data: list[Any] = []
        self.views: list[dict[str, np.ndarray]] = []
        self.pool: ThreadPoolExecutor | None = None

    def episodes(self, models: list[Any]) -> Episodes:
        self.threads()
        room = {name: np.zeros((len(models), *view.shape)) for name, view in self.views[0].items()}
        return Episodes(models, np.zeros((len(models), self.mujoco.mj_stateSize(self.model, self.kept))), room)

    def reset(self, episodes: Episodes) -> None:
        def reset(model: Any, data: Any, row: np.ndarray) -> None:
            self.mujoco.mj_resetData(model, data)
            self.mujoco.mj_setState(model, data, row, self.kept)
            for function in self.at_reset:
                function(model, data)

        self.each(reset, episodes, range(len(episodes.rows)))

    def step(self, episodes: Episodes, control: np.ndarray, rows: np.ndarray | None) -> None:
        set_state, step, kept, frame_skip = self.mujoco.mj_setState, self.mujoco.mj_step, self.kept, self.frame_skip
        after_step = self.after_step

        def advance(model: Any, data: Any, row: np.ndarray) -> None:
            set_state(model, data, row, kept)
            step(model, data, frame_skip)
            for function in after_step:
                function(model, data)

        episodes.state[:, -control.shape[1] :] = control
        self.each(advance, episodes, range(len(control)) if rows is None else rows.tolist())

    def each(self, function: Callable[[Any, Any, np.ndarray], None], episodes: Episodes, rows: Iterable[int]) -> None:
        """Do something to an MjData for each of these episodes, then write down its state and quantities.

        Every thread, the calling one too, takes the next episode that none has taken, so that none waits for another
        to the end. (Iterators of lists and ranges may be shared: Python's lock is held while one moves on.)
        """
        self.threads()
        left = iter(rows)
        own, *others = ((function, episodes, left, *own) for own in zip(self.data, self.views, strict=True))
        futures = [self.pool.submit(self.work, *other) for other in others] if self.pool else []
        self.work(*own)
        for future in futures:
            future.result()

    def work(
        self,
        function: Callable[[Any, Any, np.ndarray], None],
        episodes: Episodes,
        left: Iterator[int],
        data: Any,
        views: dict[str, np.ndarray],
    ) -> None:
        """Work of one thread. Nothing is looked up for each episode that can be looked up before."""
        get_state, kept, states, models = self.mujoco.mj_getState, self.kept, episodes.rows, episodes.models
        copies = [(episodes.quantities[name], view) for name, view in views.items()]
        for i in left:
            function(models[i], data, states[i])
            get_state(models[i], data, states[i], kept)
            for target, view in copies:
                target[i] = view

    def threads(self) -> None:
        """As many MjData as torch has threads, and a pool for all but the calling one."""
        wanted = torch.get_num_threads()
        if len(self.data) != wanted:
            self.close()
            self.data = [self.mujoco.MjData(self.model) for _ in range(wanted)]
            self.views = [{name: view(data) for name, view in self.quantities.items()} for data in self.data]
            self.pool = ThreadPoolExecutor(wanted - 1, thread_name_prefix="mujoco") if wanted > 1 else None

    def close(self) -> None:
        if self.pool:
            self.pool.shutdown()
        self.pool, self.data, self.views = None, [], []
