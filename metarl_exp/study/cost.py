"""Costs of a study: of its finished runs, and an estimate for those that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from metarl_exp import wiring
from metarl_exp.study.declaration import Study
from metarl_exp.study.runs import Runs, Wanted, candidates, finished, wanted


class Cost(NamedTuple):
    """Of one run, or of several together."""

    steps: int  # environment steps of training; of an estimate at most, since episodes may end early
    seconds: float | None  # as finished runs of the same row took, on the machine that they ran on; None without any


def missing(study: Study, runs: Runs) -> list[Wanted]:
    """The runs that a study lacks, as far as they can be named: those that are not there, or not finished.

    Without those that only a row's choice is made by and that diverged: that says what it has to.
    """
    diverged = {w.key for row in study.rows for w in candidates(study, row) if w.key in runs and runs[w.key].diverged}
    return [w for w in wanted(study, runs) if w.key not in diverged and not finished(runs, w)]


def estimate(study: Study, runs: Runs, lacking: Sequence[Wanted]) -> Cost:
    """The cost of some runs."""
    done = [(w, run.seconds) for w in wanted(study, runs) if (run := finished(runs, w))]
    seconds = [_seconds(done, w) for w in lacking]
    known = [s for s in seconds if s is not None]
    return Cost(sum(_steps(w.overrides) for w in lacking), sum(known) if len(known) == len(seconds) else None)


def taken(study: Study, runs: Runs) -> Cost:
    """Cost of the finished runs of a study; `seconds` without evaluation and figures."""
    done = [run for w in wanted(study, runs) if (run := finished(runs, w))]
    steps = sum(int(run.curves["return"]["env_steps"][-1]) for run in done if "return" in run.curves)
    return Cost(steps, sum(run.seconds for run in done))


@cache
def _steps(overrides: tuple[str, ...]) -> int:
    return wiring.training_steps(wiring.compose(overrides))


def _seconds(done: Sequence[tuple[Wanted, float]], lacking: Wanted) -> float | None:
    """The mean of finished runs of the same configuration, else of the same row."""
    same = [s for w, s in done if w.overrides == lacking.overrides] or [s for w, s in done if w.row == lacking.row]
    return sum(same) / len(same) if same else None
