"""Errors about values that a person typed: the field, the value, what is allowed, and the nearest valid one.

If a value needs a library that is missing, the error names it and says how to install it.
"""

import difflib
import importlib
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

LONGEST_TIMEOUT = 1e9  # s, about thirty years; timers overflow not far beyond


def nearest(value: str, allowed: Iterable[str]) -> str:
    """« (did you mean 'x'?)», or nothing if no allowed name is close."""
    names = {name.lower(): name for name in allowed}
    close = difflib.get_close_matches(str(value).lower(), names, n=1, cutoff=0.5)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def require_choice(field: str, value: object, allowed: Iterable[str]) -> None:
    """Raise ValueError unless value is one of the allowed names."""
    names = list(allowed)
    if value not in names:
        raise ValueError(f"{field}={value!r}: allowed are {', '.join(names)}{nearest(str(value), names)}")


def require_number(
    field: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Raise ValueError unless value is a finite number with low ≤ value ≤ high and above < value < below."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high or not above < value < below:
        bounds = [f"≥ {low:g}" if low > -math.inf else "", f"> {above:g}" if above > -math.inf else ""]
        bounds += [f"≤ {high:g}" if high < math.inf else "", f"< {below:g}" if below < math.inf else ""]
        wanted = " and ".join(filter(None, bounds))
        raise ValueError(f"{field}={value!r}: must be a number{' ' + wanted if wanted else ''}")


def require_timeout(field: str, value: object) -> None:
    """Raise ValueError unless value is a number of seconds > 0 that a timer can count."""
    require_number(field, value, above=0, high=LONGEST_TIMEOUT)


def require_integer(field: str, value: object, *, low: int, high: float = math.inf) -> None:
    """Raise ValueError unless value is an integer with low ≤ value ≤ high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{field}={value!r}: must be an integer ≥ {low}{f' and ≤ {high}' if high < math.inf else ''}")


def require_memory(what: str, needed: float, available: float | None = None) -> None:
    """Raise ValueError if sizes need more bytes than are `available`, by default on this machine."""
    available = installed_memory() if available is None else available
    if needed > available:
        raise ValueError(
            f"{what}: needs at least {needed / 2**30:.3g} GiB of memory, there are {available / 2**30:.3g}; "
            "choose smaller sizes"
        )


def installed_memory() -> float:
    """Bytes of memory that this process may have: the machine's, or what its control group leaves it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file: there are no groups; «max»: there is no limit
        return float(min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))))
    return float(physical)


def require_text(field: str, value: object, meaning: str) -> None:
    """Raise ValueError unless value is a text that is not empty; `meaning` is what it stands for."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"{field}={value!r}: must be {meaning} (a number needs quotes: \"{field}='5'\")")


def require_flag(field: str, value: object) -> None:
    """Raise ValueError unless value is true or false (a typed "no" would otherwise count as true)."""
    if not isinstance(value, bool):
        raise ValueError(f"{field}={value!r}: must be true or false")


def require_range(field: str, value: Any) -> tuple[float, float]:
    """A pair [low, high] with low ≤ high, as floats; raise ValueError otherwise."""
    pair = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    if len(pair) != 2 or not all(isinstance(x, int | float) and math.isfinite(x) for x in pair) or pair[0] > pair[1]:
        raise ValueError(f"{field}={value!r}: must be a pair [low, high] of numbers with low ≤ high")
    return float(pair[0]), float(pair[1])


def require_fields(where: str, node: Any, kind: type) -> Mapping[str, Any]:
    """The node, if its keys are exactly the fields of the dataclass `kind`. Raises ValueError otherwise."""
    names = [field.name for field in fields(kind) if field.init]
    if not isinstance(node, dict):
        raise ValueError(f"{where}: must be a mapping with the keys {', '.join(names)}")
    for key in node:
        if key not in names:
            raise ValueError(f"{where}: unknown key {key!r}{nearest(str(key), names)}; keys are {', '.join(names)}")
    for name in names:
        if name not in node:
            raise ValueError(f"{where}: missing key {name!r}")
    return node


def require_extra(module: str, extra: str, needed_by: str) -> ModuleType:
    """Import a module of the optional dependencies `extra`; ModuleNotFoundError says how to install them."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"{needed_by} needs {module}, which is not installed: pip install 'metarl_exp[{extra}]'", name=error.name
        ) from None
