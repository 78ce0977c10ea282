"""Foreign code: what a configuration leads to that comes neither with this package nor with Gymnasium.

A configuration that was typed or composed is trusted. That of a stored run may be a stranger's: it is built from what
conf/ offers, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.composing import config_dir, data
from metarl_exp.wiring.moved import current

Setting = tuple[str, str]  # key and value


def foreign_code(config: DictConfig) -> list[str]:
    """The settings of a configuration that lead to foreign code, as `key=value`. Imports none of it."""
    return [
        f"{group}.{key}={value}"
        for group, node in config.items()
        if isinstance(node, DictConfig)
        for key, value in _foreign(str(group), node)
    ]


def leads_further(group: str, node: Mapping[Any, Any]) -> list[Setting]:
    """The settings of a node, beside its class, that lead to foreign code.

    A class says which settings may (`foreign_code`); what an option of conf/ has as well is not foreign.
    """
    return [setting for setting in _named(group, node) if setting not in _offered(group)]


def consequences(run: Path, config: DictConfig) -> str | None:
    """Deeds of a run's reader beyond reading data, in words: code that it would run, links to follow; None without."""
    code, links = foreign_code(config), RunFolder(run).links_out()
    found = [f"run {', '.join(code)}"] if code else []
    found += [f"follow {', '.join(links)}"] if links else []
    return " and ".join(found) or None


def refuse_unless_data(run: Path, config: DictConfig) -> None:
    """Raise ValueError if reading a run would do more than read data, naming all of it."""
    if found := consequences(run, config):
        raise ValueError(f"{run} would {found}; if you trust its author, type --trust (in Python: trust=True)")


def _foreign(group: str, node: DictConfig) -> list[Setting]:
    kind = "_target_", current(str(node.get("_target_")))
    return leads_further(group, node) if kind in _offered(group) else [kind]


def _named(group: str, node: Mapping[Any, Any]) -> list[Setting]:
    """The settings of which a node's class says that they may lead to foreign code."""
    named = getattr(class_of(group, node), "foreign_code", None)
    if named is None:
        return []
    return [(key, str(value)) for key, value in named(data(node))]


@cache
def _offered(group: str) -> set[Setting]:
    """The classes that the options of a group have, and what leads from these to foreign code."""
    written = (_written(group, file) for file in sorted((config_dir() / group).glob("**/*.yaml")))
    nodes = [node for node in written if "_target_" in node]
    classes = {("_target_", str(node["_target_"])) for node in nodes}
    return classes.union(*(_named(group, node) for node in nodes))


def _written(group: str, file: Path) -> DictConfig:
    """The node of an option, over those of the group that it begins with, as its file has it."""
    written = OmegaConf.load(file)
    assert isinstance(written, DictConfig)
    begun = [file.with_name(f"{name}.yaml") for name in written.pop("defaults", [])]
    parts = [_written(group, other) for other in begun if other.is_file()]  # not `_self_`, nor those of Hydra's plugins
    return OmegaConf.merge(*parts, written.get(group, written))  # type: ignore[return-value]
