"""Modules by their former names: code, YAML files and stored runs that were written before still find them.

`import metarl_exp.evaluation` is `metarl_exp.algorithm.evaluation`, with a DeprecationWarning that says so.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = {
    "metarl_exp.adaptation": "metarl_exp.algorithm.adaptation",
    "metarl_exp.advantage": "metarl_exp.algorithm.advantage",
    "metarl_exp.combiner": "metarl_exp.algorithm.aggregator",
    "metarl_exp.evaluation": "metarl_exp.algorithm.evaluation",
    "metarl_exp.fast_weights": "metarl_exp.algorithm.fast_weights",
    "metarl_exp.inner_optimizer": "metarl_exp.algorithm.inner_optimizer",
    "metarl_exp.meta_learner": "metarl_exp.algorithm.meta_learner",
    "metarl_exp.objective": "metarl_exp.algorithm.objective",
    "metarl_exp.outer_optimizer": "metarl_exp.algorithm.outer_optimizer",
    "metarl_exp.sampler": "metarl_exp.algorithm.sampler",
    "metarl_exp.streams": "metarl_exp.process.streams",
    "metarl_exp.tracker": "metarl_exp.runs.tracker",
    "metarl_exp.build": "metarl_exp.wiring",
    "metarl_exp.algorithm.combiner": "metarl_exp.algorithm.aggregator",
}
NAMES = {"metarl_exp.wiring.build": "assemble"}  # of what has another name in its module, too


def renamed(name: str, names: Mapping[str, str]) -> str:
    """A dotted name whose beginning is among these `names`, by its other name."""
    old = next((old for old in names if f"{name}.".startswith(f"{old}.")), "")
    return names.get(old, "") + name.removeprefix(old)


class Former(MetaPathFinder, Loader):
    """Finds a module by its former name, after everything else has failed to; its names are those of today's module."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return None if renamed(fullname, MODULES) == fullname else ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        today = renamed(module.__name__, MODULES)
        warnings.warn(f"{module.__name__} is now {today}", DeprecationWarning, stacklevel=2)
        found = import_module(today)

        def look_up(name: str) -> Any:
            return getattr(found, NAMES.get(f"{today}.{name}", name))

        vars(module)["__getattr__"] = look_up


if not any(isinstance(finder, Former) for finder in sys.meta_path):
    sys.meta_path.append(Former())
