"""Two computations side by side, each in a thread, which take turns at running Python.

Two threads that both run Python wait for its lock (the GIL) at every operator. Here a thread keeps the turn as long as
it runs Python, and gives it up around a long call into C, in which the other one goes on.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TypeVar

import torch

T = TypeVar("T")


class GilTurn:
    """The turn at running Python, which one thread holds at a time."""

    def __init__(self) -> None:
        self.lock, self.cancelled = Lock(), False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the turn during the block."""
        self.lock.acquire()
        try:
            yield
        finally:
            with suppress(RuntimeError):  # an interrupt may come while it is released
                self.lock.release()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Give up the turn during the block; its holder calls this. Raises CancelledError if the work is cancelled."""
        self.lock.release()
        try:
            yield
        finally:
            self.lock.acquire()
        if self.cancelled:
            raise CancelledError


def side_by_side(gil_turn: GilTurn, first: Callable[[], T], second: Callable[[], T]) -> tuple[T, T]:
    """Results of both functions, `second` called in a thread of its own, each while it holds the turn.

    Torch has one thread meanwhile. If `first` fails, `second` is cancelled; if both fail, the failure of `first` is
    raised.
    """

    def second_in_turn() -> T:
        with gil_turn.held():
            return second()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # to wake another for one small product takes longer than the product
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="side") as other:
            result = other.submit(second_in_turn)
            try:
                with gil_turn.held():
                    own = first()
                return own, result.result()
            except BaseException:
                gil_turn.cancelled = True
                raise
    finally:
        torch.set_num_threads(threads)
