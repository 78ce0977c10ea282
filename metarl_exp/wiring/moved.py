"""Classes that have moved, keys with another name, settings that are gone: stored runs and older commands have the old.

A fingerprint takes the first name, and the setting that is gone, so that every stored run keeps the fingerprint it has.
"""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from metarl_exp.former import MODULES, renamed
from metarl_exp.wiring.heads import network

# Keys, and a group, by their first name.
RENAMED = {
    "combiner": "aggregator",
    "evaluation.step_scale": "evaluation.step_size_schedule",
    "evaluation.multiples": "evaluation.step_size_multipliers",
}
# Settings that only ever had one value, by the first name of their class.
GONE: dict[str, dict[str, Any]] = {"metarl_exp.objective.EMAML": {"surrogate": "log_likelihood"}}
FIRST = {new: old for old, new in reversed(MODULES.items())}  # of two former names, the one listed first
FIRST_KEYS = {new: old for old, new in RENAMED.items()}


def current(target: str) -> str:
    """The dotted name of a class as it is today: of a policy with a head in its name, that of its network."""
    return renamed(network(target), MODULES)


def first(target: str) -> str:
    """The dotted name of a class as it was first, which fingerprints have."""
    return renamed(renamed(target, MODULES), FIRST)


def current_key(key: str) -> str:
    """A dotted key as it is today."""
    return renamed(key, RENAMED)


def first_key(key: str) -> str:
    """A dotted key as it was first, which fingerprints have."""
    return renamed(key, FIRST_KEYS)


def current_override(override: str) -> str:
    """An override with the key as it is today: `combiner=pcgrad` chooses an aggregator."""
    sign, key, rest = re.fullmatch(r"([+~]*)([\w./]*)(.*)", override, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{sign}{current_key(key)}{rest}"


def with_current_keys(config: DictConfig) -> DictConfig:
    """A configuration with the keys of today. A value under an older name is the one that was written last."""
    found = [(old, new) for old, new in RENAMED.items() if OmegaConf.select(config, old) is not None]
    if not found:
        return config
    config = config.copy()
    for old, new in found:
        OmegaConf.update(config, new, OmegaConf.select(config, old), force_add=True)
        group, _, key = old.rpartition(".")
        with open_dict(config):
            del (OmegaConf.select(config, group) if group else config)[key]
    return config


def gone(target: Any) -> dict[str, Any]:
    """The settings that a class no longer takes, each with the one value that it had."""
    return GONE.get(first(str(target)), {})
