"""Arguments of `metarl-train`: those that only show something, and the mistyped ones. Neither needs torch."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from metarl_exp.process.place import ProcessInfo
from metarl_exp.runs.ending import ending
from metarl_exp.wiring.composing import compose
from metarl_exp.wiring.overrides import check_method, check_overrides


def only_shows(arguments: argparse.Namespace) -> bool:
    """Whether a command runs nothing: it asks for a configuration, for help or for shell completion."""
    return bool(arguments.cfg) or _asks_of_hydra(arguments)


def _asks_of_hydra(arguments: argparse.Namespace) -> bool:
    """Whether a command asks for help, information or shell completion, whatever its overrides."""
    return bool(arguments.help or arguments.hydra_help or arguments.info is not None or arguments.shell_completion)


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raise ValueError for arguments and overrides that do not exist, and for a configuration that is not composed.

    Values are not checked here: `preflight` constructs the components that take them.
    """
    if _asks_of_hydra(arguments):
        return
    if arguments.config_name or arguments.config_path:
        raise ValueError(
            "--config-name and --config-path are not supported: --config-dir adds options to the one configuration"
        )
    if arguments.experimental_rerun:
        raise ValueError("--experimental-rerun: reads a pickle, which can run code; the same command continues a run")
    check_overrides(arguments.overrides, arguments.config_dir)
    if arguments.multirun and arguments.cfg:
        raise ValueError("--cfg shows the configuration of one job: without --multirun, and a value for each key")
    if arguments.cfg:
        check_method(compose(arguments.overrides, arguments.config_dir, with_hydra=True), arguments.config_dir)


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
