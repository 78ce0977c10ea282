"""Overrides on the command line: those that do not exist are refused, naming the nearest that do."""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from metarl_exp.validation import nearest, require_extra
from metarl_exp.wiring.composing import compose, leaves, options, unknown_key
from metarl_exp.wiring.heads import FORMER_OPTIONS

PLUGINS = {  # by option of hydra/launcher and hydra/sweeper: the extra that brings it, and its module in hydra_plugins
    "joblib": ("joblib", "hydra_joblib_launcher"),
    "slurm": ("submitit", "hydra_submitit_launcher"),
    "submitit_local": ("submitit", "hydra_submitit_launcher"),
    "submitit_slurm": ("submitit", "hydra_submitit_launcher"),
    "ray": ("ray", "hydra_ray_launcher"),
    "ray_aws": ("ray", "hydra_ray_launcher"),
    "optuna": ("optuna", "hydra_optuna_sweeper"),
    "search": ("optuna", "hydra_optuna_sweeper"),
}


def check_overrides(overrides: Sequence[str], user_dir: str | None = None) -> None:
    """Raise ValueError for a key or an option that does not exist, naming the nearest one that does.

    Keys may be added (`+`, `++`) inside a group: whether its component takes them is seen when it is constructed.
    Raises ModuleNotFoundError for a launcher or sweeper that is not installed, naming the extra that brings it.
    """
    typed = [_parsed(override) for override in overrides]
    hydras = [o for o in typed if is_hydras(o)]
    _require_plugins(hydras)
    for override in hydras:
        _require_field_of_hydra(override.key_or_group)
    parsed = [o for o in typed if not is_hydras(o)]
    groups = options(user_dir)
    choices = [o for o in parsed if o.key_or_group in groups and not o.is_delete()]
    chosen = [f"{o.key_or_group}={option}" for o in choices for option in _options(o, groups[o.key_or_group])]
    known = _keys(tuple(chosen), user_dir) | set(groups)
    for override in parsed:
        _require_known(override, known, groups)


def check_method(config: DictConfig, user_dir: str | None = None) -> None:
    """Raise ValueError for a method of gradient steps in a configuration, composed with Hydra's part, without any.

    An experiment that adapts by memory would stay one, under the name of the method.
    """
    method = OmegaConf.select(config, "hydra.runtime.choices.method")
    if method is None or config.adaptation.inner_steps != 0:
        return
    if compose([f"method={method}"], user_dir).adaptation.inner_steps != 0:
        raise ValueError(
            f"method={method} with adaptation.inner_steps=0: it adapts by gradient steps; say how many, such as "
            f"adaptation=one_step{' trial_episodes=null' if config.trial_episodes else ''}"
        )


def _options(override: Override, offered: Sequence[str]) -> list[str]:
    """Options of a group that an override chooses, several in a sweep. Raises ValueError for one not offered."""
    group, values = override.key_or_group, _values(override)
    for value in values:
        if isinstance(value, dict):
            one = next(iter(value), "…")
            raise ValueError(f"{override.input_line}: a group takes an option; write {group}.{one}=…, key by key")
        if value not in offered and (group != "policy" or value not in FORMER_OPTIONS):
            shown, allowed = "null" if value is None else value, ", ".join(sorted(offered))
            raise ValueError(f"{group}={shown}: allowed are {allowed}{nearest(str(value), offered)}")
    return values


def _require_known(override: Override, known: set[str], groups: Container[str]) -> None:
    key, written = override.key_or_group, str(override.input_line)
    added = override.is_add() or override.is_force_add()
    if override.package is not None:
        raise ValueError(f"{written}: a group stays at its own place; write {key}={override.get_value_string()}")
    if key in known and (override.is_add() or (added and key in groups)):
        raise ValueError(f"{written}: {key!r} exists already; write {written.lstrip('+')}")
    if override.value() == {} and any(name.startswith(f"{key}.") for name in known):
        raise ValueError(f"{written}: an empty mapping changes nothing; write ~{key}.NAME to remove a key")
    if key not in known and not (added and "." in key and key.split(".")[0] in known):
        raise ValueError(unknown_key(key, known))


def _parsed(override: str) -> Override:
    with suppress(OverrideParseException):
        parsed = OverridesParser.create().parse_overrides([override])[0]
        if parsed.key_or_group:
            return parsed
    key, equals, value = override.partition("=")
    plain = key and equals and not set(value) & set("'\"$`\\!")
    quoted = f"\"{key}='{value}'\"" if plain else "\"key='é (1)'\""
    raise ValueError(f"{override!r}: must be key=value; unusual characters need quotes: {quoted}")


@cache  # the runs of a sweep or a study choose few options and many values
def _keys(chosen: tuple[str, ...], user_dir: str | None) -> set[str]:
    """The keys of a configuration with these options, and what they are parts of."""
    keys = [key for key, _ in leaves(OmegaConf.to_container(compose(chosen, user_dir), resolve=False))]
    return {*keys, *(key.rsplit(".", depth)[0] for key in keys for depth in range(1, 4))}


def _require_plugins(hydras: Sequence[Override]) -> None:
    for override in hydras:
        group, option = override.key_or_group, str(override.value())
        if group in ("hydra/launcher", "hydra/sweeper") and option in PLUGINS:
            extra, module = PLUGINS[option]
            require_extra(f"hydra_plugins.{module}", extra, needed_by=f"{group}={option}")


def _require_field_of_hydra(key: str) -> None:
    """Raise ValueError for a key of Hydra's own that it does not read; parts that it leaves open take any."""
    node: Any = HydraConf
    for name in key.split(".")[1:]:
        if not is_dataclass(node):
            return
        allowed = [field.name for field in fields(node)]
        if name not in allowed:
            raise ValueError(f"unknown key {key!r}{nearest(name, allowed)}; allowed are {', '.join(allowed)}")
        node = get_type_hints(node)[name]


def typed(text: str) -> Any:
    """The value that a text means, as on a command line: a number, a list, true, null or a string."""
    return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[index]


def is_hydras(override: Override) -> bool:
    """Whether an override is about Hydra itself, such as its launcher."""
    return override.key_or_group.split(".")[0].split("/")[0] == "hydra"


def _values(override: Override) -> list[Any]:
    """The values of an override, all of them if it is a sweep."""
    if override.is_sweep_override():
        return [value.strip("'\"") for value in override.sweep_string_iterator()]  # type: ignore[union-attr]
    return [override.value()]
