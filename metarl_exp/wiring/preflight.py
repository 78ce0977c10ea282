"""Before anything runs: whatever is wrong with a command is refused with one clear line."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.ranks import Ranks
from metarl_exp.runs.ending import ending, reason
from metarl_exp.runs.sweep import Sweep
from metarl_exp.validation import installed_memory
from metarl_exp.wiring.assembly import assemble
from metarl_exp.wiring.composing import compose
from metarl_exp.wiring.jobs import plan
from metarl_exp.wiring.overrides import check_method, check_overrides


def preflight(arguments: argparse.Namespace, place: ProcessInfo) -> Sweep | None:
    """Refuse what is mistyped, before any folder is made; the sweep that is to run, if any."""
    if only_shows(arguments):
        return None
    if arguments.config_name or arguments.config_path:
        raise ValueError(
            "--config-name and --config-path are not supported: --config-dir adds options to the one configuration"
        )
    if arguments.experimental_rerun:
        raise ValueError("--experimental-rerun: reads a pickle, which can run code; the same command continues a run")
    check_overrides(arguments.overrides, arguments.config_dir)
    if arguments.multirun and arguments.cfg:
        raise ValueError("--cfg shows the configuration of one job: without --multirun, and a value for each key")
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
    if place.rank == 0 and not arguments.cfg:
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


def only_shows(arguments: argparse.Namespace) -> bool:
    """Whether a command asks for help, for information, or for what completes it in a shell, and runs nothing."""
    return bool(arguments.help or arguments.hydra_help or arguments.info is not None or arguments.shell_completion)


def refuse_ranks(place: ProcessInfo) -> None:
    """Raise ValueError where each of several ranks would run the whole sweep."""
    if place.size > 1:
        raise ValueError(f"a sweep in {place.size} ranks: torchrun is for one run, launchers for many (docs/sweeps.md)")


@contextmanager
def refusing(place: ProcessInfo) -> Iterator[None]:
    """`ending` of metarl-train; what Hydra and OmegaConf refuse is mistyped as well."""
    with ending("metarl-train", place.rank):
        try:
            yield
        except (HydraException, OmegaConfBaseException) as error:
            raise ValueError(_without_internals(error)) from error


def _without_internals(error: Exception) -> str:
    """An error of Hydra's or OmegaConf's with its cause, without what it says of their objects."""
    said = ": ".join(str(e) for e in (error, error.__cause__) if e)
    return re.sub(r"\s*(full_key: (\S+))?\s+object_type=\S+", lambda found: f" ({found[2]})" if found[2] else "", said)
