"""The numbers of a table: scores of runs, their interval over seeds, paired differences, the published number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from metarl_exp.runs.files import read_json
from metarl_exp.statistics import (
    Interval,
    PairedTest,
    bootstrap_interval,
    iqm,
    paired_difference,
    paired_test,
    probability_of_improvement,
    t_interval,
)
from metarl_exp.study.comparison import Published, PublishedNumbers
from metarl_exp.study.declaration import Column, Row, Study
from metarl_exp.study.runs import Chosen, Runs, cell, chosen
from metarl_exp.study.summary import Summary

# What a meta-iteration costs, as benchmarks/study_cost.py measures it, and what tables and figures call it.
COSTS = {"seconds": "seconds a meta-iteration", "peak_mib": "peak memory, MiB"}


class Pairs(NamedTuple):
    """Scores of two rows, by the seeds that both have: [seeds, tasks] each."""

    ours: np.ndarray
    theirs: np.ndarray
    bounded: str = ""  # «≤» if ours are bounds, «≥» if theirs are

    @property
    def difference(self) -> Interval:
        """Ours minus theirs, paired by seed."""
        return paired_difference(self.ours, self.theirs)

    @property
    def test(self) -> PairedTest | None:
        """Whether the difference is 0 on average; None of a single pair, and of bounds."""
        return paired_test(self.ours, self.theirs) if len(self.ours) > 1 and not self.bounded else None

    def improvement(self, better: int) -> Interval:
        """Probability that a run of ours is better than one of theirs, which is more (1) or less (−1)."""
        return probability_of_improvement(better * self.ours, better * self.theirs)


class Cell(NamedTuple):
    """One number of a table, as far as there is one."""

    scores: dict[int, np.ndarray]  # by seed, of the finished runs: [tasks]
    troubles: dict[int, str]  # by seed, of the others: missing, failed …, and why
    mixed: bool  # whether finished runs are not of one environment and results version with those of the column
    interval: Interval | None
    published: Published | None
    pairs: Pairs | None = None  # with the row that it is compared with
    at_most: bool = False  # whether the score of a seed is only an upper bound

    @property
    def state(self) -> str:
        """complete, incomplete (some seeds are not there), mixed, or what became of the runs if there is no number."""
        if self.mixed:
            return "mixed"
        if not self.scores:
            states = sorted({trouble.partition(":")[0] for trouble in self.troubles.values()})
            return " and ".join(states) or "not measured"
        return "incomplete" if self.troubles else "complete"


class Table(NamedTuple):
    """All cells of a study, by names of row and column, and what its rows chose."""

    study: Study
    cells: dict[tuple[str, str], Cell]
    chosen: dict[str, Chosen | None]  # of the rows that choose
    runs: dict[str, list[Summary]]  # of each row, the finished ones behind its first column
    costs: dict[str, dict[str, float]]  # by row and quantity, of COSTS


def assemble(study: Study, runs: Runs) -> Table:
    """The table of a study from the runs that there are."""
    numbers = PublishedNumbers.of(study.folder, study.published)
    cells: dict[tuple[str, str], Cell] = {}
    behind: dict[str, list[Summary]] = {}
    for column in study.columns:
        found = {row.name: _found(study, row, column, runs) for row in study.rows}
        reference = _reference(found)
        for row in study.rows:
            behind.setdefault(row.name, [run for run in found[row.name].values() if isinstance(run, Summary)])
            printed = numbers(row.published, column.published)
            cells[row.name, column.name] = _cell(study, column, found[row.name], reference, printed)
        for row in study.rows:
            if row.against is not None:
                ours, theirs = cells[row.name, column.name], cells[row.against, column.name]
                cells[row.name, column.name] = ours._replace(pairs=_paired(ours, theirs))
    choices = {row.name: chosen(study, row, runs) for row in study.rows if row.choose}
    costs = read_json(study.folder / study.costs, "rows")["rows"] if study.costs else {}
    return Table(study, cells, choices, behind, costs)


def _found(study: Study, row: Row, column: Column, runs: Runs) -> dict[int, Summary | str]:
    """By seed, the finished run of a cell, or what became of it."""
    wanted = cell(study, row, column, runs)
    if wanted is None:
        return dict.fromkeys(study.seeds, "missing: the row has not chosen yet")
    found: dict[int, Summary | str] = {}
    for run in wanted:
        known = runs.get(run.key)
        if known is None:
            found[run.seed] = "missing"
        else:
            found[run.seed] = known if known.finished else f"{known.state}: {known.reason}"
    return found


def _kind(run: Summary) -> tuple[int, str]:
    """Properties that all runs of a column share, for their numbers to be comparable."""
    return run.results_version, run.environment_key


def _reference(found: Mapping[str, Mapping[int, Summary | str]]) -> tuple[int, str] | None:
    """The kind of most runs of a column."""
    kinds = Counter(_kind(run) for row in found.values() for run in row.values() if isinstance(run, Summary))
    return kinds.most_common(1)[0][0] if kinds else None


def _cell(
    study: Study,
    column: Column,
    found: Mapping[int, Summary | str],
    reference: tuple[int, str] | None,
    published: Published | None,
) -> Cell:
    scores, troubles, mixed, at_most = {}, {}, False, False
    for seed, run in found.items():
        if isinstance(run, str):
            troubles[seed] = run
        elif (measured := column.measure.scores(run)) is None:
            if column.measure.lacking:
                troubles[seed] = column.measure.lacking
        else:
            scores[seed] = measured
            at_most |= column.measure.at_most(run)
            if _kind(run) != reference and not study.allow_mixed:
                mixed = True
                troubles[seed] = f"mixed: {_difference(run, reference)}"
    interval = None if mixed or not scores else over_seeds(np.array(list(scores.values())), study.statistic)
    return Cell(scores, troubles, mixed, interval, published, at_most=at_most)


def over_seeds(scores: np.ndarray, statistic: str) -> Interval:
    """Scores [seeds, tasks] as one number and its 95 % interval over seeds: t for a mean, resampled runs for an IQM."""
    return t_interval(scores.mean(1)) if statistic == "mean" else bootstrap_interval(scores, iqm)


def _paired(ours: Cell, theirs: Cell) -> Pairs | None:
    """None without a seed that both have, of runs on other numbers of test tasks, and of two bounds."""
    common = [s for s, scores in ours.scores.items() if s in theirs.scores and scores.shape == theirs.scores[s].shape]
    if not common or ours.mixed or theirs.mixed or (ours.at_most and theirs.at_most):
        return None
    scores = (np.array([cell.scores[seed] for seed in common]) for cell in (ours, theirs))
    return Pairs(*scores, bounded="≤" if ours.at_most else "≥" if theirs.at_most else "")


def _difference(run: Summary, reference: tuple[int, str] | None) -> str:
    assert reference is not None
    if run.results_version != reference[0]:
        return f"results version {run.results_version}, not {reference[0]}"
    return f"environment {run.environment_key}, not {reference[1]}"
