"""Classes that have moved, and settings that are gone: stored runs, and YAML files written before, have the old ones.

A fingerprint takes the old name, and the setting that is gone, so that every stored run keeps the fingerprint it has.
"""

from __future__ import annotations

from typing import Any

from metarl_exp.wiring.heads import network

MOVED = {
    "metarl_exp.adaptation": "metarl_exp.algorithm.adaptation",
    "metarl_exp.advantage": "metarl_exp.algorithm.advantage",
    "metarl_exp.combiner": "metarl_exp.algorithm.combiner",
    "metarl_exp.evaluation": "metarl_exp.algorithm.evaluation",
    "metarl_exp.fast_weights": "metarl_exp.algorithm.fast_weights",
    "metarl_exp.inner_optimizer": "metarl_exp.algorithm.inner_optimizer",
    "metarl_exp.objective": "metarl_exp.algorithm.objective",
    "metarl_exp.outer_optimizer": "metarl_exp.algorithm.outer_optimizer",
    "metarl_exp.tracker": "metarl_exp.runs.tracker",
}
# Settings that only ever had one value, by the first name of their class.
GONE: dict[str, dict[str, Any]] = {"metarl_exp.objective.EMAML": {"surrogate": "log_likelihood"}}
FIRST = {new: old for old, new in MOVED.items()}


def current(target: str) -> str:
    """The dotted name of a class as it is today: of a policy with a head in its name, that of its network."""
    return _renamed(network(target), MOVED)


def first(target: str) -> str:
    """The dotted name of a class as it was first, which fingerprints have."""
    return _renamed(target, FIRST)


def gone(target: Any) -> dict[str, Any]:
    """The settings that a class no longer takes, each with the one value that it had."""
    return GONE.get(first(str(target)), {})


def _renamed(target: str, modules: dict[str, str]) -> str:
    module = next((module for module in modules if target.startswith(f"{module}.")), "")
    return modules.get(module, "") + target.removeprefix(module)
