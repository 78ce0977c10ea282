"""The training entry point: from a command line to one job or a sweep, or to what it only shows.

metarl-train [overrides]        one run        (also `python -m metarl_exp.train`)
metarl-train -m [overrides]     a sweep
torchrun --nproc-per-node=n -m metarl_exp.train [overrides]     one run, in n processes
"""

from __future__ import annotations

import os
import sys
from typing import Any

from omegaconf import DictConfig

from metarl_exp import wiring
from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.printing import safely
from metarl_exp.runs import ending
from metarl_exp.wiring import hydra_internals
from metarl_exp.wiring.arguments import check_arguments, only_shows, refusing


@safely
def job(config: DictConfig) -> float:
    """One job: returns the validation return of the best iterate, for sweepers to maximise."""
    from metarl_exp.commands import training  # torch and all that it trains with, which is not needed to show help

    return training.train(config)


def current(override: str) -> str:
    """An override with the key as it is today; a line says so of one that was renamed."""
    today = wiring.current_override(override)
    if today != override:
        print(f"{override}: this key is now {today.partition('=')[0]}", file=sys.stderr)
    return today


@ending.command("metarl-train")
def main() -> Any:
    """The command `metarl-train`."""
    arguments, place = hydra_internals.command_line(), ProcessInfo.here()
    arguments.overrides = [current(override) for override in arguments.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, and Hydra prints no traceback of its own
    with refusing(place):
        check_arguments(arguments)
        if only_shows(arguments):
            return None if place.rank > 0 else hydra_internals.run(job, arguments)
        from metarl_exp.commands import training  # as above

        return training.start(job, arguments, place)
