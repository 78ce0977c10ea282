"""The part of all ranks of a run but the first: the same meta-iterations, and nothing of what leaves the processes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch
from omegaconf import DictConfig

from metarl_exp import wiring
from metarl_exp.algorithm.learner import Learner
from metarl_exp.process import allocator
from metarl_exp.process.failures import EnvironmentFailure, NonFiniteError
from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.ranks import Ranks, joined
from metarl_exp.process.signals import terminated_as_interrupt
from metarl_exp.runs import checkpoint


def follow(config: DictConfig, place: ProcessInfo) -> None:
    """Run the iterations of a rank other than the first, and nothing beside. The first rank says how all ended."""
    allocator.keep_freed_memory()
    try:
        with (
            joined(place, config.rank_timeout, str(wiring.device_named(config.device))) as ranks,
            terminated_as_interrupt(),
        ):
            config.init_from = None  # the first rank has it
            learner = wiring.assemble(config, ranks).learner
            if told := ranks.broadcast_object():  # nothing if there is nothing left to do
                threads, state, folder = told
                torch.set_num_threads(threads)
                learner.restore(state)
                take_part(learner, config.iterations, ranks, folder)
    except (KeyboardInterrupt, Exception):  # the first says why
        raise SystemExit(1) from None


def take_part(learner: Learner, iterations: int, ranks: Ranks, folder: Path) -> None:
    """The meta-iterations that are left, each when the first rank has judged and saved the one before."""
    try:
        for _ in learner.iterations(iterations - learner.iteration):
            ranks.broadcast_object()
    except NonFiniteError as error:
        raise checkpoint.keep_batch(folder / f"failed_batch-rank{ranks.rank}.pt", error) from error
    finally:
        with suppress(EnvironmentFailure):
            learner.close()
