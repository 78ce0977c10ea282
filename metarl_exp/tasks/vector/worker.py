"""The worker process: it steps a share of the episodes, and sends a failure as data.

It goes back through the pipe like an observation, with its traceback as text, whatever the environment raised and
whether or not that can be pickled. Signals: SIGUSR1 interrupts an environment that is late, so that the traceback is
that of the line which hangs; SIGTERM closes the environments and ends the worker; a fault (SIGSEGV, SIGABRT) writes
where it was to `Faults`. No worker outlives the process that started it.
"""

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.reduction import DupFd
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import gymnasium
import numpy as np

from metarl_exp.tasks.vector.batch import FLAGS, InProcess
from metarl_exp.tasks.vector.episode_env import EpisodeEnv
from metarl_exp.tasks.vector.recipe import EpisodeKey

LATE = "no answer within the time limit"


class Failure(NamedTuple):
    """Failure of a worker."""

    reason: str
    traceback: str


class Faults:
    """A file that the fault handler of a worker writes to, and its owner reads. Without a name, it ends with them."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            self.file: IO[str] = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # open as long as the worker runs
        else:
            self.file = os.fdopen(descriptor, "r+", encoding="utf-8")

    def __reduce__(self) -> Any:
        """To a worker that is being started."""
        return _handed_over, (DupFd(self.file.fileno()),)

    def read(self) -> str:
        self.file.seek(0)
        return self.file.read()


def _handed_over(handle: Any) -> Faults:
    return Faults(handle.detach())


class Share(gymnasium.Env[np.ndarray, Any]):
    """The episodes of one worker, as one environment with arrays for rewards.

    `episodes` says which ones, at most `size`; the rest of them stand still. `owner` is the process that has the
    workers; only in another one the signals of a worker are set up.
    """

    def __init__(self, make: Callable[[], EpisodeEnv], size: int, owner: int, faults: Faults) -> None:
        self.pool = InProcess(make, size)
        self.observation_space = self.pool.vector.observation_space
        self.action_space = self.pool.vector.action_space
        self.nothing = np.zeros(self.observation_space.shape or (), np.float32), np.zeros(size)
        self.episodes: list[EpisodeKey] = []
        self.busy = self.ending = False
        if os.getpid() != owner:
            self._become_worker(faults)

    def _become_worker(self, faults: Faults) -> None:
        self.faults = faults  # kept open: the fault handler writes to its descriptor
        faulthandler.enable(faults.file, all_threads=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's, who ends its workers
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGUSR1, self._interrupt)
        threading.Thread(target=_die_with_parent, daemon=True).start()

    def _end(self, *_: Any) -> None:
        self.ending = True
        sys.exit()

    def _interrupt(self, *_: Any) -> None:
        if self.busy:
            raise TimeoutError(LATE)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        idle = [None] * (self.pool.vector.num_envs - len(self.episodes))
        observation = self._attempt(lambda: self.pool.start([*self.episodes, *idle]))
        if isinstance(observation, Failure):
            return self.nothing[0], {"failure": observation}
        return observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        answer = self._attempt(lambda: self.pool.step(action))
        if isinstance(answer, Failure):
            return *self.nothing, False, False, {"failure": answer}
        observation, reward, *ends = answer
        return observation, reward, False, False, dict(zip(FLAGS, ends, strict=True))

    def _attempt(self, deed: Callable[[], Any]) -> Any:
        """Result of an operation, or its failure."""
        try:
            self.busy = True
            answer = deed()
        except (Exception, SystemExit) as error:
            answer = Failure(str(error), "".join(traceback.format_exception(error.__cause__ or error)))
        finally:
            self.busy = False
        if self.ending:
            self.close()
        return answer

    def close(self) -> None:
        """Close the environments; and end, if the worker was told to, by the signal that told it."""
        self.pool.close()
        if self.ending:  # nothing is left to do, and taking an interpreter with torch apart takes its time
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)


def _die_with_parent() -> None:
    """However the parent ends, SIGKILL too: it then cannot tell anybody."""
    for_main = [signal.SIGUSR1, signal.SIGTERM, signal.SIGABRT]  # the main thread's: what they interrupt is asked of it
    signal.pthread_sigmask(signal.SIG_BLOCK, for_main)
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
