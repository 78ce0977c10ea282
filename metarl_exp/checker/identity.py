"""The identity of environments, so that returns on one physics are never compared with those on another."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarl_exp.checker.rehearsal import play_actions, random_actions
from metarl_exp.process.streams import stream
from metarl_exp.tasks.base import TaskDistribution, Traits

TASKS, EPISODES, STEPS = 3, 2, 20  # of the golden rollout; ours
DIGITS = 4  # decimals that count; ours


class Golden(NamedTuple):
    """Answers of a few test tasks to actions that never change."""

    digest: str
    powers: list[int]  # of ten, above the largest that was observed, and that was paid; the digest leaves them out


class Identified(NamedTuple):
    """Environments, as a run records them: two keys of its provenance."""

    environment: dict[str, Any]  # the identity
    powers: list[int]  # of the golden rollout; beside the identity, as runs were stored before they were looked at


def identity(name: str, distribution: TaskDistribution, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Class, version, settings, libraries and golden rollout of a distribution that was made with these settings.

    A distribution may say more of itself: `physics`, a word for the variant of its dynamics, and `libraries`, the
    names of those that its numbers depend on, whose versions are recorded.
    """
    return identified(name, distribution, settings).environment


def identified(name: str, distribution: TaskDistribution, settings: Mapping[str, Any]) -> Identified:
    """The identity, and what a run records beside it."""
    digest, powers = rollout(distribution)
    traits = Traits.of(distribution)
    environment = {
        "id": name,
        "version": distribution.version,
        "physics": traits.physics,
        "settings": dict(settings),
        "libraries": {library: version(library) for library in traits.libraries},
        "golden": digest,
    }
    return Identified(environment, powers)


def differences(then: Mapping[str, Any], now: Identified) -> list[str]:
    """In what environments differ from those of a provenance with the same settings, in words.

    Compared are version, physics and golden rollout, as far as they were recorded: libraries tell nothing apart by
    themselves.
    """
    before = then.get("environment", {}) | {"powers": then.get("powers", now.powers)}
    today = now.environment | {"powers": now.powers}
    names = {
        "version": "the version of its tasks",
        "physics": "the physics of its tasks",
        "golden": "the golden rollout of its tasks",
        "powers": "the power of ten of what its tasks show and pay",
    }
    return [
        f"{words} is {today[name]}, was {before[name]}"
        for name, words in names.items()
        if name in before and before[name] != today[name]
    ]


def golden(distribution: TaskDistribution) -> str:
    """The digest of the golden rollout."""
    return rollout(distribution).digest


def rollout(distribution: TaskDistribution) -> Golden:
    """Play the golden rollout; its digest has ten hex digits.

    Hashed are two numbers of each episode, mixtures of all that was observed and of all rewards, and when and how it
    ended. A mixture is rounded to four decimals of the power of ten above the largest of its kind. What another
    processor does to the last bits of float32 is a thousand times smaller, and moves one of the twelve numbers over an
    edge of the rounding once in about a hundred hashes; a change by a hundredth of the largest always shows, but for
    a power of ten in all of them.
    """
    tasks = distribution.test_tasks(TASKS, stream(0, "golden/tasks"))[:TASKS]
    actions = random_actions(distribution.spec, (len(tasks), EPISODES, min(STEPS, distribution.spec.horizon)), 0)
    env = distribution.make_env(tasks, EPISODES, stream(0, "golden/environment"), torch.device("cpu"))
    record = play_actions(env, actions)
    seen = torch.cat([record.start.unsqueeze(2), record.observations], dim=2)
    mixtures = [_mixture(x) for x in (seen, record.rewards)]
    powers = [_power(x) for x in mixtures]
    numbers = [_rounded(x, power) for x, power in zip(mixtures, powers, strict=True)]
    ends = [flags.int().tolist() for flags in (record.terminal, record.truncated)]
    return Golden(hashlib.sha256(repr([*numbers, *ends]).encode()).hexdigest()[:10], powers)


def _mixture(x: Tensor) -> Tensor:
    """Weighted means over everything of an episode, [N, M, …] → [N, M]; weights differ, so that places matter."""
    flat = x.double().flatten(2)
    weights = torch.rand(flat.shape[-1], generator=stream(0, "golden/weights"), dtype=torch.float64)
    return flat @ (weights / weights.sum())


def _power(x: Tensor) -> int:
    """The power of ten above the largest number; DIGITS if all are zero, whose unit is then one."""
    largest = x.abs().max().item()
    return math.ceil(math.log10(largest)) if largest > 0 else DIGITS


def _rounded(x: Tensor, power: int) -> list[Any]:
    """Numbers as whole multiples of their unit: 10^−DIGITS of the power of ten."""
    return (x / 10.0 ** (power - DIGITS)).round().long().tolist()
