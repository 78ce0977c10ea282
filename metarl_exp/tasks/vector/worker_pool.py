"""Episodes shared out to worker processes by Gymnasium's AsyncVectorEnv, and what becomes of a worker that goes wrong.

The owner waits for the answers before it takes any, so that a time limit that runs out meanwhile loses none: whoever
is late is interrupted and says where, whoever does not answer to that either is killed, whoever died is reported.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import connection, get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from metarl_exp.tasks.vector.batch import GRACE, Answer, flags
from metarl_exp.tasks.vector.episode_env import EpisodeEnv
from metarl_exp.tasks.vector.recipe import EpisodeKey, Recipe
from metarl_exp.tasks.vector.worker import Failure, Share
from metarl_exp.types import EnvironmentFailure


class WorkerTraceback(Exception):
    """A traceback from another process, as the cause of the failure that it led to."""

    def __str__(self) -> str:
        return f"\n{self.args[0].rstrip()}"


class InWorkers:
    """n episodes in at most `workers` processes, a contiguous share each."""

    def __init__(
        self, make: Callable[[], EpisodeEnv], recipe: Recipe, workers: int, start_method: str, size: int
    ) -> None:
        self.recipe, self.size = recipe, size
        self.share = -(-size // workers)  # episodes a worker, rounded up; the last one may have fewer
        self.faults = TemporaryDirectory(prefix="metarl_exp-")
        if start_method == "forkserver":
            get_context(start_method).set_forkserver_preload([Share.__module__])  # imports once, not in every worker
        shares = range(-(-size // self.share))
        makers = [partial(Share, make, self.share, os.getpid(), self._faults_of(i)) for i in shares]
        try:
            self.vector = AsyncVectorEnv(makers, context=start_method, autoreset_mode=AutoresetMode.DISABLED)
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise EnvironmentFailure(
                f"a worker died while it started (tasks.start_method={start_method}); what it printed says why"
            ) from error

    def start(self, episodes: Sequence[EpisodeKey]) -> np.ndarray:
        self.episodes = [episodes[i : i + self.share] for i in range(0, self.size, self.share)]
        with self._deaths_reported():
            self.vector.set_attr("episodes", self.episodes)
            self.vector.reset_async()
            self._wait()
            observation, info = self.vector.reset_wait()
        self._raise_failures(info.get("failure", []))
        return self._joined(observation)

    def step(self, actions: np.ndarray) -> Answer:
        width = len(self.episodes)
        padded = np.zeros((width * self.share, *actions.shape[1:]), actions.dtype)
        padded[: self.size] = actions
        with self._deaths_reported():
            self.vector.step_async(padded.reshape(width, self.share, *actions.shape[1:]))
            self._wait()
            observation, reward, _, _, info = self.vector.step_wait()
        self._raise_failures(info.get("failure", []))
        return Answer(*map(self._joined, (observation, reward, *flags(info, reward.shape))))

    def _joined(self, x: np.ndarray) -> np.ndarray:
        """From [workers, share, …] to [n, …]."""
        return x.reshape(-1, *x.shape[2:])[: self.size]

    def close(self) -> None:
        """End the workers: asked first, so that they close their environments, and killed if they do not."""
        for process in self.vector.processes:
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in self.vector.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
        for pipe in self.vector.parent_pipes:
            if pipe is not None:
                pipe.close()
        self.vector.closed = True
        self.faults.cleanup()

    # ---- what may go wrong

    def _wait(self) -> None:
        """Return when every worker has answered, or is dead. If a time limit (TimeoutError) ends this, find out why."""
        late = dict(zip(self.vector.parent_pipes, range(len(self.episodes)), strict=True))
        try:
            while late:
                for pipe in connection.wait(list(late)):
                    del late[pipe]  # type: ignore[arg-type]
        except TimeoutError:
            for worker in late.values():
                self._signal(worker, signal.SIGUSR1)
            deadline = time.monotonic() + GRACE
            self._raise_failures([self._excuse(worker, deadline) for worker in late.values()])

    def _excuse(self, worker: int, deadline: float) -> Failure:
        """What an interrupted worker was doing instead of answering."""
        pipe = self.vector.parent_pipes[worker]
        if not pipe.poll(max(0.0, deadline - time.monotonic())):
            self._signal(worker, signal.SIGABRT)
            self.vector.processes[worker].join(GRACE)
            reason = f"{self._held_by(worker)}: TimeoutError: no answer within the time limit, nor to an interruption"
            return Failure(reason, self._faults_of(worker).read_text(encoding="utf-8"))
        try:
            answer, _ = pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return self._obituary(worker)
        return answer[-1].get("failure") or Failure(f"{self._held_by(worker)} answered too late", "")

    def _signal(self, worker: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.vector.processes[worker].pid or 0, number)

    @contextmanager
    def _deaths_reported(self) -> Iterator[None]:
        """Turn the broken pipe of a dead worker into what is known of its end."""
        try:
            yield
        except (EOFError, BrokenPipeError, ConnectionResetError):
            ended = connection.wait([process.sentinel for process in self.vector.processes], GRACE)
            dead = [i for i, process in enumerate(self.vector.processes) if process.sentinel in ended]
            self._raise_failures([self._obituary(worker) for worker in dead])
            raise

    def _obituary(self, worker: int) -> Failure:
        self.vector.processes[worker].join(GRACE)
        code = self.vector.processes[worker].exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        faults = self._faults_of(worker)
        return Failure(f"{self._held_by(worker)} {how}", faults.read_text(encoding="utf-8") if faults.exists() else "")

    @staticmethod
    def _raise_failures(found: Any) -> None:
        """Raise EnvironmentFailure for the first failure, if there is any."""
        failures = [failure for failure in found if failure is not None]
        if failures:
            others = f" ({len(failures) - 1} more workers failed)" if len(failures) > 1 else ""
            cause = WorkerTraceback(failures[0].traceback) if failures[0].traceback else None
            raise EnvironmentFailure(failures[0].reason + others) from cause

    def _held_by(self, worker: int) -> str:
        """A worker and its tasks, as failures name them."""
        tasks = list(dict.fromkeys(self.recipe.name_of_task(episode) for episode in self.episodes[worker]))
        more = f" and {len(tasks) - 3} more tasks" if len(tasks) > 3 else ""
        return f"worker {worker} with {', '.join(tasks[:3])}{more}"

    def _faults_of(self, worker: int) -> Path:
        return Path(self.faults.name, f"worker{worker}")
