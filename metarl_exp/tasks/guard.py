"""What foreign code may do in the middle of a run, turned into one kind of failure: raise, exit, or never come back."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from metarl_exp.types import EnvironmentFailure


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
