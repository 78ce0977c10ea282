"""Before anything runs: whatever is wrong with a command is refused with one clear line."""

from __future__ import annotations

import argparse
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from metarl_exp import build
from metarl_exp.build.jobs import plan
from metarl_exp.build.overrides import check_overrides
from metarl_exp.ranks import Place, Ranks
from metarl_exp.run_folder import FolderRefused
from metarl_exp.sweep import Sweep
from metarl_exp.types import EnvironmentFailure


def preflight(arguments: argparse.Namespace, place: Place) -> Sweep | None:
    """Refuse what is mistyped, before Hydra makes any folder; the sweep that is to run, if any."""
    if only_shows(arguments):
        return None
    with refusing(place):
        if arguments.config_name or arguments.config_path:
            raise ValueError("--config-name, --config-path: there is one configuration; --config-dir adds options")
        check_overrides(arguments.overrides, arguments.config_dir)
        if arguments.multirun and arguments.cfg:
            raise ValueError("--cfg shows the configuration of one job: without --multirun, and a value for each key")
        if arguments.multirun:
            refuse_ranks(place)
            sweep, jobs = plan(arguments.overrides, arguments.config_dir)
            sweep.begin(shlex.join(["metarl-train", *sys.argv[1:]]), jobs)
            return sweep
        config = build.compose(arguments.overrides, arguments.config_dir)
        if place.size > 1:
            config.device = "cpu"  # which GPU is whose is said when they meet
        parts = build.build(config, Ranks(place.rank, place.size))
        parts.evaluation.check_selection(parts.learner)
        return None


def only_shows(arguments: argparse.Namespace) -> bool:
    """Whether a command asks for help, for information, or for what completes it in a shell, and runs nothing."""
    return bool(arguments.help or arguments.hydra_help or arguments.info is not None or arguments.shell_completion)


def refuse_ranks(place: Place) -> None:
    """Raise ValueError where each of several ranks would run the whole sweep."""
    if place.size > 1:
        raise ValueError(f"a sweep in {place.size} ranks: torchrun is for one run, launchers for many (docs/sweeps.md)")


@contextmanager
def refusing(place: Place) -> Iterator[None]:
    """SystemExit with one line, said by the first of several ranks, for whatever is wrong before anything runs.

    Above it stands the traceback of an environment that went wrong in the rehearsal.
    """
    try:
        yield
    except EnvironmentFailure as failure:
        if place.rank == 0:
            traceback.print_exception(failure.__cause__)
        raise SystemExit(f"metarl-train: {failure}" if place.rank == 0 else 1) from None
    except (ValueError, ModuleNotFoundError, FolderRefused, HydraException, OmegaConfBaseException) as error:
        raise SystemExit(f"metarl-train: {error}" if place.rank == 0 else 1) from None
