"""Place of this process among those of its run, which is known before torch is imported."""

from __future__ import annotations

import os
from typing import NamedTuple


class ProcessInfo(NamedTuple):
    """Rank of this process in its run and on its machine, as `torchrun` passes it."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those on this machine
    local_size: int = 1

    @classmethod
    def here(cls) -> ProcessInfo:
        """From the environment variables; a process by itself if they do not say otherwise."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names)) if all(n in os.environ for n in names) else cls()

    def program(self) -> list[str]:
        """The command of this process, without arguments; torchrun's rendezvous endpoint is not known here."""
        machines = self.size // self.local_size
        how = [*([f"--nnodes={machines}"] if machines > 1 else []), f"--nproc-per-node={self.local_size}"]
        return ["metarl-train"] if self.size == 1 else ["torchrun", *how, "-m", "metarl_exp.train"]
