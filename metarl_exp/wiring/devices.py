"""Which device `device` means here, and where a run that was begun elsewhere goes on."""

from collections.abc import Callable
from typing import Any

import torch

from metarl_exp.validation import nearest


def available() -> list[str]:
    """The names that `device` may have here. Only CUDA's beside the CPU: float64 is needed, which Metal has not."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ["auto", "cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]


def device_named(name: Any) -> torch.device:
    """The torch device of that name, `auto` being a GPU if there is one; ValueError if there is none of that name."""
    names = available()
    if name not in names:
        found = f"torch {torch.__version__} finds {', '.join(names)}"
        raise ValueError(f"device={name!r} is not available here: {found}{nearest(str(name), names)}")
    if name == "auto":
        return torch.device("cuda" if "cuda" in names else "cpu")
    return torch.device(name)


def device_continued(name: Any, recorded: str | None, say: Callable[[str], None]) -> torch.device:
    """The device of a run that was begun on the `recorded` one, if any, and is now asked for with `name`.

    Rounding depends on its kind, so a run keeps that, if there is one here, and otherwise goes on where it is asked
    for. What is done and was not asked for is said. Raises ValueError as `device_named`.
    """
    asked = device_named(name)
    if recorded is None or torch.device(recorded).type == asked.type:
        return asked
    if torch.device(recorded).type not in available():
        say(f"the run began with device={recorded}, which is not here: it goes on with {asked}, equal up to rounding")
        return asked
    kept = torch.device(recorded).type
    say(f"continuing with device={kept}, as the run began (not {asked})")
    return torch.device(kept)


def device_to_read_on(name: Any) -> torch.device:
    """Device for a run that is only read: its own if it is here, else the CPU."""
    return torch.device(name if name in available() and name != "auto" else "cpu")
