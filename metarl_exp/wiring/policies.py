"""A policy from its node: the network that it names, with the head of its name or of the tasks' actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from metarl_exp.types import Policy, Spec
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.components import component
from metarl_exp.wiring.heads import POLICY, head_of, head_settings, takes_a_head, with_head


def policy_node(node: Mapping[Any, Any], discrete: Callable[[], bool]) -> dict[str, Any]:
    """The node of a policy with its head, for which it asks whether actions are `discrete` if need be."""
    given: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    return with_head(given, discrete()) if takes_a_head(str(given.get("_target_"))) else given


def policy_of(node: Mapping[Any, Any], spec: Spec, generator: torch.Generator, dtype: torch.dtype) -> Policy:
    """Construct the policy of a node for tasks with this `spec`. Raises ValueError as `component` does."""
    given = policy_node(node, lambda: spec.discrete)
    initialised = {"generator": generator, "dtype": dtype}
    name = head_of(str(given.get("_target_")))
    if name is None:  # a class of one's own
        return component("policy", given, spec=spec, **initialised)
    settings = {key: given.pop(key) for key in head_settings(name) & set(given)}
    head = component("policy", {"_target_": f"{POLICY}{name}Head", **settings}, spec=spec)
    return component("policy", given, head=head, **initialised)
