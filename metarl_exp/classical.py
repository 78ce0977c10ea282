"""Play classical agents in a distribution's own environments, and put the outcome beside a published table.

    metarl-classical STUDY.yaml [--rows NAME …] [--again]      also python -m metarl_exp.classical

A study is a table. Its file has exactly these keys:

    title: what the table is
    instances: tasks that every cell is a mean over
    seed: of the tasks and of all luck
    published: {file: path from the study's folder, paper: …, table: …}     as they stand in that file
    environment: {_target_: a task distribution, its arguments …}
    rows:
      - name: …
        environment: {arguments that differ in this row …}
        episodes: that an agent plays one after the other in each task
        published: the environment's name in the published file, or null
    columns:
      - name: …
        agent: {_target_: an agent, its arguments …}
        grid: {argument: [values], …}     or {}; every combination is played
        published: the method's name in the published file, or null

All columns of a row play the same tasks with the same luck. Rows of one environment are read off one play, the
longest: fewer episodes are its beginning, so an agent's play must not depend on how many are to follow. Of a grid the
best mean over these instances is taken, which is what the published tables did; every choice is played again on as
many new tasks, which shows what that flatters.

Beside the study, results go into a file `.json` and a table `.md`. Rows that are there already, with the same
settings, are kept, so the same command continues what was interrupted.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from torch import Tensor

from metarl_exp import allocator, comparison, provenance
from metarl_exp.agents import play
from metarl_exp.build import component
from metarl_exp.comparison import PublishedTable
from metarl_exp.ending import command
from metarl_exp.files import read_json, read_yaml, write_atomically
from metarl_exp.identity import identified
from metarl_exp.markdown import escaped
from metarl_exp.printing import console
from metarl_exp.sources import digests
from metarl_exp.streams import streams
from metarl_exp.study.cost import Cost
from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.validation import nearest, require_choice, require_integer


@dataclass(frozen=True)
class Row:
    """One setting of the environment."""

    name: str
    environment: dict[str, Any]
    episodes: int
    published: str | None

    def __post_init__(self) -> None:
        require_integer(f"rows[{self.name}].episodes", self.episodes, low=1)


@dataclass(frozen=True)
class Column:
    """One agent, and the hyper-parameters to choose from."""

    name: str
    agent: dict[str, Any]
    grid: dict[str, list[Any]]
    published: str | None

    def settings(self) -> list[dict[str, Any]]:
        """Every combination of the grid's values; one empty one for an empty grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]


@dataclass(frozen=True)
class Study:
    """What a study's file says; see the module's docstring."""

    title: str
    instances: int
    seed: int
    published: dict[str, str]
    environment: dict[str, Any]
    rows: list[Row]
    columns: list[Column]

    def __post_init__(self) -> None:
        require_integer("instances", self.instances, low=2)
        require_integer("seed", self.seed, low=0)
        for kind, entries in (("rows", self.rows), ("columns", self.columns)):
            names = [entry.name for entry in entries]
            if len(set(names)) != len(names):
                raise ValueError(f"{kind}: names must differ, got {', '.join(names)}")

    def environment_of(self, row: Row) -> dict[str, Any]:
        """The arguments of a row's environment, with its `_target_`."""
        return self.environment | row.environment

    def longest(self, row: Row) -> Row:
        """The row of the same environment with the most episodes, of whose play this one is the beginning."""
        return max((r for r in self.rows if r.environment == row.environment), key=lambda r: r.episodes)

    def fingerprint(self, row: Row) -> str:
        """Ten hex digits of all that can change a row's numbers."""
        played = [{"name": c.name, "agent": c.agent, "grid": c.grid} for c in self.columns]
        says = [self.instances, self.seed, self.environment_of(row), row.episodes, self.longest(row).name, played]
        return hashlib.sha256(json.dumps(says, sort_keys=True).encode()).hexdigest()[:10]


