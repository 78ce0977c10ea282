"""From a node of the configuration to an object: its class is found, and takes exactly the keys that there are.

`task_node` makes the node of a task distribution from what was typed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from metarl_exp.build.composing import compose, options
from metarl_exp.build.overrides import check_overrides
from metarl_exp.build.plausible import require_kinds
from metarl_exp.sources import reach_current_folder
from metarl_exp.validation import nearest


def component(group: str, node: DictConfig, **wired: Any) -> Any:
    """Construct the component of a group from its node and the parts it is wired to.

    Raises ValueError for a class that does not exist, and for keys that its constructor does not take, or lacks.
    """
    target = class_of(group, node)
    keys = [str(key) for key in node if key != "_target_"]
    takes = inspect.signature(target).parameters
    allowed = [name for name in takes if name not in wired]
    for key in keys:
        if key not in allowed:
            raise ValueError(
                f"unknown key '{group}.{key}'{nearest(key, allowed)}: {group} takes {', '.join(allowed) or 'none'}"
            )
    missing = [n for n, p in takes.items() if p.default is p.empty and n not in keys and n not in wired]
    if missing:
        raise ValueError(f"missing key '{group}.{missing[0]}' of {node['_target_']}")
    require_kinds(group, node, target, takes)
    return instantiate(node, _partial_=True, _convert_="all")(**{k: v for k, v in wired.items() if k in takes})


def class_of(group: str, node: DictConfig) -> Any:
    """The class that a group's node names. Raises ValueError if it names none, or one that does not exist."""
    if "_target_" not in node:
        raise ValueError(f"missing key '{group}._target_': the dotted name of a class")
    found = located(f"{group}._target_", node["_target_"])
    if not isinstance(found, type):
        raise ValueError(f"{group}._target_={node['_target_']!r}: is a {type(found).__name__} and no class")
    return found


def located(field: str, target: str) -> Any:
    """What a dotted name stands for; modules of the current folder count, as with `python -m`. Raises ValueError."""
    reach_current_folder()
    module, _, name = str(target).rpartition(".")
    try:
        found = vars(import_module(module))
    except (ImportError, SyntaxError, ValueError) as error:
        raise ValueError(f"{field}={target!r}: {error}") from error
    if name not in found:
        raise ValueError(f"{field}={target!r}: {module} has no {name!r}{nearest(name, found)}")
    return found[name]


def task_node(name: str, settings: Sequence[str], user_dir: str | None = None) -> DictConfig:
    """The node of a task distribution with `key=value` settings.

    `name` is an option of tasks, a YAML file with a `_target_`, or a dotted class. Raises ValueError if it is none.
    """
    offered = options(user_dir)["tasks"]
    if name in offered:
        added = [f"+tasks.{setting[1:]}" if setting.startswith("+") else f"tasks.{setting}" for setting in settings]
        check_overrides([f"tasks={name}", *added], user_dir)
        return compose([f"tasks={name}", *added], user_dir).tasks
    given = OmegaConf.from_dotlist([setting.removeprefix("+") for setting in settings])
    if name.endswith((".yaml", ".yml")):
        node = OmegaConf.load(name) if Path(name).is_file() else None
        if not isinstance(node, DictConfig) or "_target_" not in node or "defaults" in node:
            reason = "no such file" if node is None else "must be a node with a _target_ and without defaults"
            raise ValueError(f"{name}: {reason}")
        return OmegaConf.merge(node, given)  # type: ignore[return-value]
    if "." not in name:
        raise ValueError(
            f"{name!r} is not an option of tasks{nearest(name, offered)}, nor a YAML file or a dotted class; "
            f"options are {', '.join(offered)}"
        )
    return OmegaConf.merge({"_target_": name}, given)  # type: ignore[return-value]
