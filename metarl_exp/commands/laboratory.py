"""Measure how far meta-gradient estimators are from the gradients of the exact meta-objectives.

    metarl-laboratory SETTINGS.yaml [--render]

The keys of the file are those of `Study` in `laboratory/study.py`. Beside it, results go into `gradients.json`, a page
`gradients.md`, a table for the documentation `bias.md`, and figures. `--render` makes all but the first again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from metarl_exp.figures import estimators as figures
from metarl_exp.laboratory import report
from metarl_exp.laboratory.study import Study, gradients, hessians, read
from metarl_exp.process import allocator
from metarl_exp.process.printing import console
from metarl_exp.runs import provenance
from metarl_exp.runs.ending import command
from metarl_exp.runs.files import read_json, write_atomically


def measure(study: Study, shown: Console) -> dict[str, Any]:
    """Content of `gradients.json`."""
    made_by, begun = provenance.commit(), time.process_time()
    with Progress(console=shown, disable=not shown.is_terminal) as progress:
        task = progress.add_task("MDPs", total=study.mdps * len(study.step_sizes) * len(study.trajectories))
        found = gradients(study, lambda: progress.advance(task))
    return {
        "gradients": found,
        "hessians": hessians(study),
        "provenance": {
            **made_by,
            "results_version": provenance.RESULTS_VERSION,
            "torch": torch.__version__,
            "processor_seconds": round(time.process_time() - begun, 1),
        },
    }


def render(folder: Path, study: Study, stored: dict[str, Any]) -> None:
    """The page, the table and the figures, beside the results."""
    for name, text in report.pages(study, stored).items():
        write_atomically(folder / name, text.encode())
    figures.gradients(stored["gradients"], report.DRAWN, folder)
    figures.hessians(stored["hessians"], study.trajectories, folder)


@command("metarl-laboratory")
def main() -> None:
    """The command `metarl-laboratory`."""
    parser = argparse.ArgumentParser(
        "metarl-laboratory", description="Bias and variance of meta-gradient estimators on tiny MDPs."
    )
    parser.add_argument("settings", type=Path, help="such as experiments/estimators/settings.yaml")
    parser.add_argument("--render", action="store_true", help="only show stored results again")
    arguments = parser.parse_args()
    allocator.keep_freed_memory()
    torch.set_num_threads(1)  # the tensors are small, and jobs share cores
    shown, results = console(), arguments.settings.parent / "gradients.json"
    study = read(arguments.settings)
    if not arguments.render:
        write_atomically(results, report.as_json(measure(study, shown)).encode())
    stored = read_json(results)
    render(results.parent, study, stored)
    for table in report.tables(study, stored):
        shown.print(table)
    shown.print(f"written: {results} and what is beside it", soft_wrap=True)


if __name__ == "__main__":
    main()
