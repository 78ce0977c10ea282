"""The command line of what reads a run: `command RUN [--trust] [key=value …]`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from metarl_exp import wiring
from metarl_exp.process import allocator
from metarl_exp.process.printing import console
from metarl_exp.runs.files import file_name

THETAS = ("best", "latest", "initial")


Act = Callable[[Path, Sequence[str], bool], Path]


def read_run(name: str, description: str, keys: str, act: Act) -> Path:
    """Call `act` with the run, the settings, and whether to trust it; what it wrote.

    A run that is trusted to do more than hold data is said to be, before it does.
    """
    parser = argparse.ArgumentParser(name, description=description)
    parser.add_argument("run", type=Path, help="folder of a run, such as outputs/default-…-seed0")
    parser.add_argument("settings", nargs="*", metavar="key=value", help=keys)
    parser.add_argument(
        "--trust", action="store_true", help="run code of one's own that the run names, follow its links"
    )
    arguments = parser.parse_intermixed_args()
    allocator.keep_freed_memory()
    if arguments.trust:
        _say_what_is_trusted(arguments.run)
    return act(arguments.run, arguments.settings, arguments.trust)


def _say_what_is_trusted(run: Path) -> None:
    if does := wiring.consequences(run, wiring.load_config(run, trust=True)):
        console(soft_wrap=True).print(f"{run} is trusted to {does}")


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
