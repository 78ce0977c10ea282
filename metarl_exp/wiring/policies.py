"""A policy from its node: the network that it names, with the head of its name or of the tasks' actions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from metarl_exp.types import Spec
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.components import component
from metarl_exp.wiring.composing import canonical, data, policies
from metarl_exp.wiring.heads import HEADS, POLICY, WITHOUT_HEAD, fitting, head_for, head_of, with_head


def policy_node(node: Mapping[Any, Any], discrete: Callable[[], bool]) -> dict[str, Any]:
    """The node of a policy with its head, for which it asks whether actions are `discrete` if need be."""
    given = data(node)
    return with_head(given, discrete()) if given.get("_target_") in WITHOUT_HEAD else given


def policy_of(node: Mapping[Any, Any], spec: Spec, generator: torch.Generator, dtype: torch.dtype) -> Any:
    """Construct the policy of a node for tasks with this `spec`; a class with an argument `head` is given one.

    Raises ValueError as `component` does, and for the deviation of discrete actions.
    """
    given, initialised = data(node), {"generator": generator, "dtype": dtype}
    if "head" not in inspect.signature(class_of("policy", given)).parameters:
        return component("policy", given, spec=spec, **initialised)
    name = head_of(str(given["_target_"]))
    if name is None:
        name = head_for(spec.discrete)
        if given["_target_"] in WITHOUT_HEAD:
            _refuse_idle(given, spec)
        given = fitting(given, spec.discrete)
    takes = HEADS[name]
    settings = {key: given.pop(key) for key in takes if key in given}
    head = component("policy", {"_target_": f"{POLICY}{name}Head", **settings}, spec=spec)
    return component("policy", given, beside=takes, head=head, **initialised)


def _refuse_idle(given: Mapping[str, Any], spec: Spec) -> None:
    """Raise ValueError if a setting that these tasks' head does not have was set: it isn't as the options have it."""
    for key in sorted(given.keys() - fitting(given, spec.discrete)):
        if canonical(given[key]) not in [canonical(option.get(key)) for option in policies().values()]:
            raise ValueError(
                f"policy.{key}={given[key]!r}: these tasks have {spec.action_size} discrete actions, and their head "
                "has no such setting; leave it out"
            )
