"""Overview of the runs of a folder, which it takes in one at a time: thousands of them fit into memory.

The first hundreds are shown one by one; of all others there is what counts, means and draws need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from metarl_exp.report import pictures
from metarl_exp.report.runs import Run, flat
from metarl_exp.report.studies import Differing
from metarl_exp.runs import results
from metarl_exp.runs.files import DamagedFile
from metarl_exp.runs.sweep import STATES
from metarl_exp.study.comparison import MISSING

SHOWN = 100  # runs, and of each kind of trouble as many
TROUBLES = ("damaged", "failed", "interrupted", "missing")
# What differs from run to run by its nature, or is said elsewhere on the page.
OF_ITS_OWN = ("seed", "fingerprint", "tracker_id", "sweep", "command", "started", "environment.settings")


class Table(NamedTuple):
    """A header and rows of text; the first columns are labels, the others numbers."""

    labels: int
    header: list[str]
    rows: list[list[str]]


class RunShown(NamedTuple):
    """One run in detail."""

    run: Run
    after: str  # what returns are after, in words
    returns: Table | None
    pictures: list[pictures.Picture]


class Overview:
    """The runs of a folder so far."""

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self.total = 0
        self.shown: list[RunShown] = []  # the first SHOWN
        self.measured: list[Run] = []  # all that are finished, light
        self.commands: dict[str, None] = {}  # of runs that belong to no sweep
        self.differing = Differing()
        self._states, self._facts, self._known = Counter[str](), dict[str, Counter[str]](), 0
        self._troubles: dict[str, list[Run]] = {state: [] for state in TROUBLES}
        self._drawn: set[str] = set()
        for run in runs:
            self.take(run)

    def draws(self, fingerprint: str) -> bool:
        """Whether the runs of a configuration are drawn: those of the first are, until they are enough."""
        if len(self._drawn) < pictures.DRAWN:
            self._drawn.add(fingerprint)
        return fingerprint in self._drawn

    def take(self, run: Run) -> None:
        """One more run."""
        self.total += 1
        if len(self.shown) < SHOWN:
            run, drawn = _illustrated(run)
            self.shown.append(in_detail(run, drawn))
        state, provenance = run.status.state, run.provenance
        self._states[state] += 1
        if state in TROUBLES and len(self._troubles[state]) < SHOWN:
            self._troubles[state].append(run)
        self.differing.take(run)
        if run.evaluation:
            self.measured.append(run.light)
        if provenance:
            self._known += 1
            for name, value in flat(provenance).items():
                if not any(name == own or name.startswith(f"{own}.") for own in OF_ITS_OWN):
                    self._facts.setdefault(name, Counter())[value] += 1
            if not provenance.get("sweep") and "command" in provenance:
                self.commands[str(provenance["command"])] = None

    def states(self) -> list[tuple[str, int]]:
        """How many runs are in each state, of those that some are in."""
        return [(state, self._states[state]) for state in STATES if self._states[state]]

    def troubles(self) -> list[Run]:
        """The runs that went wrong; the first SHOWN of each kind."""
        return [run for runs in self._troubles.values() for run in runs]

    def troubled(self) -> int:
        """The number of all that went wrong."""
        return sum(self._states[state] for state in TROUBLES)

    def origin(self) -> list[tuple[str, list[tuple[str, int]]]]:
        """Where the runs come from: each fact with its values, and how many runs have each."""
        found = []
        for name, values in self._facts.items():
            lacking = Counter({MISSING: self._known - values.total()})
            found.append((name, [(value, n) for value, n in (values + lacking).most_common()]))
        return found


def in_detail(run: Run, drawn: list[pictures.Picture]) -> RunShown:
    """A run's own table and figures."""
    table = Table(1, results.header(run.evaluation), results.rows(run.evaluation)) if run.evaluation else None
    return RunShown(run, results.AFTER[results.counted(run.evaluation)], table, drawn)


def _illustrated(run: Run) -> tuple[Run, list[pictures.Picture]]:
    """A run with its figures; if one of these is damaged, so is the run, though its numbers count."""
    try:
        return run, pictures.of_run(run)
    except (DamagedFile, OSError) as error:
        return run.damaged(error), []
