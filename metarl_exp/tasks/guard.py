"""Foreign code in the middle of a run: if it raises, exits or never comes back, that becomes one kind of failure; if it
changes what belongs to the whole process, that is put back.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl_exp.process.awake import SHORTEST, Countdown
from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks.base import Closeable
from metarl_exp.types import BatchedEnv, Step


def _folder() -> str | None:
    """The working directory; None if it has been deleted."""
    with suppress(FileNotFoundError):
        return os.getcwd()


def _go_to(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


# What belongs to the whole process, and changes numbers or breaks a run: how it is read, and how it is set.
PROCESS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "threads": (torch.get_num_threads, torch.set_num_threads),
    "numpy errors": (np.geterr, lambda errors: np.seterr(**errors)),
    "folder": (_folder, _go_to),
}
AT_FIRST = {"gradients": True}  # environments may take some, in a rollout too, which has none
theirs: dict[str, Any] = dict(AT_FIRST)  # what Gymnasium's environments have changed of it, and find again


@contextmanager
def foreign() -> Iterator[None]:
    """In the block the process is as Gymnasium's environments left it; afterwards it is as it was before.

    So an environment can take gradients in a rollout, which has none, and one that turns them off, or goes to another
    folder, does that for environments alone. It costs about 10 µs, so that many environments share a block.
    """
    ours = {name: read() for name, (read, _) in PROCESS.items()}
    found = ours | theirs
    try:
        for name, value in theirs.items():
            PROCESS[name][1](value)
        yield
    finally:
        for name, (read, put) in PROCESS.items():
            now = read()
            if now != found[name]:
                theirs[name] = now
            if now != ours[name]:
                put(ours[name])


@contextmanager
def guarded(where: str, limit: float | None = None) -> Iterator[None]:
    """Raise EnvironmentFailure, saying where, for any exception or exit in the block, or after `limit` seconds.

    What happened is its cause, with its own traceback: that of the line which hangs, too, since the alarm interrupts
    it. A failure from within is told further, with the cause that it had. Ctrl-C passes. Seconds are those in which
    the process ran. An alarm needs the main thread, and so does the answer to `os._exit`; a call into C that never
    returns holds the alarm off. In a worker such an environment can be killed.
    """
    try:
        with _alarm(limit), _staying():
            yield
    except (Exception, SystemExit) as error:
        if isinstance(error, EnvironmentFailure):
            raise EnvironmentFailure(f"{where}: {error}") from error.__cause__ or error
        raise EnvironmentFailure(f"{where}: {type(error).__name__}: {error}") from error


@contextmanager
def limited(where: str, limit: float | None) -> Iterator[None]:
    """Raise EnvironmentFailure as `guarded` does for a block that exits or takes too long; other exceptions pass."""
    try:
        with _alarm(limit), _staying():
            yield
    except (TimeoutError, SystemExit) as error:
        raise EnvironmentFailure(f"{where}: {type(error).__name__}: {error}") from error


def close(distribution: Any, limit: float | None = None) -> None:
    """Close a task distribution that can be closed. Raises EnvironmentFailure as `guarded` does."""
    if isinstance(distribution, Closeable):
        with guarded("closing the tasks", limit):
            distribution.close()


class GuardedEnv:
    """Environments whose reset and steps are `guarded`, each for at most `limit` seconds."""

    def __init__(self, env: BatchedEnv, limit: float | None) -> None:
        self.env, self.limit, self.time = env, limit, 0

    def reset(self) -> Tensor:
        self.time = 0
        with guarded("reset", self.limit):
            return self.env.reset()

    def step(self, action: Tensor) -> Step:
        with guarded(f"step {self.time}", self.limit):
            step = self.env.step(action)
        self.time += 1
        return step


@contextmanager
def unhurried() -> Iterator[None]:
    """No limit of a guard around this block runs during it; each has afterwards what it had before."""
    if not _in_main_thread():
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, 0)
    waiting = limits[:]
    limits.clear()
    try:
        yield
    finally:
        limits[:] = waiting
        for countdown in limits:
            countdown.skip()
        _wind()


limits: list[Countdown] = []  # of the guards around what runs, the innermost last
os.register_at_fork(after_in_child=limits.clear)  # a child has no timer


@contextmanager
def _alarm(limit: float | None) -> Iterator[None]:
    if limit is None or not _in_main_thread():
        yield
        return
    depth, previous = len(limits), signal.signal(signal.SIGALRM, _ring)
    limits.append(Countdown(limit))
    try:
        _wind()
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        del limits[depth:]
        for countdown in limits:
            countdown.look()
        _wind()


def _ring(*_: Any) -> None:
    """Count for all limits. Only the innermost guard's may end what runs: another's would be taken for it."""
    for countdown in limits:
        countdown.look()
    if limits and limits[-1].left <= 0:
        raise TimeoutError(f"no answer within {limits[-1].limit:g} s")
    _wind()


def _wind() -> None:
    """Set the alarm for whoever looks next; not at once, or it would ring in the guard that has just ended."""
    if limits:
        due = min(countdown.pause for countdown in limits) if limits[-1].left > 0 else SHORTEST
        signal.setitimer(signal.ITIMER_REAL, due)


@contextmanager
def _staying() -> Iterator[None]:
    """`os._exit` raises SystemExit in the block: nobody could say otherwise why the process has ended."""
    if not _in_main_thread():
        yield
        return
    here, leave = os.getpid(), os._exit

    def stay(status: int) -> None:
        if os.getpid() != here or not _in_main_thread():
            leave(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = stay  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = leave


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
