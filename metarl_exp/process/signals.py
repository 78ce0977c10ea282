"""SIGTERM, with which clusters take machines back, ends a run as Ctrl-C does; so does the end of joblib's launcher."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGTERM, unless somebody else answers it already.

    Submitit does: a preempted job of its is submitted again, and goes on there.
    """
    main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is interrupt:  # and not ignored since, as where ranks end together
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


LOOK_EVERY = 2.0  # s; ours
GRACE = 30.0  # s: for a job to end by itself once its launcher is gone; ours
_watching: list[int] = []  # the process that has a thread for it


def end_with_launcher() -> None:
    """From here on a worker of joblib's ends with its launcher, however that ended: first as at SIGTERM, then at once.

    Jobs of other launchers, such as submitit and Ray, outlive who submitted them, or see to it themselves.
    """
    worker = type(multiprocessing.current_process()).__module__.startswith("joblib.")
    if worker and os.getpid() not in _watching:
        _watching[:] = [os.getpid()]
        threading.Thread(target=_await_launcher, name="launcher", daemon=True).start()


def _await_launcher() -> None:
    launcher = multiprocessing.parent_process()
    assert launcher is not None
    while os.getppid() == launcher.pid:
        time.sleep(LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
