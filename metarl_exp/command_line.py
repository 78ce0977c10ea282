"""The command line of what reads a run: `command RUN [key=value …]`, and how it refuses."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from metarl_exp import allocator
from metarl_exp.files import file_name
from metarl_exp.types import EnvironmentFailure

THETAS = ("best", "latest", "initial")


def read_run(name: str, description: str, keys: str, act: Callable[[Path, Sequence[str]], Path]) -> Path:
    """Call `act` with the run and the settings that were typed; what it wrote. SystemExit with one line if refused."""
    parser = argparse.ArgumentParser(name, description=description)
    parser.add_argument("run", type=Path, help="folder of a run, such as outputs/default-…-seed0")
    parser.add_argument("settings", nargs="*", metavar="key=value", help=keys)
    arguments = parser.parse_args()
    allocator.keep_freed_memory()
    try:
        return act(arguments.run, arguments.settings)
    except (ValueError, FileNotFoundError, ImportError, EnvironmentFailure) as error:
        raise SystemExit(f"{name}: {error}") from None


def pairs(settings: Sequence[str]) -> dict[str, str]:
    """`key=value` settings by key; an `evaluation.` in front of a key is welcome. Raises ValueError without a `=`."""
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"{setting!r}: settings are written key=value")
        found[key.removeprefix("evaluation.")] = value
    return found


def file_stem(name: str, given: Mapping[str, str]) -> str:
    """A file's name that says which settings it was made with, as far as a name can."""
    return file_name(name, *(f"{key}-{value.replace(' ', '')}" for key, value in sorted(given.items())))
