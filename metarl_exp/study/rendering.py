"""A table as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from metarl_exp.markdown import escaped, pipes
from metarl_exp.statistics import Interval
from metarl_exp.study.cells import COSTS, Cell, Table
from metarl_exp.study.comparison import MISSING, unique
from metarl_exp.study.declaration import Column, Row

OVER = {
    "mean": "Mean over training seeds ± half of its 95 % t-interval, for these test tasks",
    "iqm": "Interquartile mean over training seeds and test tasks with its 95 % interval (whole runs resampled), for "
    "these test tasks",
}
BOUNDED = "≤, ≥: the return was there at the first look."


def number(x: float, signed: bool = False) -> str:
    """Two decimals, with a minus that is one."""
    return f"{x:{'+' if signed else ''}.2f}".replace("-", "−")


def spread(interval: Interval, unit: float = 1.0, signed: bool = False, ends: bool = False) -> str:
    """A number with half of its interval, or its `ends` where asked or not around it; alone if one run has none."""
    middle, low, high = (x / unit for x in interval[:3])
    if math.isinf(low) or math.isinf(high):
        return number(middle, signed)
    if not ends and math.isclose(high - middle, middle - low, rel_tol=1e-6, abs_tol=1e-9):
        return f"{number(middle, signed)} ± {number(high - middle)}"
    return f"{number(middle, signed)} [{number(low, signed)}, {number(high, signed)}]"


def shown(table: Table, row: Row, column: Column) -> str:
    """A cell: its number, how many seeds are behind it if not all, or what it is instead of a number."""
    cell = _cell(table, row, column)
    if cell.interval is None:
        return cell.state if cell.troubles else MISSING
    text = bounded(cell.interval, column.measure.unit, "≤" if cell.at_most else "")
    return text if cell.state == "complete" else f"{text} ({len(cell.scores)} of {len(table.study.seeds)})"


def difference(table: Table, row: Row, column: Column) -> str:
    """Difference of a cell from that of the row it is compared with, paired by seed."""
    pairs = _cell(table, row, column).pairs
    return bounded(pairs.difference, column.measure.unit, pairs.bounded, signed=True) if pairs else MISSING


def bounded(interval: Interval, unit: float, bound: str, signed: bool = False) -> str:
    """A number with half of its interval, or a bound alone: the spread of bounds is not that of what they bound."""
    return f"{bound} {number(interval.mean / unit, signed)}" if bound else spread(interval, unit, signed)


def markdown(table: Table) -> str:
    """Everything that is known of a study, in Markdown."""
    study = table.study
    blocks = [f"# {escaped(study.title)}", caption(table), _grid(table, study.rows, study.columns, shown)]
    printed = [row for row in study.rows if any(_cell(table, row, c).published for c in study.columns)]
    if printed:
        columns = [c for c in study.columns if any(_cell(table, r, c).published for r in printed)]
        known = unique(p.verification for r in printed for c in columns if (p := _cell(table, r, c).published))
        source = escaped(f"{study.published_source}; {', '.join(known)}")
        blocks += [
            f"**Published** ({source}), and in brackets ours minus it.",
            _grid(table, printed, columns, _published),
        ]
    compared = [row for row in study.rows if row.against is not None]
    if compared:
        blocks += [
            "**Differences**, paired by seed, with half of their 95 % t-interval.",
            _grid(table, compared, study.columns, difference, lambda row: f"{row.name} minus {row.against}"),
            "**Probability of improvement**: that one run is better than one of the other row, mean over test tasks, "
            "ties half. Its 95 % intervals, of whole runs resampled, are too narrow for few seeds.",
            _grid(table, compared, study.columns, _improvement, lambda row: f"{row.name} over {row.against}"),
        ]
    if table.chosen:
        blocks += [
            "**Chosen on validation tasks**: mean return there by value; the largest was taken.",
            _choices(table),
        ]
    if table.costs:
        blocks += ["**Cost of a meta-iteration** on an otherwise idle machine.", _costs(table.costs)]
    blocks += _troubles(table)
    return "\n\n".join(blocks) + "\n"


def caption(table: Table) -> str:
    """Sample of the means, in words."""
    study = table.study
    tasks = unique(
        str(len(s)) for r in study.rows for c in study.columns[:1] for s in _cell(table, r, c).scores.values()
    )
    over = f" Seeds {', '.join(map(str, study.seeds))}"
    bounds = f" {BOUNDED}" if any(cell.at_most for cell in table.cells.values()) else ""
    return f"{OVER[study.statistic]}.{over}{f'; {tasks[0]} test tasks each' if len(tasks) == 1 else ''}.{bounds}"


def _cell(table: Table, row: Row, column: Column) -> Cell:
    return table.cells[row.name, column.name]


def _published(table: Table, row: Row, column: Column) -> str:
    cell = _cell(table, row, column)
    if cell.published is None:
        return MISSING
    gap = f" ({number(cell.interval.mean - cell.published.value, signed=True)})" if cell.interval else ""
    return number(cell.published.value) + gap


def _improvement(table: Table, row: Row, column: Column) -> str:
    pairs = _cell(table, row, column).pairs
    return spread(pairs.improvement(column.measure.better), ends=True) if pairs and not pairs.bounded else MISSING


def _grid(
    table: Table,
    rows: Sequence[Row],
    columns: Sequence[Column],
    text: Callable[[Table, Row, Column], str],
    head: Callable[[Row], str] = lambda row: row.name,
) -> str:
    lines = ([escaped(head(row)), *(text(table, row, column) for column in columns)] for row in rows)
    return pipes(["", *(escaped(column.name) for column in columns)], lines)


def _choices(table: Table) -> str:
    values = unique(v for row in table.study.rows if row.choose for v in row.choose.values)
    if all(isinstance(v, int | float) for v in values):
        values = sorted(values)
    lines = []
    for row in (row for row in table.study.rows if row.choose):
        made = table.chosen[row.name]
        cells = [MISSING] * len(values)
        if made:
            found = {v: number(x) if math.isfinite(x) else "diverged" for v, x in made.validation.items()}
            cells = [found.get(v, MISSING) for v in values]
            cells = [f"**{text}**" if v == made.value else text for v, text in zip(values, cells, strict=True)]
        edge = " (at the edge of what was tried)" if made and made.at_the_edge else ""
        assert row.choose
        lines.append([f"{escaped(row.name)}: `{row.choose.key}`{edge}", f"{len(row.choose.seeds)}", *cells])
    return pipes(["", "seeds", *(escaped(str(value)) for value in values)], lines)


def _costs(costs: dict[str, dict[str, float]]) -> str:
    lines = ([escaped(name), *(f"{row[quantity]:.3g}" for quantity in COSTS)] for name, row in costs.items())
    return pipes(["", *COSTS.values()], lines)


def _troubles(table: Table) -> list[str]:
    """One line for each trouble of a row, with the columns and seeds that have it."""
    found: dict[tuple[str, str], tuple[list[str], list[int]]] = {}
    for (row, column), cell in table.cells.items():
        for seed, trouble in cell.troubles.items():
            columns, seeds = found.setdefault((row, trouble), ([], []))
            columns += [column] if column not in columns else []
            seeds += [seed] if seed not in seeds else []
    every = len(table.study.columns)
    lines = [
        f"- {escaped(row)}, {'all columns' if len(columns) == every else escaped(', '.join(columns))}: "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, sorted(seeds)))}: {escaped(trouble)}"
        for (row, trouble), (columns, seeds) in found.items()
    ]
    return ["**Not in the means:**", "\n".join(lines)] if lines else []


def comma_separated(table: Table) -> str:
    """One line a cell, with everything in full precision that Markdown rounds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([
        "row", "column", "state", "statistic", "n", "at_most", "value", "low", "high", "published", "verification",
        "minus_published", "against", "pairs", "bounded", "difference", "difference_low", "difference_high",
        "p_t", "p_sign_flip", "improvement", "improvement_low", "improvement_high",
    ])  # fmt: skip
    for row in table.study.rows:
        for column in table.study.columns:
            writer.writerow(["" if x is None else x for x in _line(table, row, column)])
    return text.getvalue()


