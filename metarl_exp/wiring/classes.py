"""From the name of a class in the configuration to the class."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from metarl_exp.runs.sources import PACKAGE, reach_current_folder
from metarl_exp.validation import nearest
from metarl_exp.wiring.moved import current


def class_of(group: str, node: Mapping[Any, Any]) -> Any:
    """The class that a group's node names. Raises ValueError if it names none, or one that does not exist."""
    if "_target_" not in node:
        raise ValueError(f"missing key '{group}._target_': the dotted name of a class")
    found = located(f"{group}._target_", current(str(node["_target_"])))
    if not isinstance(found, type):
        raise ValueError(f"{group}._target_={node['_target_']!r}: is a {type(found).__name__}, not a class")
    return found


def located(field: str, target: Any) -> Any:
    """Object with a dotted name; modules of the current folder count, as with `python -m`. Raises ValueError."""
    module, _, name = str(target).rpartition(".")
    if module.partition(".")[0] != PACKAGE:
        reach_current_folder()
    try:
        found = vars(import_module(module))
    except (ImportError, SyntaxError, ValueError) as error:
        raise ValueError(f"{field}={target!r}: {error}") from error
    if name not in found:
        raise ValueError(f"{field}={target!r}: {module} has no {name!r}{nearest(name, found)}")
    return found[name]
