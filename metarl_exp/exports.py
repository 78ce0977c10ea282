"""Exports of a package that are imported when they are first asked for (PEP 562): the heavy ones wait until then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def on_demand(
    package: str, exported: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a package that exports names of its modules, `{module: names}`.

    The modules are exported as well. The same imports under `if TYPE_CHECKING` tell a type checker, or an editor.
    """
    homes = {name: f"{package}.{module}" for module, names in exported.items() for name in names}

    def look_up(name: str) -> Any:
        if name in homes:
            return getattr(import_module(homes[name]), name)
        if name in exported:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return look_up, names
