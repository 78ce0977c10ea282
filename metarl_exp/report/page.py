"""The page: what is read and drawn becomes tables of text, and these one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from metarl_exp import provenance, results
from metarl_exp.comparison import MISSING, unique
from metarl_exp.report import pictures
from metarl_exp.report.runs import Run, flat
from metarl_exp.report.studies import Method, Study, counted, differing, studies
from metarl_exp.status import STYLES

TEMPLATE = "page.html"
TROUBLES = ("failed", "interrupted", "missing")
# What differs from run to run by its nature, or is said elsewhere on the page.
OF_ITS_OWN = ("seed", "fingerprint", "tracker_id", "sweep", "command", "started", "environment.settings")


class Table(NamedTuple):
    """A header and rows of text; the first columns are labels, the others numbers."""

    labels: int
    header: list[str]
    rows: list[list[str]]


class StudyShown(NamedTuple):
    """One study: over seeds, run by run, and drawn."""

    environment: str
    tasks: int
    after: str  # what returns are after, in words
    over_seeds: Table
    runs: Table
    pictures: list[pictures.Picture]


class RunShown(NamedTuple):
    """One run in detail."""

    run: Run
    after: str  # as above
    returns: Table | None
    pictures: list[pictures.Picture]


def render(name: str, runs: Sequence[Run], commands: Sequence[str]) -> str:
    """The page on the runs of a folder of that name; `commands` made them."""
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template(TEMPLATE)
    keys, states = differing(runs), [run.status.state for run in runs]
    troubles = (run for state in TROUBLES for run in runs if run.status.state == state)
    return template.render(
        name=name,
        written=provenance.now(),
        states=[(state, states.count(state)) for state in STYLES if state in states],
        troubles=list(troubles),
        keys=keys,
        runs=runs,
        settings={run.status.name: [run.settings.get(key, MISSING) for key in keys] for run in runs},
        studies=[shown(study) for study in studies(runs)],
        details=[in_detail(run) for run in runs if run.text],
        commands=commands,
        origin=origin(runs),
        over=results.OVER,
    )


def shown(study: Study) -> StudyShown:
    """A study's tables and figures."""
    with TemporaryDirectory() as folder:
        drawn = list(pictures.of_study(study, Path(folder)))
    after = results.AFTER[counted(study.methods)]
    return StudyShown(study.environment, study.tasks, after, over_seeds(study), run_by_run(study), drawn)


def over_seeds(study: Study) -> Table:
    """A row for each method: returns of the best θ, means over seeds of means over tasks, with t-intervals over seeds.

    The gain is the mean over seeds of what the steps were worth to each; `worse`, that of the share of tasks that they
    made worse.
    """
    columns = steps(study)

    def row(method: Method) -> list[str]:
        returns = method.returns()
        means = results.cells(results.intervals(returns.mean(1)))
        gains = results.cells(results.intervals((returns[:, :, -1] - returns[:, :, 0]).mean(1, keepdims=True)))
        worse = f"{100 * (returns[:, :, -1] < returns[:, :, 0]).mean():.0f} %"
        return [method.name, str(len(method.runs)), *at(columns, means), *gains, worse]

    header = ["method", "seeds", *in_words(study, columns), "gain, last − 0", "made worse"]
    return Table(1, header, [row(method) for method in study.methods])


def run_by_run(study: Study) -> Table:
    """A row for each run: returns of its best θ, with t-intervals over the test tasks."""
    columns = steps(study)
    rows = []
    for method in study.methods:
        for run in method.runs:
            best = run.evaluation["theta"]["best"]
            made = [run.status.name, method.name, str(run.provenance["seed"]), str(best["iteration"])]
            rows.append([*made, *at(columns, results.cells(best)), f"{100 * best['tasks_made_worse'][-1]:.0f} %"])
    return Table(2, ["run", "method", "seed", "iteration", *in_words(study, columns), "made worse"], rows)


def steps(study: Study) -> list[int]:
    """The numbers of gradient steps, or episodes of trials, that have a column."""
    return sorted({k for method in study.methods for k in results.shown_steps(method.runs[0].evaluation)})


def in_words(study: Study, columns: Iterable[int]) -> list[str]:
    """What stands above the columns of some numbers of steps."""
    return [results.steps_in_words(k, counted(study.methods)) for k in columns]


def at(columns: Iterable[int], cells: Sequence[str]) -> list[str]:
    """The cells of some numbers of steps; one that was not taken is shown as missing."""
    return [cells[k] if k < len(cells) else MISSING for k in columns]


def in_detail(run: Run) -> RunShown:
    """A run's own table and figures."""
    table = Table(1, results.header(run.evaluation), results.rows(run.evaluation)) if run.evaluation else None
    return RunShown(run, results.AFTER[results.counted(run.evaluation)], table, pictures.of_run(run))


def origin(runs: Iterable[Run]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Where the runs come from: each fact with its values, and how many runs have each."""
    facts = [flat(run.provenance) for run in runs if run.provenance]
    names = [name for name in unique(name for of_one in facts for name in of_one) if not _own(name)]
    return [(name, Counter(of_one.get(name, MISSING) for of_one in facts).most_common()) for name in names]


def _own(name: str) -> bool:
    return any(name == own or name.startswith(f"{own}.") for own in OF_ITS_OWN)
