"""The configuration's folder: where it is, what it offers, and what it composes to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metarl_exp.validation import nearest
from metarl_exp.wiring import heads
from metarl_exp.wiring.moved import RENAMED, with_current_keys

OVERLAYS = ("experiment", "method")  # groups whose options set what differs, anywhere; the later over the earlier


def config_dir() -> Path:
    """`conf/` of a checkout or editable install, or its copy inside an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def compose(overrides: Sequence[str] = (), user_dir: str | None = None, with_hydra: bool = False) -> DictConfig:
    """The configuration of one run, as `metarl-train` with these overrides would have it; Hydra's own part if asked.

    Raises ValueError for a root key that the program does not read, wherever it was written, and for one that is gone.
    Keys of a group are checked when its component is constructed.
    """
    search = [f"hydra.searchpath=[file://{Path(user_dir).resolve()}]"] if user_dir else []
    config = with_current_keys(_composed([*overrides, *search], with_hydra))
    known, found = root_keys(), {str(key) for key in config} - {"hydra"}
    for overlay in sorted(found & set(OVERLAYS)):
        raise ValueError(f"{overlay}: a file of this group must begin with the line «# @package _global_»")
    for key in sorted(found - known):
        raise ValueError(unknown_key(key, known))
    for key in sorted(known - found):
        raise ValueError(f"missing key {key!r}: every run has one")
    return config


@cache
def root_keys() -> frozenset[str]:
    """The groups, and the keys that are in none."""
    return frozenset(str(key) for key in _composed([], with_hydra=False))


def _composed(overrides: list[str], with_hydra: bool) -> DictConfig:
    """Configuration as Hydra composes it. Values alone are set in a copy of what options compose to."""
    _keep_former_options()
    if not with_hydra and not any(override.startswith("hydra.searchpath") for override in overrides):
        parsed = OverridesParser.create().parse_overrides(overrides)
        chosen = tuple(o.input_line or "" for o in parsed if not _sets_a_value(o))
        config = deepcopy(_of_options(config_dir(), chosen))
        try:
            for override in filter(_sets_a_value, parsed):
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
            return config
        except OmegaConfBaseException:
            pass  # it is Hydra that says why
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return hydra_compose("train", overrides, return_hydra_config=with_hydra)


def _sets_a_value(override: Override) -> bool:
    """Whether an override is a plain `key=value`, which Hydra applies after everything else."""
    plain = override.type is OverrideType.CHANGE and not override.is_sweep_override() and override.package is None
    return plain and not (config_dir() / override.key_or_group).is_dir() and "/" not in override.key_or_group


@cache
def _of_options(folder: Path, chosen: tuple[str, ...]) -> DictConfig:
    """The configuration of a folder with these options, and with what else is not a plain value."""
    with initialize_config_dir(str(folder), version_base="1.3"):
        return hydra_compose("train", [*chosen])


def unknown_key(key: str, known: Iterable[str]) -> str:
    """How a dotted key that is not known is refused: the nearest one, and what is allowed where it was looked for."""
    if key in RENAMED:
        return f"{key!r} is now {RENAMED[key]!r}"
    known, parent = list(known), key.rpartition(".")[0]
    children = {k.removeprefix(f"{parent}.").split(".")[0] for k in known if k.startswith(f"{parent}.")} - {"_target_"}
    takes = f"{parent} takes" if children else "allowed are"
    inside = [repr(k) for k in sorted(known) if k.endswith(f".{key}")]  # its group was forgotten
    meant = f" (did you mean {' or '.join(inside)}?)" if inside else nearest(key, known)
    return f"unknown key {key!r}{meant}; {takes} {', '.join(sorted(children or {k.split('.')[0] for k in known}))}"


def options(user_dir: str | None) -> dict[str, list[str]]:
    """Every config group but Hydra's own and its options, nested ones by their path."""
    roots = [config_dir(), *([Path(user_dir)] if user_dir else [])]
    found: dict[str, set[str]] = {}
    groups = [folder.name for folder in config_dir().iterdir() if folder.is_dir() and folder.name != "hydra"]
    for root in roots:  # the known groups only: a user's folder may hold a whole project
        for file in (file for group in groups for file in root.glob(f"{group}/**/*.yaml")):
            group, *option = file.relative_to(root).with_suffix("").parts
            found.setdefault(group, set()).add("/".join(option))
    return {group: sorted(names) for group, names in found.items()}


@cache
def policies() -> dict[str, dict[str, Any]]:
    """The nodes of the options of `policy` in conf/, as data, with those that their defaults name."""
    return {file.stem: _policy(file.stem) for file in (config_dir() / "policy").glob("*.yaml")}


def _policy(name: str) -> dict[str, Any]:
    node: Any = OmegaConf.to_container(OmegaConf.load(config_dir() / "policy" / f"{name}.yaml"))
    bases = [_policy(base) for base in node.pop("defaults", []) if base != "_self_"]
    return {key: value for part in (*bases, node) for key, value in part.items()}


@cache
def _keep_former_options() -> None:
    """Have Hydra know the options of `policy` that there were before, which are composed but not listed."""
    for name, node in heads.former_options(policies()):
        ConfigStore.instance().store(group="policy", name=name, node=node, provider="metarl_exp")


def data(node: Mapping[Any, Any]) -> dict[str, Any]:
    """The settings of a node as plain Python, resolved."""
    plain: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    return plain


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a nested dict."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, canonical(tree)


def values(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and single values of everything in a tree of mappings and lists; entries of a list have its key."""
    if isinstance(tree, dict):
        for name, inner in tree.items():
            yield from values(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list):
        for inner in tree:
            yield from values(inner, key)
    else:
        yield key, tree


def canonical(value: Any) -> Any:
    """Whole numbers as floats, so that 1 and 1.0 are one value."""
    if isinstance(value, list):
        return [canonical(x) for x in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
