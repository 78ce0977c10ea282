"""What was typed: overrides that do not exist are refused, naming the nearest that do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from metarl_exp.build.composing import compose, leaves, options
from metarl_exp.tasks.extras import require_extra
from metarl_exp.validation import nearest

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

    Raises ModuleNotFoundError for a launcher or sweeper that is not installed, naming the extra that brings it.
    """
    typed = OverridesParser.create().parse_overrides(list(overrides))
    _require_plugins([o for o in typed if is_hydras(o)])
    parsed = [o for o in typed if not is_hydras(o)]
    groups = options(user_dir)
    chosen = []
    for override in parsed:
        group = override.key_or_group
        for value in _values(override) if group in groups else []:
            if value not in (None, "null") and value not in groups[group]:
                allowed = ", ".join(sorted(groups[group]))
                raise ValueError(f"{group}={value}: allowed are {allowed}{nearest(str(value), groups[group])}")
            chosen.append(f"{group}={'null' if value is None else value}")
    known = _keys(tuple(chosen), user_dir) | set(groups)
    for override in parsed:
        key = override.key_or_group
        if key not in known and not override.is_add():
            raise ValueError(f"unknown key {key!r}{nearest(key, known)}; {_beside(key, known)}")


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


def _beside(key: str, known: set[str]) -> str:
    """What is allowed where a key that does not exist was looked for."""
    parent = key.rpartition(".")[0]
    children = {k.removeprefix(f"{parent}.").split(".")[0] for k in known if k.startswith(f"{parent}.")} - {"_target_"}
    if children:
        return f"{parent} takes {', '.join(sorted(children))}"
    return f"allowed are {', '.join(sorted({k.split('.')[0] for k in known}))}"


def is_hydras(override: Override) -> bool:
    """Whether an override is about Hydra itself, such as its launcher."""
    return override.key_or_group.split(".")[0].split("/")[0] == "hydra"


def _values(override: Override) -> list[Any]:
    """The values of an override, all of them if it is a sweep."""
    if override.is_sweep_override():
        return [value.strip("'\"") for value in override.sweep_string_iterator()]  # type: ignore[union-attr]
    return [override.value()]
