"""Write one HTML page on the runs of a folder, to look at and to send.

    metarl-report [DIR] [--output FILE]

DIR is an `output_root`, by default `outputs`; the page is DIR/report.html, and needs neither the network nor scripts.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from metarl_exp.comparison import unique
from metarl_exp.ending import command
from metarl_exp.files import DamagedFile, write_atomically
from metarl_exp.report.overview import Overview
from metarl_exp.report.page import render
from metarl_exp.report.runs import read
from metarl_exp.sweep import contained, statuses, sweeps


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


@command("metarl-report")
def main() -> None:
    """The command `metarl-report`."""
    parser = argparse.ArgumentParser("metarl-report", description="Write one HTML page on the runs of a folder.")
    parser.add_argument("root", nargs="?", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: DIR/report.html")
    arguments = parser.parse_args()
    try:
        path = write(arguments.root, arguments.output or arguments.root / "report.html")
    except ValueError as error:
        raise SystemExit(f"metarl-report: {error}") from None
    print(f"written: {path}")


if __name__ == "__main__":
    main()
