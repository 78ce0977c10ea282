"""Before anything runs: whatever is wrong with the values of a command is refused with one clear line."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.ranks import Ranks
from metarl_exp.runs.ending import reason
from metarl_exp.runs.sweep import Sweep
from metarl_exp.validation import installed_memory
from metarl_exp.wiring.assembly import assemble
from metarl_exp.wiring.composing import compose
from metarl_exp.wiring.jobs import plan
from metarl_exp.wiring.overrides import check_method


def preflight(arguments: argparse.Namespace, place: ProcessInfo) -> Sweep | None:
    """Refuse values that are out of range, before any folder is made; the sweep that is to run, if any.

    The arguments are checked already.
    """
    if arguments.multirun:
        refuse_ranks(place)
        sweep, jobs = plan(arguments.overrides, arguments.config_dir)
        with making_folders(sweep.root):
            sweep.begin(shlex.join(["metarl-train", *sys.argv[1:]]), jobs)
        return sweep
    config = compose(arguments.overrides, arguments.config_dir, with_hydra=True)
    check_method(config, arguments.config_dir)
    if place.size > 1:
        config.device = "cpu"  # which GPU is whose is said when they meet
    parts = assemble(config, Ranks(place.rank, place.size), installed_memory())
    parts.evaluation.check_selection(parts.learner)
    if place.rank == 0:
        with making_folders(Path(config.hydra.run.dir)):  # as Hydra does next, which would not say it in one line
            Path(config.hydra.run.dir).mkdir(parents=True, exist_ok=True)
    return None


@contextmanager
def making_folders(folder: Path) -> Iterator[None]:
    """Raise ValueError, naming the key, if a run's or a sweep's folder cannot be made."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"output_root, for {folder}: {reason(error)}") from error


def refuse_ranks(place: ProcessInfo) -> None:
    """Raise ValueError where each of several ranks would run the whole sweep."""
    if place.size > 1:
        raise ValueError(f"a sweep in {place.size} ranks: torchrun is for one run, launchers for many (docs/sweeps.md)")
