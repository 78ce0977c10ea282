"""Named, independent random generators: one seed, one stream for each purpose.

A stream's numbers depend on the seed and on its own name only, so that using more of one (a longer adaptation, one
more evaluation) leaves the others as they were. All draws are made on the CPU and moved, which gives every device the
same numbers.
"""

import hashlib
from dataclasses import dataclass, fields

import numpy as np
import torch


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
        """What a checkpoint keeps."""
        return {field.name: getattr(self, field.name).get_state() for field in fields(self)}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Continue where `state()` was taken."""
        for field in fields(self):
            getattr(self, field.name).set_state(state[field.name])


def streams(seed: int, prefix: str = "") -> Streams:
    """All streams of a seed; a prefix gives another, independent family."""
    return Streams(**{field.name: stream(seed, prefix + field.name) for field in fields(Streams)})
