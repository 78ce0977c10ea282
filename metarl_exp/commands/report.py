"""Write one HTML page on the runs of a folder, to look at and to send.

    metarl-report [DIR] [--output FILE]

DIR is an `output_root`, by default `outputs`; the page is DIR/report.html.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from metarl_exp.report import write
from metarl_exp.runs.ending import command


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
