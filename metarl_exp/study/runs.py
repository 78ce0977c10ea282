"""Which runs a study wants, and which of them there are: matched by fingerprint and seed, never by a folder's name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl_exp import wiring
from metarl_exp.checker.identity import Identified
from metarl_exp.runs import provenance
from metarl_exp.runs.files import DamagedFile, making_sense_of, said
from metarl_exp.runs.provenance import RESULTS_VERSION
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.study import summary
from metarl_exp.study.declaration import Choice, Column, Row, Study
from metarl_exp.study.summary import Summary

STORED = "runs"  # folder of the summaries beside a study's file


class Wanted(NamedTuple):
    """One run that a study is made of."""

    row: str
    overrides: tuple[str, ...]  # without the seed
    seed: int

    @property
    def key(self) -> Key:
        """Key by which the run is found."""
        return Key(fingerprint(self.overrides), self.seed)


class Key(NamedTuple):
    """Identity of runs."""

    fingerprint: str
    seed: int


class Chosen(NamedTuple):
    """Choice of a row among a key's values, by the returns of some seeds' runs on validation tasks."""

    choice: Choice
    returns: np.ndarray  # on validation tasks, [values, seeds]; −∞ of a run that diverged

    @property
    def validation(self) -> dict[Any, float]:
        """The mean of each value, in the declared order."""
        return dict(zip(self.choice.values, self.returns.mean(1).tolist(), strict=True))

    @property
    def value(self) -> Any:
        """The best on validation tasks; of equals the first."""
        return max(self.validation, key=lambda value: self.validation[value])

    @property
    def at_the_edge(self) -> bool:
        """Whether nothing was tried on one side of the chosen value."""
        return self.value in (min(self.choice.values), max(self.choice.values))


Runs = dict[Key, Summary]


def key_of(run: Summary) -> Key:
    """Key by which a run is found."""
    return Key(run.fingerprint, run.seed)


def finished(runs: Runs, wanted: Wanted) -> Summary | None:
    """A wanted run, if it is there and came to its end."""
    run = runs.get(wanted.key)
    return run if run and run.finished else None


@cache
def configuration(overrides: tuple[str, ...]) -> Any:
    """Configuration of a run with these overrides. Raises ValueError for a key or an option that does not exist."""
    wiring.check_overrides(overrides)
    return wiring.compose(overrides)


@cache
def fingerprint(overrides: tuple[str, ...]) -> str:
    """The fingerprint of a run with these overrides. Raises ValueError for a key or an option that does not exist."""
    return wiring.fingerprint(configuration(overrides))


def candidates(study: Study, row: Row) -> Iterator[Wanted]:
    """The runs that a row chooses by: its first column's, with each value."""
    if row.choose:
        for value in row.choose.values:
            for seed in row.choose.seeds:
                yield Wanted(row.name, _overrides(study, row, study.columns[0], f"{row.choose.key}={value}"), seed)


def chosen(study: Study, row: Row, runs: Runs) -> Chosen | None:
    """Choice of a row; None as long as a run that it chooses by has neither finished nor diverged."""
    assert row.choose
    returns = [_on_validation_tasks(runs.get(wanted.key)) for wanted in candidates(study, row)]
    if None in returns:
        return None
    return Chosen(row.choose, np.array(returns, float).reshape(len(row.choose.values), len(row.choose.seeds)))


def _on_validation_tasks(run: Summary | None) -> float | None:
    if run and run.diverged:
        return -math.inf
    return run.evaluation["validation"] if run and run.finished and run.evaluation else None


def cell(study: Study, row: Row, column: Column, runs: Runs) -> list[Wanted] | None:
    """The runs of a cell, one a seed; None as long as the row has not chosen."""
    choice = chosen(study, row, runs) if row.choose else None
    if row.choose and not choice:
        return None
    overrides = _overrides(study, row, column, *([f"{choice.choice.key}={choice.value}"] if choice else []))
    return [Wanted(row.name, overrides, seed) for seed in study.seeds]


def wanted(study: Study, runs: Runs) -> list[Wanted]:
    """All runs of a study that can be named so far, each once: those of cells after those that they depend on."""
    found = [w for row in study.rows for w in candidates(study, row)]
    found += [w for row in study.rows for column in study.columns for w in cell(study, row, column, runs) or []]
    return list({w.key: w for w in reversed(found)}.values())[::-1]


