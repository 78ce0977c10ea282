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
from multiprocessing import active_children, connection, get_context
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks.guard import limited
from metarl_exp.tasks.vector.batch import GRACE, Answer, flags
from metarl_exp.tasks.vector.episode_env import EpisodeEnv
from metarl_exp.tasks.vector.recipe import EpisodeKey, Recipe
from metarl_exp.tasks.vector.worker import LATE, Failure, Faults, Share

START = 600.0  # s: for workers to start, each of which may have to import everything; ours


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
        if start_method == "forkserver":
            get_context(start_method).set_forkserver_preload([Share.__module__])  # imports once, not in every worker
        self.faults = [Faults() for _ in range(-(-size // self.share))]
        makers = [partial(Share, make, self.share, os.getpid(), faults) for faults in self.faults]
        with limited(f"starting workers (tasks.start_method={start_method})", START), self._all_or_none():
            try:
                self.vector = AsyncVectorEnv(makers, context=start_method, autoreset_mode=AutoresetMode.DISABLED)
            except (EOFError, BrokenPipeError, ConnectionResetError) as error:
                raise EnvironmentFailure(
                    f"a worker died while it started (tasks.start_method={start_method}); its output says why"
                ) from error

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Kill the workers that were started in the block if it fails."""
        before = active_children()
        try:
            yield
        except BaseException:
            for process in set(active_children()).difference(before):
                process.kill()
            self._forget_faults()
            raise

    def start(self, episodes: Sequence[EpisodeKey]) -> np.ndarray:
        self.episodes = [episodes[i : i + self.share] for i in range(0, self.size, self.share)]
        with self._ends_explained():
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
        with self._ends_explained():
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
        self._forget_faults()
        self.vector.closed = True

    def _forget_faults(self) -> None:
        for faults in self.faults:
            faults.file.close()

    # ---- what may go wrong

    def _wait(self) -> None:
        """Return when every worker has answered, or is dead. If a time limit (TimeoutError) ends this, find out why."""
        late = dict(zip(self.vector.parent_pipes, range(len(self.episodes)), strict=True))
        try:
            while late:
                for pipe in connection.wait(list(late)):
                    del late[pipe]  # type: ignore[arg-type]
        except TimeoutError as error:
            for worker in late.values():
                self._signal(worker, signal.SIGUSR1)
            deadline = time.monotonic() + GRACE
            excuses = [self._excuse(worker, deadline) for worker in late.values()]
            self._raise_failures([e._replace(reason=e.reason.replace(LATE, str(error))) for e in excuses])

    def _excuse(self, worker: int, deadline: float) -> Failure:
        """Stack of an interrupted worker, to say where it hangs."""
        pipe = self.vector.parent_pipes[worker]
        if self._is_stopped(worker):
            return Failure(f"{self._held_by(worker)} is stopped: TimeoutError: {LATE}", "")
        if not pipe.poll(max(0.0, deadline - time.monotonic())):
            self._signal(worker, signal.SIGABRT)
            self.vector.processes[worker].join(GRACE)
            reason = f"{self._held_by(worker)}: TimeoutError: {LATE}, nor to an interruption"
            return Failure(reason, self.faults[worker].read())
        try:
            answer, _ = pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return self._obituary(worker)
        return answer[-1].get("failure") or Failure(f"{self._held_by(worker)} answered too late", "")

    def _signal(self, worker: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.vector.processes[worker].pid or 0, number)

    def _is_stopped(self, worker: int) -> bool:
        """Whether a signal has stopped a worker, as far as the system says."""
        with suppress(OSError):
            status = Path(f"/proc/{self.vector.processes[worker].pid}/stat").read_bytes()
            return status.rpartition(b")")[2].split()[0] in b"Tt"
        return False

    @contextmanager
    def _ends_explained(self) -> Iterator[None]:
        """Turn the broken pipe of a dead worker, or the silence of a stopped one, into what is known of it."""
        try:
            yield
        except TimeoutError as error:
            stopped = [i for i in range(len(self.episodes)) if self._is_stopped(i)]
            self._raise_failures(
                [Failure(f"{self._held_by(i)} is stopped: TimeoutError: {error}", "") for i in stopped]
            )
            raise
        except (EOFError, BrokenPipeError, ConnectionResetError):
            ended = connection.wait([process.sentinel for process in self.vector.processes], GRACE)
            dead = [i for i, process in enumerate(self.vector.processes) if process.sentinel in ended]
            self._raise_failures([self._obituary(worker) for worker in dead])
            raise

    def _obituary(self, worker: int) -> Failure:
        self.vector.processes[worker].join(GRACE)
        code = self.vector.processes[worker].exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        return Failure(f"{self._held_by(worker)} {how}", self.faults[worker].read())

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
