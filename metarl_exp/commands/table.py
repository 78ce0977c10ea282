"""Make the table of a study from the runs that there are, and say which are missing.

    metarl-table [STUDY.yaml …] [--runs DIR …]          take up finished runs from folders of runs, then render
    metarl-table [STUDY.yaml …] --stored                render from the stored summaries alone, as they are
    metarl-table [STUDY.yaml …] --launch [OVERRIDE …]   say what the missing runs will cost, run them, then render

Beside the study's file it writes `.md`, `.tex`, `.csv` and the study's figures (PNG and PDF), and into `runs/` the
summary of every run that it found. Without a file it is all studies under `experiments/`. What follows `--launch` goes
to all jobs, as in `hydra/launcher=joblib threads=1`.
Without --stored, runs of other code than today's are refused; `--launch restart=true` runs them again. The exit status
is 0 if no run is missing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table as Grid

from metarl_exp.commands.launching import launch
from metarl_exp.commands.train import job
from metarl_exp.process.printing import console
from metarl_exp.runs.ending import command
from metarl_exp.runs.files import write_atomically
from metarl_exp.study import cost, declaration, drawing, rendering, runs
from metarl_exp.study.cells import Table, assemble
from metarl_exp.study.declaration import Study
from metarl_exp.study.runs import Runs, Today, Wanted, outdated, require_current, take_up

RUNS = Path("outputs")
EXPERIMENTS = Path("experiments")


def studies(folder: Path) -> list[Path]:
    """The files of all studies under a folder."""
    return [path for path in sorted(folder.glob("**/*.yaml")) if declaration.is_study(path)]


def texts(table: Table) -> dict[str, str]:
    """Formats of a table, by the ending of the file."""
    return {
        "md": rendering.markdown(table),
        "tex": rendering.latex(table),
        "csv": rendering.comma_separated(table),
    }


def make(study: Study) -> Table:
    """Render a study from its stored summaries, into the files beside it."""
    table = assemble(study, runs.stored(study))
    for ending, text in texts(table).items():
        write_atomically(study.path.with_suffix(f".{ending}"), text.encode(errors="replace"))
    drawing.draw(table)
    return table


def standing(study: Study, stored: Runs) -> Grid:
    """Which runs there are, by row, as people read it."""
    grid = Grid(title=f"{study.path}: runs", title_justify="left")
    for column in ("row", "finished", "seeds failed", "seeds missing"):
        grid.add_column(column)
    wanted = runs.wanted(study, stored)
    for row in study.rows:
        needed = [w for w in wanted if w.row == row.name]
        there = {w: stored[w.key] for w in needed if w.key in stored}
        failed = [f"{w.seed} ({run.state}: {run.reason})" for w, run in there.items() if not run.finished]
        absent = [str(w.seed) for w in needed if w not in there]
        finished = sum(run.finished for run in there.values())
        grid.add_row(row.name, f"{finished} of {len(needed)}", ", ".join(failed) or "-", ", ".join(absent) or "-")
    return grid


def run_missing(study: Study, folder: Path, overrides: Sequence[str], shown: Console, today: Today) -> None:
    """Run what a study lacks, and take it up; again as long as rows that choose then want further runs.

    A run of other code is as good as none. One that failed stays so, and is not tried twice.
    """
    tried: set[runs.Key] = set()
    while lacking := [w for w in _lacking(study, today) if w.key not in tried]:
        shown.print(_announced(lacking, cost.estimate(study, runs.stored(study), lacking)))
        launch(job, [[*w.overrides, f"seed={w.seed}"] for w in lacking], [f"output_root={folder}", *overrides])
        tried |= {w.key for w in lacking}
        take_up(study, [folder], today)


def _lacking(study: Study, today: Today) -> list[Wanted]:
    stored, old = runs.stored(study), outdated(study, today)
    return cost.missing(study, {key: run for key, run in stored.items() if key not in old})


def _announced(lacking: Sequence[Wanted], estimated: cost.Cost) -> str:
    if estimated.seconds is None:
        time = "no finished run tells how long"
    else:
        time = f"some {estimated.seconds / 3600:.2g} hours one after the other, as finished runs of the same rows took"
    return f"{len(lacking)} runs are missing: at most {estimated.steps / 1e6:.3g} million environment steps; {time}"


@command("metarl-table")
def main() -> None:
    """The command `metarl-table`."""
    parser = argparse.ArgumentParser("metarl-table", description="Make the table of a study from its runs.")
    parser.add_argument("studies", nargs="*", type=Path, metavar="STUDY.yaml", help="all under experiments/")
    parser.add_argument("--runs", nargs="+", type=Path, default=[RUNS], metavar="DIR", help="folders of runs (outputs)")
    parser.add_argument("--stored", action="store_true", help="look for no runs: render the stored summaries")
    parser.add_argument("--launch", nargs="*", metavar="OVERRIDE", help="run what is missing, with these overrides")
    arguments = parser.parse_args()
    shown, lacking, refused, today = console(), 0, [], Today()
    for path in arguments.studies or studies(EXPERIMENTS):
        try:
            study = declaration.load(path)
            if not arguments.stored:
                take_up(study, arguments.runs, today)
            if arguments.launch is not None:
                run_missing(study, arguments.runs[0], arguments.launch, shown, today)
            if not arguments.stored:
                require_current(study, today)
            make(study)
        except ValueError as error:  # the others may be made all the same
            refused.append(f"metarl-table: {error}")
            continue
        stored = runs.stored(study)
        shown.print(standing(study, stored))
        shown.print(Markdown(study.path.with_suffix(".md").read_text(encoding="utf-8")))
        lacking += len(cost.missing(study, stored))
    for reason in [] if arguments.stored else runs.unidentified(arguments.runs):
        shown.print(f"damaged, and in no table: {reason}", soft_wrap=True)
    raise SystemExit("\n".join(refused) or int(lacking > 0))


if __name__ == "__main__":
    main()
