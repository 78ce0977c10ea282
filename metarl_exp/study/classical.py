"""Studies of classical agents: one is declared by a file, and played in a distribution's own environments.

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
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarl_exp.agents import play
from metarl_exp.checker.identity import identified
from metarl_exp.process.streams import streams
from metarl_exp.runs import provenance
from metarl_exp.runs.files import read_yaml
from metarl_exp.runs.sources import digests
from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.validation import require_fields, require_integer
from metarl_exp.wiring import component


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
    """Content of a study's file; see the module's docstring."""

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
    study = dict(require_fields("the study", node, Study))
    for kind, entry in (("rows", Row), ("columns", Column)):
        study[kind] = [entry(**require_fields(f"{kind}[{i}]", n, entry)) for i, n in enumerate(study[kind])]
    return Study(**study)


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