def _overrides(study: Study, row: Row, column: Column, *choice: str) -> tuple[str, ...]:
    written = (*study.overrides, *row.overrides, *column.overrides, *choice)
    return tuple(wiring.current_override(override) for override in written)


def stored(study: Study) -> Runs:
    """The summaries that are kept beside a study's file."""
    found = [summary.read(path) for path in sorted((study.folder / STORED).glob("*.json"))]
    return {key_of(run): run for run in found}


class Today:
    """Code and environments as they are now, to compare runs with; each distribution of tasks is made once."""

    def __init__(self) -> None:
        self._environments: dict[str, Identified] = {}

    def changes(self, overrides: tuple[str, ...], run: Summary) -> list[str]:
        """Changes since a run with these overrides, in words; none if its numbers are today's."""
        chosen = configuration(overrides)
        tasks = wiring.task_settings(chosen)

        def identify() -> Identified:
            if tasks not in self._environments:
                self._environments[tasks] = wiring.environments(chosen)
            return self._environments[tasks]

        record = {"environment": run.environment, **run.origin}
        return provenance.changes(record, None if chosen.allow_stateful else identify)


def outdated(study: Study, today: Today) -> dict[Key, list[str]]:
    """Changes since those stored runs of a study whose numbers are not today's."""
    runs = stored(study)
    known = {w: runs[w.key] for w in wanted(study, runs) if w.key in runs}
    found = {w.key: today.changes(w.overrides, run) for w, run in known.items() if run.finished or run.diverged}
    return {key: changes for key, changes in found.items() if changes}


def require_current(study: Study, today: Today) -> None:
    """Raise ValueError if a study's stored runs are of other code, saying what has changed."""
    found = outdated(study, today)
    if found:
        changes = " | ".join(sorted({"; ".join(changes) for changes in found.values()}))
        raise ValueError(
            f"{study.path}: {len(found)} of its runs were made by other code: {changes}; --launch restart=true runs "
            "them again, and --stored shows the table as it was"
        )


def take_up(study: Study, folders: Iterable[Path], today: Today | None = None) -> list[Path]:
    """Store the summaries of the study's runs in some folders of runs, if they are better than what is stored.

    Better is a finished run than another, then one that is not damaged, then one of today's code, then the current
    results version, then the newer one. Returns what was written. As rows choose by what is taken up, their further
    runs are looked for again.
    """
    folders, looked_for, written, today = list(folders), set[Key](), [], today or Today()
    while keys := {w.key for w in wanted(study, stored(study))} - looked_for:
        runs = stored(study)
        overrides = {w.key: w.overrides for w in wanted(study, runs)}

        def rank(run: Summary, overrides: dict[Key, tuple[str, ...]] = overrides) -> tuple[bool, bool, bool, bool, str]:
            current, whole = not today.changes(overrides[key_of(run)], run), run.state != "damaged"
            return run.finished, whole, current, run.results_version == RESULTS_VERSION, run.origin["started"]

        candidates = [*_of(folders, keys), *(run for key, run in runs.items() if key in keys)]
        best = {key_of(run): run for run in sorted(candidates, key=rank)}  # of equals the last, which is stored
        written += [summary.write(run, study.folder / STORED) for key, run in best.items() if run is not runs.get(key)]
        looked_for |= keys
    return written


def unidentified(folders: Iterable[Path]) -> list[str]:
    """Reasons why some runs in folders of runs are in no table: damage, by file, of what says which run it is."""
    return [key for _, key in _in(folders) if isinstance(key, str)]


def _of(folders: Iterable[Path], keys: set[Key]) -> Iterator[Summary]:
    """The summaries of the runs in some folders that have ended and are found by some keys."""
    for folder, key in _in(folders):
        if key in keys:
            run = summary.of_run(folder)
            if run is not None and run.state != "running":
                yield run


def _in(folders: Iterable[Path]) -> Iterator[tuple[RunFolder, Key | str]]:
    """Every run in some folders, and what it is found by, or why that cannot be read."""
    for path in (path for folder in folders for path in sorted(folder.glob("**/provenance.json"))):
        folder = RunFolder(path.parent)
        try:
            known: Any = folder.provenance(*summary.NEEDED)
            with making_sense_of(path):
                _require_objects(known, "environment", "sources")
                key = Key(str(known["fingerprint"]), int(known["seed"]))
        except (DamagedFile, OSError) as error:
            key = said(error)
        yield folder, key


def _require_objects(known: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if not isinstance(known.get(key, {}), dict):
            raise TypeError(f"{key} is no object")
