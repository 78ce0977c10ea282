"""Training, behind the entry point: the job of a configuration, and the run or the sweep of a command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from metarl_exp import wiring
from metarl_exp.commands.follow import follow
from metarl_exp.commands.launching import marked, supervised
from metarl_exp.commands.run import Run, joined_ranks
from metarl_exp.process import allocator
from metarl_exp.process.failures import RankFailure
from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.printing import console
from metarl_exp.process.signals import end_with_launcher
from metarl_exp.runs.run_folder import RunFolder, choose_folder
from metarl_exp.runs.sweep import VARIABLE, Sweep
from metarl_exp.wiring import hydra_internals
from metarl_exp.wiring.jobs import job_running
from metarl_exp.wiring.preflight import preflight


def train(config: DictConfig) -> float:
    """Do one job in its folder; the validation return of the best iterate."""
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


def start(job: Callable[[DictConfig], float], arguments: argparse.Namespace, place: ProcessInfo) -> None:
    """Run the job, or the sweep of jobs, that arguments ask for; as a rank other than the first, take part."""
    sweep = preflight(arguments, place)
    if place.rank > 0:
        follow(wiring.compose(arguments.overrides, arguments.config_dir), place)
    elif sweep is None:
        hydra_internals.run(job, arguments)
    else:
        arguments.overrides.append(marked(sweep))
        supervised(sweep, lambda: hydra_internals.run(job, arguments))
