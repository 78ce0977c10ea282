"""The training entry point: one job of meta-training, from a configuration to a folder of results.

metarl-train [overrides]        one run        (also `python -m metarl_exp.train`)
metarl-train -m [overrides]     a sweep
torchrun --nproc-per-node=n -m metarl_exp.train [overrides]     one run, in n processes
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from metarl_exp import wiring
from metarl_exp.commands.follow import follow
from metarl_exp.commands.launching import marked, supervised
from metarl_exp.commands.run import Run, joined_ranks
from metarl_exp.process import allocator
from metarl_exp.process.failures import RankFailure
from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.printing import console, safely
from metarl_exp.process.signals import end_with_launcher
from metarl_exp.runs import ending
from metarl_exp.runs.run_folder import RunFolder, choose_folder
from metarl_exp.runs.sweep import VARIABLE, Sweep
from metarl_exp.wiring import hydra_internals
from metarl_exp.wiring.jobs import job_running
from metarl_exp.wiring.preflight import only_shows, preflight, refusing


@safely
def job(config: DictConfig) -> float:
    """One job: returns the validation return of the best iterate, for sweepers to maximise."""
    allocator.keep_freed_memory()
    end_with_launcher()
    hydra_config = HydraConfig.get()
    sweep = Sweep(Path(hydra_config.sweep.dir), os.environ[VARIABLE]) if VARIABLE in os.environ else None
    config = wiring.with_current_keys(config)
    taking_part = sweep.take_part(job_running(config, hydra_config), config.fail_fast) if sweep else nullcontext()
    with taking_part, ExitStack() as held:
        with failing_together(config):
            folder = RunFolder(choose_folder(Path(hydra_config.runtime.output_dir), config.restart))
            held.enter_context(folder.lock())
            run = Run(config, folder, sweep, console(soft_wrap=True))
        return run.go()


@contextmanager
def failing_together(config: DictConfig) -> Iterator[None]:
    """Around the work of the first rank before all meet: if it fails, it still meets the others, which end with it."""
    try:
        yield
    except Exception:
        with suppress(RankFailure), joined_ranks(config):
            raise
        raise


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
        sweep = preflight(arguments, place)
        if place.rank > 0:
            shown = only_shows(arguments) or arguments.cfg
            return None if shown else follow(wiring.compose(arguments.overrides, arguments.config_dir), place)
        if sweep is None:
            return hydra_internals.run(job, arguments)
        arguments.overrides.append(marked(sweep))
        return supervised(sweep, lambda: hydra_internals.run(job, arguments))
