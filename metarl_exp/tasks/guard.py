"""Foreign code in the middle of a run: if it raises, exits or never comes back, that becomes one kind of failure; if it
changes what belongs to the whole process, that is put back.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch

from metarl_exp.types import EnvironmentFailure


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
    """Raise EnvironmentFailure, saying where, for any exception or `sys.exit` in the block, or after `limit` seconds.

    What happened is its cause, with its own traceback: that of the line which hangs, too, since the alarm interrupts
    it. A failure from within is told further, with the cause that it had. Ctrl-C passes. An alarm needs the main
    thread, and a call into C that never returns holds it off; in a worker such an environment can be killed.
    """
    try:
        with _alarm(limit):
            yield
    except (Exception, SystemExit) as error:
        if isinstance(error, EnvironmentFailure):
            raise EnvironmentFailure(f"{where}: {error}") from error.__cause__ or error
        raise EnvironmentFailure(f"{where}: {type(error).__name__}: {error}") from error


@contextmanager
def unhurried() -> Iterator[None]:
    """No limit of a guard around this block runs during it; it has afterwards what it had before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)


@contextmanager
def _alarm(limit: float | None) -> Iterator[None]:
    if limit is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        raise TimeoutError(f"no answer within {limit:g} s")

    previous, began = signal.signal(signal.SIGALRM, ring), time.monotonic()
    outer, _ = signal.setitimer(signal.ITIMER_REAL, limit)  # s that a guard around this one has left; 0: there is none
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if outer:  # not at once, or its alarm would ring here and be taken for this one's
            signal.setitimer(signal.ITIMER_REAL, max(0.01, outer - (time.monotonic() - began)))
