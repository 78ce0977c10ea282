"""Play classical agents in a distribution's own environments, and put the outcome beside a published table.

    metarl-classical STUDY.yaml [--rows NAME …] [--again]      also python -m metarl_exp.commands.classical

The keys of the file are described in `study/classical.py`. Beside the study, results go into a file `.json` and a
table `.md`. Rows that are there already, with the same settings, are kept, so the same command continues after an
interruption.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from metarl_exp.checker.identity import identified
from metarl_exp.markdown import escaped
from metarl_exp.process import allocator
from metarl_exp.process.printing import console
from metarl_exp.runs import provenance
from metarl_exp.runs.ending import command
from metarl_exp.runs.files import read_json, write_atomically
from metarl_exp.study import comparison
from metarl_exp.study.classical import Row, Study, play_rows, read
from metarl_exp.study.comparison import PublishedTable
from metarl_exp.study.cost import Cost
from metarl_exp.validation import require_choice
from metarl_exp.wiring import component


def run(path: Path, console: Console, only: Sequence[str] = (), again: bool = False) -> dict[str, Any]:
    """Play the rows that are not there yet, writing both files after each; what the `.json` holds in the end.

    `only` names the rows to play, all if empty; `again` plays those that are there too. Raises ValueError for a study
    that says something wrong, and for rows of other code that would be kept, before anything is played.
    """
    study = read(path)
    source = study.published
    published = PublishedTable(path.parent / source["file"], source["paper"], source["table"])
    for row, column in itertools.product(study.rows, study.columns):
        published(row.published, column.published)
    for name in only:
        require_choice("--rows", name, [row.name for row in study.rows])
    stored = kept(study, path.with_suffix(".json"))
    todo = [row for row in study.rows if (row.name in only or not only) and (again or row.name not in stored)]
    require_current(study, stored, [row for row in study.rows if row.name in stored and row not in todo])
    plays = sum(len(column.settings()) + 1 for column in study.columns)
    write(path, study, stored, published)  # also what was kept may be shown in another way by now
    with Progress(console=console, disable=not console.is_terminal) as progress:
        for longest, together in itertools.groupby(todo, lambda row: study.longest(row).name):
            task = progress.add_task(escape(longest), total=plays)
            played = play_rows(study, list(together), lambda task=task: progress.advance(task))
            stored |= played
            for name, row in played.items():
                console.print(f"{name}: {row['provenance']['seconds']:.0f} s")
            write(path, study, stored, published)
    return stored


def write(path: Path, study: Study, stored: Mapping[str, Any], published: PublishedTable) -> None:
    """Both files beside the study."""
    write_atomically(path.with_suffix(".json"), as_json(study, stored).encode())
    write_atomically(path.with_suffix(".md"), as_markdown(study, stored, published).encode())


def kept(study: Study, file: Path) -> dict[str, Any]:
    """The rows of an earlier run whose settings are still the study's."""
    before = read_json(file, "rows")["rows"] if file.is_file() else {}
    return {
        row.name: before[row.name]
        for row in study.rows
        if row.name in before and before[row.name]["fingerprint"] == study.fingerprint(row)
    }


def require_current(study: Study, stored: Mapping[str, Any], rows: Iterable[Row]) -> None:
    """Raise ValueError for a stored row that was played in other environments, or by other agents of one's own."""
    for row in rows:
        environment: Any = study.environment_of(row)
        distribution, known = component("environment", environment), stored[row.name]
        record = {name: known["provenance"][name] for name in ("powers", "sources") if name in known["provenance"]}
        identify = functools.partial(identified, environment["_target_"], distribution, settings={})
        changes = provenance.changes(record | {"environment": known["environment"]}, identify)
        if changes:
            raise ValueError(f"row {row.name!r} was played by other code: {'; '.join(changes)}; --again plays it again")


def cost(study: Study, stored: Mapping[str, Any]) -> Cost:
    """Cost of playing the stored rows."""
    steps, seconds = 0, 0.0
    done = [row for row in study.rows if row.name in stored]
    for _, together in itertools.groupby(done, lambda row: study.longest(row).name):
        rows = list(together)
        longest = study.longest(rows[0])
        chosen = {c.name: {str(stored[row.name]["cells"][c.name]["chosen"]) for row in rows} for c in study.columns}
        plays = sum(len(c.settings()) + len(chosen[c.name]) for c in study.columns)  # those chosen again, on new tasks
        environment: Any = study.environment_of(longest)
        horizon = component("environment", environment).spec.horizon
        steps += plays * study.instances * longest.episodes * horizon
        seconds += stored[rows[0].name]["provenance"]["seconds"]
    return Cost(steps, seconds)


def as_json(study: Study, stored: Mapping[str, Any]) -> str:
    """One line a row, in the study's order."""
    dumps = functools.partial(json.dumps, ensure_ascii=False)
    lines = [f"{dumps(row.name)}: {dumps(stored[row.name])}" for row in study.rows if row.name in stored]
    head = f'"instances": {study.instances}, "seed": {study.seed}, "rows": '
    return "{" + head + "{\n" + ",\n".join(lines) + "\n}}\n"


def as_markdown(study: Study, stored: Mapping[str, Any], published: PublishedTable) -> str:
    """The table that people read."""
    shown = comparison.tables(
        {row.name: row.published for row in study.rows},
        {column.name: column.published for column in study.columns},
        {name: row["cells"] for name, row in stored.items()},
        published,
    )
    return f"# {escaped(study.title)}\n\nn = {study.instances} instances a cell, seed {study.seed}.\n\n{shown}\n"


@command("metarl-classical")
def main() -> None:
    """The command `metarl-classical`."""
    parser = argparse.ArgumentParser(
        "metarl-classical", description="Play classical agents and compare with a published table."
    )
    parser.add_argument("study", type=Path, help="such as experiments/duan2016/bandits.yaml")
    parser.add_argument("--rows", nargs="+", default=[], metavar="NAME", help="play these rows only")
    parser.add_argument("--again", action="store_true", help="play rows that are there already, too")
    arguments = parser.parse_args()
    allocator.keep_freed_memory()
    torch.set_num_threads(1)  # the tensors are small, and jobs share cores
    shown = console()
    run(arguments.study, shown, arguments.rows, arguments.again)
    shown.print(f"written: {arguments.study.with_suffix('.json')} and .md", soft_wrap=True)


if __name__ == "__main__":
    main()
