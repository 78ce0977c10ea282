"""The fingerprint of a configuration: all that can change a run's numbers, except its seed; and names made of it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from metarl_exp.runs.files import file_name
from metarl_exp.runs.sources import PACKAGE
from metarl_exp.tasks.base import Traits
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.composing import canonical, leaves
from metarl_exp.wiring.distributions import discrete_actions
from metarl_exp.wiring.keys import ADDED, NOT_IN_FINGERPRINT
from metarl_exp.wiring.moved import first, first_key, gone, with_current_keys
from metarl_exp.wiring.policies import policy_node


def fingerprint(config: DictConfig) -> str:
    """Ten hex digits of everything that can change a run's numbers, except its seed."""
    named = {first_key(key): value for key, value in fingerprinted(config).items()}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:10]


def fingerprinted(config: DictConfig, like: DictConfig | None = None) -> dict[str, Any]:
    """The `effective` values of a configuration by dotted keys; settings that are gone are among them."""
    config = with_current_keys(config)
    tree: Any = OmegaConf.to_container(
        OmegaConf.masked_copy(config, [str(key) for key in config if key not in NOT_IN_FINGERPRINT]), resolve=True
    )
    tree["policy"] = policy_node(config.policy, partial(discrete_actions, like or config))
    tree = {key: gone(node.get("_target_")) | node if isinstance(node, dict) else node for key, node in tree.items()}
    named = ((key, first(str(value)) if key.endswith("._target_") else value) for key, value in leaves(tree))
    return effective(named, like or config)


def effective(values: Iterable[tuple[str, Any]], like: DictConfig) -> dict[str, Any]:
    """Values by dotted keys, without those that change no number, by what the classes of `like` say of their settings.

    A key at its neutral value is left out, so that a run stored before there was this key has the same fingerprint.
    """
    neutral, idle = ADDED | neutral_settings(like), without_effect(like)
    found = ((key, value) for key, value in values if ".".join(key.split(".")[:2]) not in idle)
    return {key: value for key, value in found if key not in neutral or value != neutral[key]}


def neutral_settings(config: DictConfig) -> dict[str, Any]:
    """The settings of a configuration's components at which they change nothing, by dotted keys.

    They are the defaults of the constructors: in this package, an argument has a default only if that is neutral.
    """
    nodes = ((str(group), node) for group, node in config.items() if isinstance(node, DictConfig))
    classes = ((group, class_of(group, node)) for group, node in nodes if "_target_" in node)
    return {
        f"{group}.{name}": canonical(list(p.default) if isinstance(p.default, tuple) else p.default)
        for group, kind in classes
        if kind.__module__.partition(".")[0] == PACKAGE
        for name, p in inspect.signature(kind).parameters.items()
        if p.default is not p.empty
    }


def without_effect(config: DictConfig) -> set[str]:
    """The settings of which a task distribution says that they cannot change its numbers, such as its workers."""
    return {f"tasks.{name}" for name in Traits.of(class_of("tasks", config.tasks)).without_effect}


def differing_keys(config: DictConfig, other: DictConfig) -> list[str]:
    """Fingerprinted keys in which two configurations differ, as «key: one ≠ other»; the other is data alone."""
    one, two = fingerprinted(config), fingerprinted(other, like=config)
    return [f"{key}: {one.get(key)} ≠ {two.get(key)}" for key in sorted(one | two) if one.get(key) != two.get(key)]


def experiment_name(config: DictConfig) -> str:
    """The chosen experiment, as a file can be called, or `default`; only known while Hydra runs."""
    choice = OmegaConf.select(config, "hydra.runtime.choices.experiment")
    return file_name(str(choice).replace("/", "-")) if choice not in (None, "null") else "default"


def run_name(config: DictConfig) -> str:
    """Name of a run's folder: experiment, fingerprint and seed."""
    return f"{experiment_name(config)}-{fingerprint(config)}-seed{config.seed}"
