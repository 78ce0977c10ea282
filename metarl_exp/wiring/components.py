"""From a node of the configuration to an object: its class is found, and takes exactly the keys that there are."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from metarl_exp.runs.sources import reach_current_folder
from metarl_exp.validation import nearest
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.composing import config_dir
from metarl_exp.wiring.plausible import require_kinds
from metarl_exp.wiring.trust import leads_further


def component(group: str, node: Mapping[Any, Any], beside: Iterable[str] = (), **wired: Any) -> Any:
    """Construct the component of a group from its node and the parts it is wired to.

    `beside` are keys that the caller takes itself.

    Raises ValueError for a class that does not exist, for keys that its constructor does not take, or lacks, and for
    the name of another class inside the node: what Hydra would make of it is no component.
    """
    target = class_of(group, node)
    keys = [str(key) for key in node if key != "_target_"]
    takes = inspect.signature(target).parameters
    allowed = [name for name in takes if name not in wired]
    for key in keys:
        if key not in allowed:
            known = [*allowed, *beside]
            raise ValueError(
                f"unknown key '{group}.{key}'{nearest(key, known)}: {group} takes {', '.join(known) or 'none'}; "
                f"~{group}.{key} removes a key that an option or an experiment sets"
            )
    missing = [n for n, p in takes.items() if p.default is p.empty and n not in keys and n not in wired]
    if missing:
        raise ValueError(f"missing key '{group}.{missing[0]}' of {node['_target_']}")
    settings = _settings(group, node)
    require_kinds(group, settings, target, takes)
    if leads_further(group, node):
        reach_current_folder()
    return target(**settings, **{k: v for k, v in wired.items() if k in takes})


def _known(group: str, key: str) -> str:
    """Values of a key in the files of conf/, in words, for one that is asked for."""
    written = (OmegaConf.select(OmegaConf.load(file), f"{group}.{key}") for file in config_dir().rglob("*.yaml"))
    found = sorted({value for value in written if isinstance(value, int | float)})
    return f", for which tasks and experiments here have {', '.join(map(str, found))}" if found else ""


def _settings(group: str, node: Mapping[Any, Any]) -> dict[str, Any]:
    """A node's values without its class. Raises ValueError for a missing one, and for a further class among them."""
    config = node if isinstance(node, DictConfig) else OmegaConf.create(dict(node))
    for key in (str(key) for key in config if OmegaConf.is_missing(config, str(key))):
        raise ValueError(f"missing value of '{group}.{key}'{_known(group, key)}; type {group}.{key}=…")
    values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    del values["_target_"]
    for key, target in _targets(values, group):
        raise ValueError(f"{key}={target!r}: only {group}._target_ names a class, its settings do not")
    return values


def _targets(tree: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every `_target_` in a tree of dicts and lists, by its dotted key."""
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        if name == "_target_":
            yield f"{key}.{name}", value
        yield from _targets(value, f"{key}.{name}")
