"""Named, independent random generators: one seed, one stream for each purpose.

A stream's numbers depend on the seed and on its own name only, so that using more of one (a longer adaptation, one
more evaluation) leaves the others as they were. All draws are made on the CPU and moved, which gives every device the
same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl_exp.process.ranks import Ranks


def stream(seed: int, name: str) -> torch.Generator:
    """The generator called `name` of this seed."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    state = np.random.SeedSequence([seed, key]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


@dataclass(frozen=True)
class Streams:
    """The generators that training draws from; evaluation makes its own afresh each time."""

    initialisation: torch.Generator
    tasks: torch.Generator
    actions: torch.Generator
    environment: torch.Generator

    def state(self) -> dict[str, torch.Tensor]:
        """State for a checkpoint."""
        return {field.name: getattr(self, field.name).get_state() for field in fields(self)}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Continue where `state()` was taken."""
        for field in fields(self):
            getattr(self, field.name).set_state(state[field.name])


def streams(seed: int, prefix: str = "") -> Streams:
    """All streams of a seed; a prefix gives another, independent family."""
    return Streams(**{field.name: stream(seed, prefix + field.name) for field in fields(Streams)})


class RankGenerator(torch.Generator):
    """A stream as one of several ranks draws from it, for its `num_tasks` tasks.

    What is drawn by `draw` is drawn from `whole` for the tasks of all ranks, so that numbers are those of one process.
    What draws from it directly has a stream of this rank's own, which nothing keeps: it is seeded by `seed`.
    """

    def __new__(cls, *_: Any, **__: Any) -> RankGenerator:
        return super().__new__(cls)

    def __init__(self, whole: torch.Generator, ranks: Ranks, num_tasks: int, seed: bytes) -> None:
        self.whole, self.ranks, self.num_tasks = whole, ranks, num_tasks
        self.draws = 0  # that were made so far
        key = hashlib.sha256(seed + str(ranks.rank).encode()).digest()[:8]
        self.manual_seed(int.from_bytes(key, "big") >> 1)


def draw(
    kind: Callable[..., Tensor], shape: tuple[int, ...], generator: torch.Generator, axis: int = 0, **settings: Any
) -> Tensor:
    """Random numbers of a shape by `torch.rand`, `torch.randn` or the like; `axis` is that of tasks.

    It may be one of tasks and something else, tasks first. Whatever in an environment is random is drawn by it, so that
    several ranks have the numbers of one process: each draws for all tasks, and keeps those of its own.
    """
    if not isinstance(generator, RankGenerator):
        return kind(shape, generator=generator, **settings)
    generator.draws += 1
    ranks, length = generator.ranks, shape[axis]
    everyone = kind((*shape[:axis], ranks.size * length, *shape[axis + 1 :]), generator=generator.whole, **settings)
    by_task = everyone.unflatten(axis, (ranks.size * generator.num_tasks, length // generator.num_tasks))
    return ranks.share(by_task, axis).flatten(axis, axis + 1)