def read(path: Path) -> Study:
    """The study of a file. Raises ValueError for a key that is unknown or missing, or a value out of range."""
    node = read_yaml(path)
    study = dict(checked(Study, node, "the study"))
    for kind, entry in (("rows", Row), ("columns", Column)):
        study[kind] = [entry(**checked(entry, n, f"{kind}[{i}]")) for i, n in enumerate(study[kind])]
    return Study(**study)


def checked(kind: type, node: Any, where: str) -> Mapping[str, Any]:
    """The node, if its keys are exactly what the dataclass `kind` is made of. Raises ValueError otherwise."""
    names = [field.name for field in fields(kind) if field.init]
    if not isinstance(node, dict):
        raise ValueError(f"{where}: must be a mapping with the keys {', '.join(names)}")
    for key in node:
        if key not in names:
            raise ValueError(f"{where}: unknown key {key!r}{nearest(str(key), names)}; keys are {', '.join(names)}")
    for name in names:
        if name not in node:
            raise ValueError(f"{where}: missing key {name!r}")
    return node


# ---- playing


def play_rows(study: Study, rows: Sequence[Row], advance: Callable[[], None]) -> dict[str, dict[str, Any]]:
    """All cells of rows of one environment by the rows' names, and what they were played in."""
    begun = time.monotonic()
    environment: Any = study.environment_of(rows[0])
    distribution: TaskDistribution = component("environment", environment)
    settings = {key: value for key, value in environment.items() if key != "_target_"}
    found = identified(environment["_target_"], distribution, settings)
    columns = {column.name: play_column(study, rows, column, distribution, advance) for column in study.columns}
    return {
        row.name: {
            "fingerprint": study.fingerprint(row),
            "environment": found.environment,
            "cells": {name: cells[row.name] for name, cells in columns.items()},
            "provenance": {
                **provenance.commit(),
                "results_version": provenance.RESULTS_VERSION,
                "torch": torch.__version__,
                "seconds": round(time.monotonic() - begun, 1),
                "powers": found.powers,
                "sources": digests([environment["_target_"], *(column.agent["_target_"] for column in study.columns)]),
            },
        }
        for row in rows
    }


def play_column(
    study: Study, rows: Sequence[Row], column: Column, distribution: TaskDistribution, advance: Callable[[], None]
) -> dict[str, dict[str, Any]]:
    """By the rows' names: mean and standard error of the best setting, all settings' means, the best on new tasks."""
    longest, settings = study.longest(rows[0]), column.settings()

    @functools.cache
    def returns(number: int, which: str) -> Tensor:
        """Returns of the longest row, [I, episodes], with the setting of that number."""
        draws = streams(study.seed, f"{longest.name}/{which}/")
        tasks = distribution.test_tasks(study.instances, draws.tasks)
        agent: Any = column.agent | settings[number]
        luck = draws.actions, draws.environment
        played = play(component("agent", agent), distribution, tasks, longest.episodes, *luck)
        advance()
        return played

    def cell(row: Row) -> dict[str, Any]:
        def total(number: int, which: str) -> Tensor:
            return returns(number, which)[:, : row.episodes].sum(1)

        played = [total(number, "tasks") for number in range(len(settings))]
        means = [reward.mean().item() for reward in played]
        best = means.index(max(means))
        return _summary(played[best]) | {
            "chosen": settings[best],
            "means": [round(mean, 2) for mean in means],
            "again": _summary(total(best, "new tasks")),
        }

    return {row.name: cell(row) for row in rows}


def _summary(reward: Tensor) -> dict[str, float]:
    error = reward.std().item() / math.sqrt(len(reward))
    return {"mean": round(reward.mean().item(), 4), "standard_error": round(error, 4)}


# ---- the command


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
            raise ValueError(f"row {row.name!r} is of other code: {'; '.join(changes)}; --again plays it again")


def cost(study: Study, stored: Mapping[str, Any]) -> Cost:
    """What playing the stored rows took."""
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
