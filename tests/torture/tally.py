"""Counts of what was done to runs, and of what became of them: the table of docs/survives.md.

A test calls `tally(kind, outcome)` once for each thing that it tried. Whatever the outcome, the test asserts what it
has to; the counts are for people.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from metarl_exp.markdown import pipes

OUTCOMES = {
    "identical": "identical",  # ended, or was continued, with the numbers of an undisturbed run
    "refused": "refused, with the reason",
    "executed": "code executed",
    "hung": "hung",
    "traceback": "ended in a traceback",
    "changed": "changed in silence",
}

Tally = dict[str, Counter[str]]


def gathered(records: Iterable[tuple[str, str]]) -> Tally:
    """Counts of outcomes by kind, kinds in the order of their names."""
    found: Tally = {}
    for kind, outcome in sorted(records):
        found.setdefault(kind, Counter())[outcome] += 1
    return found


def table(tally: Mapping[str, Mapping[str, int]]) -> str:
    """A row for each kind of damage: how often it was tried, and how often each outcome was seen."""
    header = ["done to a run", "tried", *OUTCOMES.values()]
    lines = [
        [kind, str(sum(counts.values())), *(str(counts.get(outcome, 0)) for outcome in OUTCOMES)]
        for kind, counts in tally.items()
    ]
    return pipes(header, lines)


def store(tally: Tally, path: Path) -> None:
    """Write the counts of all kinds."""
    path.write_text(json.dumps(tally, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
