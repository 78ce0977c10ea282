"""How every job of every sweep under a folder stands.

    metarl-status [DIR]

DIR is an `output_root`, by default `outputs`. Exit status 0 if all jobs are finished, 1 if any failed, was interrupted,
is missing or damaged, 3 if nothing is wrong and some are still running.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from metarl_exp.process.printing import console
from metarl_exp.runs.ending import command
from metarl_exp.runs.sweep import STATES, JobStatus, statuses

STYLES = dict(zip(STATES, ("green", "cyan", "bold red", "yellow", "magenta", "bold magenta"), strict=True))


def table(jobs: Sequence[JobStatus]) -> Table:
    """A row for each job: its state, and what is known of why."""
    counts = Counter(job.state for job in jobs)
    title = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    shown = Table("job", "state", "why", title=f"{len(jobs)} jobs: {title}", title_justify="left")
    for job in jobs:
        log = f"see {job.log}" if job.reason and job.log and job.state != "finished" else None
        why = "; ".join(filter(None, [job.reason, log]))
        shown.add_row(job.name, Text(job.state, STYLES[job.state]), why)
    return shown


def exit_status(jobs: Sequence[JobStatus]) -> int:
    """0: all finished; 3: some still running; 1: anything else."""
    states = {job.state for job in jobs}
    if states <= {"finished"}:
        return 0
    return 3 if states <= {"finished", "running"} else 1


@command("metarl-status")
def main() -> None:
    """The command `metarl-status`."""
    parser = argparse.ArgumentParser("metarl-status", description="How every job under a folder stands.")
    parser.add_argument("root", nargs="?", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    root = parser.parse_args().root
    if not root.is_dir():
        raise SystemExit(f"metarl-status: {root} is not a folder")
    jobs = statuses(root)
    console().print(table(jobs) if jobs else f"no jobs in {root}")
    sys.exit(exit_status(jobs))


if __name__ == "__main__":
    main()
