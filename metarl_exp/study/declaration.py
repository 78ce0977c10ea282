"""A study: which runs make which table, as data in a YAML file.

    title: what the table shows
    overrides: [of metarl-train, for every run]
    seeds: [0, 1, 2]
    statistic: mean, or iqm: over seeds (and, for iqm, test tasks)
    published: {file: path from the study's folder, and keys that all its numbers share, such as paper: …}, or null
    costs: path from the study's folder to what an iteration of each row costs (benchmarks/study_cost.py), or null
    rows:
      - name: …
        overrides: [that differ in this row]
        choose: null, or {key: inner_optimizer.lr, values: […], seeds: […]}
        against: the row that it is compared with, paired by seed, or null
        published: {keys of its numbers in the published file, such as method: …}, or null
    columns:
      - name: …
        measure: return, gain, worse, trial, samples_to or interference (study/measures.py), and its settings, such as
                 after: 1, or the unit that the table shows it in, such as unit: 0.01 for hundredths
        overrides: [that differ in this column]
        published: {further keys of its numbers, such as gradient_steps: 1}, or null
    figures: any of [gradient_steps, learning_curves, task_gains, performance_profiles, aggregate_intervals,
              step_size_choice, memory_bars] (study/drawing.py)
    allow_mixed: true if runs of several environments or results versions may stand in one column; false

A cell's runs are its overrides at every seed: the study's, then the row's, then the column's, then what the row chose.
A row with `choose` takes, of these values of a key, the one with which the runs of some seeds are best on *validation*
tasks; one with which a run diverged is worse than all others. It must not choose by a reported seed, whose run would
then be there because it was good. What may be null may be left out, and so may the overrides of rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from metarl_exp.runs.files import DamagedFile, read_yaml
from metarl_exp.study.measures import MEASURES, Measure
from metarl_exp.validation import nearest, require_choice, require_flag, require_integer

STATISTICS = ("mean", "iqm")
FIGURES = (
    "gradient_steps",
    "learning_curves",
    "task_gains",
    "performance_profiles",
    "aggregate_intervals",
    "step_size_choice",
    "memory_bars",
)


@dataclass(frozen=True)
class Choice:
    """A key whose value a row chooses on validation tasks, and the seeds of the runs that it chooses by."""

    key: str
    values: Sequence[Any]
    seeds: Sequence[int]

    def __post_init__(self) -> None:
        _require_list("choose.values", self.values)
        _require_seeds("choose.seeds", self.seeds)


@dataclass(frozen=True)
class Row:
    """One method."""

    name: str
    overrides: Sequence[str] = ()
    choose: Choice | None = None
    against: str | None = None
    published: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Column:
    """One number of each method: what is measured of a run, and in which runs."""

    name: str
    measure: Measure
    overrides: Sequence[str] = ()
    published: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Study:
    """A table, its figures, and the runs that both are made of. Raises ValueError for a value that is not allowed."""

    path: Path
    title: str
    overrides: Sequence[str]
    seeds: Sequence[int]
    statistic: str
    rows: Sequence[Row]
    columns: Sequence[Column]
    published: Mapping[str, Any] | None = None
    costs: str | None = None
    figures: Sequence[str] = ()
    allow_mixed: bool = False

    def __post_init__(self) -> None:
        _require_seeds("seeds", self.seeds)
        require_choice("statistic", self.statistic, STATISTICS)
        require_flag("allow_mixed", self.allow_mixed)
        for figure in self.figures:
            require_choice("figures", figure, FIGURES)
        for kind in ("rows", "columns"):
            names = [x.name for x in _require_list(kind, getattr(self, kind))]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{kind}: {name!r} occurs {names.count(name)} times; names must differ")
        for row in (row for row in self.rows if row.against is not None):
            require_choice(f"rows[{row.name}].against", row.against, [r.name for r in self.rows if r is not row])
        for row in (row for row in self.rows if row.choose):
            self._require_seeds_apart(row)

    def _require_seeds_apart(self, row: Row) -> None:
        assert row.choose
        shared = sorted({*row.choose.seeds} & {*self.seeds})
        if shared:
            raise ValueError(
                f"rows[{row.name}].choose.seeds={list(row.choose.seeds)}: a row must not choose by a reported seed, "
                f"here {', '.join(map(str, shared))}; take others, such as 100 and 101"
            )

    @property
    def name(self) -> str:
        """Stem of the generated files' names."""
        return self.path.stem

    @property
    def published_source(self) -> str:
        """Where its published numbers are printed."""
        return ", ".join(
            str(self.published[key]) for key in ("paper", "table") if self.published and key in self.published
        )

    @property
    def folder(self) -> Path:
        """Where its generated files and the summaries of its runs are."""
        return self.path.parent


def is_study(path: Path) -> bool:
    """Whether a YAML file declares a study of training runs: it has seeds, rows and columns."""
    content = read_yaml(path)
    return isinstance(content, dict) and {"seeds", "rows", "columns"} <= set(content)


def load(path: Path) -> Study:
    """The study of a file. Raises ValueError, naming file and key, for one that is unknown, missing or not allowed."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        content = _mapping("the file", read_yaml(path))
        rows = [_row(node) for node in _require_list("rows", content.pop("rows", None))]
        columns = [_column(node) for node in _require_list("columns", content.pop("columns", None))]
        return _construct(Study, "the file", {"path": path, "rows": rows, "columns": columns, **content})
    except DamagedFile:
        raise  # which names the file itself
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _row(node: Any) -> Row:
    node = dict(_mapping("a row", node))
    where = f"rows[{node.get('name')}]"
    if node.get("choose") is not None:
        node["choose"] = _construct(Choice, f"{where}.choose", _mapping(f"{where}.choose", node["choose"]))
    return _construct(Row, where, node)


def _column(node: Any) -> Column:
    node = dict(_mapping("a column", node))
    where, own = f"columns[{node.get('name')}]", {f.name for f in fields(Column)} - {"measure"}
    kind = node.pop("measure", None)
    require_choice(f"{where}.measure", kind, MEASURES)
    settings = {key: node.pop(key) for key in list(node) if key not in own}
    return _construct(Column, where, {**node, "measure": _construct(MEASURES[kind], where, settings)})


def _construct(kind: Any, where: str, node: Mapping[str, Any]) -> Any:
    """A dataclass from its fields; ValueError for one that is unknown or missing."""
    known = {f.name: f for f in fields(kind)}
    for key in node:
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}{nearest(key, known)}; known are {', '.join(known)}")
    for name, f in known.items():
        if name not in node and f.default is MISSING:
            raise ValueError(f"{where}: missing key {name!r}")
    return kind(**node)


def _mapping(field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{field}: must be keys with values, not {value!r}")
    return value


def _require_list(field: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(f"{field}={value!r}: must be a list of at least one")
    return value


def _require_seeds(field: str, seeds: Any) -> None:
    for seed in _require_list(field, seeds):
        require_integer(field, seed, low=0)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{field}={list(seeds)}: each seed may occur once")
