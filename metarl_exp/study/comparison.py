"""Means of ours beside published ones: looking these up, and the tables that show both.

Published numbers are kept in one file (`experiments/published.yaml`), a list of `results`, each with its paper, table,
environment, method, value and `verification`: how it is known to have been printed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metarl_exp.markdown import escaped, pipes
from metarl_exp.runs.files import read_yaml
from metarl_exp.validation import require_choice

MISSING = "—"  # as cells without a number are shown


class Published(NamedTuple):
    """One printed number, and how it is known to have been printed."""

    value: float
    verification: str


class Mean(NamedTuple):
    """A mean over instances and its standard error."""

    value: float
    standard_error: float


class Difference(NamedTuple):
    """Ours minus the published one."""

    percent: float  # of the published one
    standard_errors: float  # of the difference


class PublishedTable:
    """One table of one paper. Raises ValueError, naming what there is, for a paper or table that the file lacks."""

    def __init__(self, file: Path, paper: str, table: str) -> None:
        results = printed(file)
        require_choice("published.paper", paper, unique(r["paper"] for r in results))
        require_choice("published.table", table, unique(r["table"] for r in results if r["paper"] == paper))
        self.paper, self.table = paper, table
        self.numbers = {
            (r["environment"], r["method"]): Published(r["value"], r["verification"])
            for r in results
            if (r["paper"], r["table"]) == (paper, table)
        }

    def __call__(self, environment: str | None, method: str | None) -> Published | None:
        """The number of that environment and method; None without a name, ValueError for one that is not there."""
        if environment is None or method is None:
            return None
        require_choice("published (of a row)", environment, unique(e for e, _ in self.numbers))
        require_choice("published (of a column)", method, unique(m for e, m in self.numbers if e == environment))
        return self.numbers[environment, method]


def printed(file: Path) -> list[dict[str, Any]]:
    """All results of a file of published numbers."""
    return read_yaml(file, "results")["results"]


class PublishedNumbers:
    """Single numbers, each found by enough of its keys. `results` are those that have some keys in common."""

    def __init__(self, results: Sequence[Mapping[str, Any]]) -> None:
        self.results = results

    @classmethod
    def of(cls, folder: Path, declared: Mapping[str, Any] | None) -> PublishedNumbers:
        """Published numbers of `declared`: its `file`, relative to a folder, and keys that they share; or none."""
        if declared is None:
            return cls([])
        shared = {key: value for key, value in declared.items() if key != "file"}
        return cls([r for r in printed(folder / declared["file"]) if shared.items() <= r.items()])

    def __call__(self, *keys: Mapping[str, Any] | None) -> Published | None:
        """The number with all these keys; None if some are None, or none was printed for such a combination.

        Raises ValueError for a value that no result has, and if several numbers have these keys.
        """
        if any(some is None for some in keys):
            return None
        sought = {key: value for some in keys if some for key, value in some.items()}
        for key, value in sought.items():
            require_choice(f"published.{key}", str(value), unique(str(r.get(key)) for r in self.results))
        found = [r for r in self.results if sought.items() <= r.items()]
        if len(found) > 1:
            raise ValueError(
                f"published={sought!r}: {len(found)} published numbers match; add keys that tell them apart"
            )
        if not found:
            return None
        return Published(found[0]["value"], found[0]["verification"])


def unique(names: Iterable[str]) -> list[str]:
    """Each once, in their order."""
    return list(dict.fromkeys(names))


def difference(ours: Mean, published: float) -> Difference:
    """A mean printed without a spread is taken to be as uncertain as ours: √2 standard errors of the difference."""
    gap, error = ours.value - published, math.sqrt(2) * ours.standard_error
    return Difference(100 * gap / abs(published), gap / error if error > 0 else math.copysign(math.inf, gap))


def tables(
    rows: Mapping[str, str | None],
    columns: Mapping[str, str | None],
    cells: Mapping[str, Mapping[str, Any]],
    published: PublishedTable,
) -> str:
    """Markdown: means with the published ones, their differences, and the same agents on new instances.

    `rows` and `columns` map names to those in the published table, `cells` rows to columns to what `classical.py`
    stores; a missing cell is shown as missing.
    """

    def table(names: Iterable[str], entry: Callable[[dict[str, Any], Published | None], str]) -> str:
        names = list(names)
        lines = []
        for row, environment in rows.items():
            found = [(cells.get(row, {}).get(name), published(environment, columns[name])) for name in names]
            lines.append([escaped(row), *(entry(cell, number) if cell else MISSING for cell, number in found)])
        return pipes(["", *map(escaped, names)], lines)

    known = unique(number.verification for number in published.numbers.values())
    return "\n\n".join(
        [
            f"Total reward: mean ± standard error; in brackets the published mean ({escaped(published.paper)}, "
            f"{escaped(published.table)}; verification: {escaped(', '.join(known))}).",
            table(columns, _mean),
            "The same minus the published mean, in percent of it and in standard errors of the difference, for which a "
            "mean printed without a spread is taken to be as uncertain as ours.",
            table([name for name, method in columns.items() if method], _difference),
            "The same agents on as many new instances; hyper-parameters are those of the largest mean over the first "
            "ones, as published.",
            table(columns, _again),
        ]
    )


def _mean(cell: dict[str, Any], published: Published | None) -> str:
    printed = f" ({published.value:g})" if published else ""
    return f"{cell['mean']:.2f} ± {cell['standard_error']:.2f}{printed}"


def _difference(cell: dict[str, Any], published: Published | None) -> str:
    if published is None:
        return MISSING
    gap = difference(Mean(cell["mean"], cell["standard_error"]), published.value)
    return f"{gap.percent:+.1f} %, {gap.standard_errors:+.1f}"


def _again(cell: dict[str, Any], published: Published | None) -> str:
    chosen = ", ".join(f"{name} = {value:g}" for name, value in cell["chosen"].items())
    again = cell["again"]
    return f"{again['mean']:.2f} ± {again['standard_error']:.2f}{f' ({chosen})' if chosen else ''}"
