"""Failures that end a run, which its door tells in one line: in a module without torch, since doors open without it."""

from typing import Any


class RankFailure(RuntimeError):
    """The run cannot go on since another rank ended; says which and, as far as it is known, why."""


class EnvironmentFailure(RuntimeError):
    """An environment raised, exited, hung or died; says of which task, at which step, with its own traceback."""


class NonFiniteError(FloatingPointError):
    """A quantity that must be finite is not; `batch` is what it was computed from."""

    def __init__(self, quantity: str, where: str, batch: Any) -> None:
        super().__init__(f"{quantity} is not finite ({where})")
        self.quantity, self.where, self.batch = quantity, where, batch

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the batch, whose graphs cannot be sent: as a job's worker tells its sweep."""
        return NonFiniteError, (self.quantity, self.where, None)
