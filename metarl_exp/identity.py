"""What tells environments from others, so that returns on one physics are never compared with those on another."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from metarl_exp.rehearsal import random_actions, rehearse
from metarl_exp.streams import stream
from metarl_exp.tasks.base import TaskDistribution

TASKS, EPISODES, STEPS = 3, 2, 20  # of the golden rollout; ours
DIGITS = 4  # decimals that count; ours


def identity(name: str, distribution: TaskDistribution, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Class, version, settings, libraries and golden rollout of a distribution that was made with these settings.

    A distribution may say more of itself: `physics`, a word for the variant of its dynamics, and `libraries`, the
    names of those that its numbers depend on, whose versions are recorded.
    """
    return {
        "id": name,
        "version": distribution.version,
        "physics": getattr(distribution, "physics", None),
        "settings": dict(settings),
        "libraries": {library: version(library) for library in getattr(distribution, "libraries", ())},
        "golden": golden(distribution),
    }


def golden(distribution: TaskDistribution) -> str:
    """Ten hex digits of what a few test tasks answer to actions that are the same for ever.

    Hashed are two numbers of each episode, mixtures of all that was observed and of all rewards, and when and how it
    ended. A mixture is rounded to four decimals of the power of ten above the largest of its kind. What another
    processor does to the last bits of float32 is a thousand times smaller, and moves one of the twelve numbers over an
    edge of the rounding once in about a hundred hashes; a change by a hundredth of the largest always shows.
    """
    tasks = distribution.test_tasks(TASKS, stream(0, "golden/tasks"))[:TASKS]
    actions = random_actions(distribution.spec, (len(tasks), EPISODES, min(STEPS, distribution.spec.horizon)), 0)
    env = distribution.make_env(tasks, EPISODES, stream(0, "golden/environment"), torch.device("cpu"))
    record = rehearse(env, actions)
    seen = torch.cat([record.start.unsqueeze(2), record.observations], dim=2)
    numbers = [_rounded(_mixture(x)) for x in (seen, record.rewards)]
    ends = [flags.int().tolist() for flags in (record.terminal, record.truncated)]
    return hashlib.sha256(repr([*numbers, *ends]).encode()).hexdigest()[:10]


def _mixture(x: Tensor) -> Tensor:
    """Weighted means over everything of an episode, [N, M, …] → [N, M]; weights differ, so that places matter."""
    flat = x.double().flatten(2)
    weights = torch.rand(flat.shape[-1], generator=stream(0, "golden/weights"), dtype=torch.float64)
    return flat @ (weights / weights.sum())


def _rounded(x: Tensor) -> list[Any]:
    """Numbers as whole multiples of their unit: 10^−DIGITS of the power of ten above the largest."""
    largest = x.abs().max().item()
    unit = 10.0 ** (math.ceil(math.log10(largest)) - DIGITS) if largest > 0 else 1.0
    return (x / unit).round().long().tolist()
