"""Sweeps as they are run, by a command or for a study: what every job is told, and how all stand at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metarl_exp import wiring
from metarl_exp.commands import status
from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.printing import console
from metarl_exp.runs import ending
from metarl_exp.runs.sweep import VARIABLE, Sweep
from metarl_exp.wiring import hydra_internals
from metarl_exp.wiring.arguments import refusing
from metarl_exp.wiring.jobs import plan
from metarl_exp.wiring.preflight import making_folders, refuse_ranks


def marked(sweep: Sweep) -> str:
    """The override with which Hydra carries a sweep's id to its jobs, with any launcher."""
    return f"++hydra.job.env_set.{VARIABLE}='{sweep.id}'"


def supervised(sweep: Sweep, run: Callable[[], Any]) -> None:
    """Run a sweep and print how its jobs stand. Raises JobFailed unless all are finished, or what a job raised."""
    try:
        run()
    finally:
        standing = sweep.statuses()
        if standing:  # nothing began otherwise
            console(soft_wrap=True).print(status.table(standing))
    unfinished = sum(one.state != "finished" for one in standing)
    if unfinished:
        raise ending.JobFailed(f"{unfinished} of {len(standing)} jobs are not finished; the same command continues")


def launch(job: Callable[..., Any], jobs: Sequence[Sequence[str]], overrides: Sequence[str]) -> None:
    """Run jobs, each a list of overrides, as one sweep; further `overrides` are for all of them, and choose a launcher.

    A job that fails stops no other, and the table that is printed says so. SystemExit with one line for what is
    mistyped.
    """
    with refusing(place := ProcessInfo.here()):
        refuse_ranks(place)
        wiring.check_overrides(overrides)
        sweep, planned = plan(overrides, listed=jobs)
        with making_folders(sweep.root):
            sweep.begin(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), planned)
    try:
        supervised(sweep, lambda: hydra_internals.launch(job, jobs, [*overrides, marked(sweep)]))
    except Exception as error:
        console(soft_wrap=True).print(ending.reason(error))
