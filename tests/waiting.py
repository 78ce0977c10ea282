"""Waiting for what is going to happen, however busy the machine is: only what never happens takes the whole time."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 600.0  # s


def until(condition: Callable[[], Any]) -> Any:
    """Wait for a condition to hold; what it gave. Raises TimeoutError if it never does."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not happen within {PATIENCE:g} s")
        time.sleep(0.01)
    return found
