"""The page: what is read and drawn becomes tables of text, and these one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from metarl_exp.report import pictures
from metarl_exp.report.overview import SHOWN, Overview, Table
from metarl_exp.report.studies import Method, Study, counted, studies
from metarl_exp.runs import results
from metarl_exp.runs.run_folder import now
from metarl_exp.study.comparison import MISSING

TEMPLATE = "page.html"


class StudyShown(NamedTuple):
    """One study: over seeds, run by run, and drawn."""

    environment: str
    tasks: int
    after: str  # what returns are after, in words
    over_seeds: Table
    runs: Table  # the first SHOWN
    number: int  # of runs
    pictures: list[pictures.Picture]


def render(name: str, overview: Overview, commands: Sequence[str]) -> str:
    """The page on the runs of a folder of that name; `commands` made them."""
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template(TEMPLATE)
    keys, listed = overview.differing.keys(), [one.run for one in overview.shown]
    return template.render(
        name=name,
        written=now(),
        total=overview.total,
        states=overview.states(),
        troubles=overview.troubles(),
        troubled=overview.troubled(),
        keys=keys,
        runs=listed,
        settings=[[run.settings.get(key, MISSING) for key in keys] for run in listed],
        studies=[shown(study) for study in studies(overview.measured)],
        details=[one for one in overview.shown if one.run.text],
        commands=commands[:SHOWN],
        unsaid=len(commands[SHOWN:]),
        origin=overview.origin(),
        over=results.OVER,
        drawn=pictures.DRAWN,
    )


def shown(study: Study) -> StudyShown:
    """A study's tables and figures."""
    with TemporaryDirectory() as folder:
        drawn = list(pictures.of_study(study, Path(folder)))
    after = results.AFTER[counted(study.methods)]
    runs = sum(len(method.runs) for method in study.methods)
    return StudyShown(study.environment, study.tasks, after, over_seeds(study), run_by_run(study), runs, drawn)


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
    """A row for each of the first runs: returns of its best θ, with t-intervals over the test tasks."""
    columns = steps(study)
    rows = []
    for method, run in islice(((m, run) for m in study.methods for run in m.runs), SHOWN):
        best = run.evaluation["theta"]["best"]
        made = [run.status.name, method.name, str(run.provenance["seed"]), str(best["iteration"])]
        rows.append([*made, *at(columns, results.cells(best)), f"{100 * best['tasks_made_worse'][-1]:.0f} %"])
    return Table(2, ["run", "method", "seed", "iteration", *in_words(study, columns), "made worse"], rows)


def steps(study: Study) -> list[int]:
    """The numbers of gradient steps, or episodes of trials, that have a column."""
    return sorted({k for method in study.methods for k in results.shown_steps(method.runs[0].evaluation)})


def in_words(study: Study, columns: Iterable[int]) -> list[str]:
    """Headings of the columns of some numbers of steps."""
    return [results.steps_in_words(k, counted(study.methods)) for k in columns]


def at(columns: Iterable[int], cells: Sequence[str]) -> list[str]:
    """The cells of some numbers of steps; one that was not taken is shown as missing."""
    return [cells[k] if k < len(cells) else MISSING for k in columns]
