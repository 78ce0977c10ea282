"""One HTML page on the runs of a folder, to look at and to send. It needs neither the network nor scripts."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from metarl_exp.report.overview import Overview
from metarl_exp.report.page import render
from metarl_exp.report.runs import read
from metarl_exp.runs.files import DamagedFile, write_atomically
from metarl_exp.runs.sweep import contained, statuses, sweeps
from metarl_exp.study.comparison import unique


def write(root: Path, output: Path) -> Path:
    """Write the page on every job under `root`, with nothing that is elsewhere. Raises ValueError if there is none."""
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    overview = Overview()
    for status in statuses(root):
        overview.take(read(contained(status, root), overview.draws))
    if not overview.total:
        raise ValueError(f"no jobs in {root}")
    page = render(root.resolve().name, overview, [*commands(root), *overview.commands])
    write_atomically(output, page.encode(errors="replace"))
    return output


def commands(root: Path) -> list[str]:
    """Each sweep's command; of a damaged one, which is among the jobs, none."""
    found = []
    for sweep in sweeps(root):
        with suppress(DamagedFile, OSError):
            found.append(sweep.command())
    return unique(found)