def _line(table: Table, row: Row, column: Column) -> list[Any]:
    cell = _cell(table, row, column)
    interval, published, pairs = cell.interval, cell.published, cell.pairs
    difference = pairs.difference if pairs else None
    improvement = pairs.improvement(column.measure.better) if pairs and not pairs.bounded else None
    test = pairs.test if pairs else None
    return [
        row.name, column.name, cell.state, table.study.statistic, len(cell.scores), int(cell.at_most),
        *_plain(interval),
        published.value if published else None, published.verification if published else None,
        _rounded(interval.mean - published.value) if interval and published else None,
        row.against if pairs else None, len(pairs.ours) if pairs else None, pairs.bounded if pairs else None,
        *_plain(difference),
        _rounded(test.t) if test else None, _rounded(test.sign_flip) if test else None,
        *_plain(improvement),
    ]  # fmt: skip


def _plain(interval: Interval | None) -> list[float | None]:
    return [_rounded(x) for x in interval[:3]] if interval else [None] * 3


def _rounded(x: float) -> float | None:
    """Seven significant digits, so that another processor's last bits do not show; nothing for what is not finite."""
    return float(f"{x:.7g}") if math.isfinite(x) else None


LATEX = str.maketrans({
    **{character: f"\\{character}" for character in "%_&#${}"},
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "−": "$-$", "±": r"$\pm$", "≥": r"$\ge$", "≤": r"$\le$",
})  # fmt: skip
TAKEN = ("[", "*")  # for an argument of the `\\` or `\midrule` before, if a line begins so


def latex(table: Table) -> str:
    """The means and, under each row, the published numbers; for the package booktabs."""
    study = table.study
    lines = [[r"", *(c.name for c in study.columns)]]
    rows = []
    for row in study.rows:
        rows.append([row.name, *(shown(table, row, c) for c in study.columns)])
        if any(_cell(table, row, c).published for c in study.columns):
            cells = [_cell(table, row, c).published for c in study.columns]
            rows.append(["published", *(number(p.value) if p else MISSING for p in cells)])
    head, *body = [" & ".join(map(_in_latex, line)) + r" \\" for line in [*lines, *rows]]
    return "\n".join([
        f"% {_line_of(study.title)}. {caption(table)}",
        rf"\begin{{tabular}}{{l{'r' * len(study.columns)}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}", "",
    ])  # fmt: skip


def _in_latex(words: str) -> str:
    """Words as LaTeX that prints them as they are, and runs nothing."""
    line = _line_of(words)
    return ("{}" if line.startswith(TAKEN) else "") + line.translate(LATEX)


def _line_of(words: str) -> str:
    return " ".join(words.split())
