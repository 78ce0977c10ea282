"""Results in `evaluation.json`, and their table: returns after 0 … K_test gradient steps on held-out tasks.

Of trials they are returns after 0 … E − 1 episodes: `after` says so, and the protocol's `steps` is E − 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from rich.table import Table

from metarl_exp.markdown import pipes
from metarl_exp.statistics import t_interval

OVER = "95 % t-interval over the test tasks of this one training run, not over training seeds"

DECIMALS = 6  # that files keep of a return

# What columns may count, in words: of one evaluation, or of both kinds side by side; then as an axis says it.
AFTER = {"step": "gradient steps", "episode": "episodes of a trial", "step or episode": "gradient steps or episodes"}
AXES = AFTER | {"episode": "episodes before"}


def intervals(values: np.ndarray) -> dict[str, Any]:
    """Mean and 95 % t-interval of each column, over the rows: tasks or seeds."""
    each = [t_interval(column) for column in values.T]
    return {
        "mean": [round(i.mean, DECIMALS) for i in each],
        # One row has no interval: null, since JSON has no infinity.
        "interval": [[round(i.low, DECIMALS), round(i.high, DECIMALS)] if i.n > 1 else None for i in each],
    }


def table(evaluation: dict[str, Any]) -> Table:
    """The evaluation as people read it."""
    shown = Table(title=_caption(evaluation), title_justify="left")
    name, *columns = header(evaluation)
    shown.add_column(name, no_wrap=True)
    for column in columns:
        shown.add_column(column, justify="right", no_wrap=True)
    for row in rows(evaluation):
        shown.add_row(*row)
    shown.caption = ". ".join([OVER, *doubt(evaluation)])
    return shown


def counted(evaluation: dict[str, Any]) -> str:
    """Unit of the columns: a `step`, or an `episode` of a trial."""
    return evaluation.get("after", "step")


def counted_together(evaluations: Iterable[dict[str, Any]]) -> str:
    """Unit of columns that several evaluations share: a `step`, an `episode`, or a `step or episode`."""
    return " or ".join(sorted({counted(evaluation) for evaluation in evaluations}, reverse=True))


def steps_in_words(k: int, of: str = "step") -> str:
    """Name of a column of returns after k gradient steps, or episodes."""
    return f"{k} {of if k == 1 else of.replace(' or ', 's or ') + 's'}"


def gradient_steps_in_words(k: int, of: str) -> str:
    """As `steps_in_words`, with «gradient step» spelled out."""
    return steps_in_words(k, of.replace("step", "gradient step"))


def _caption(evaluation: dict[str, Any]) -> str:
    return f"Return on {evaluation['tasks']['n']} held-out tasks after {AFTER[counted(evaluation)]}"


def doubt(evaluation: dict[str, Any]) -> list[str]:
    """One sentence if adaptation is not shown to help the best θ: the interval of its gain after all steps has 0."""
    best = evaluation["theta"].get("best")
    if best is None or best["n"] < 2 or evaluation["protocol"]["steps"] == 0:
        return []
    returns = np.array(best["returns"])
    gain = t_interval(returns[:, -1] - returns[:, 0])
    if gain.low > 0:
        return []
    found = "makes returns worse" if gain.high < 0 else "is not shown to help"
    gained = f"{gain.mean:.2f}, between {gain.low:.2f} and {gain.high:.2f}"
    return [f"Adaptation {found}: gain after all {counted(evaluation)}s {gained}"]


def rows(evaluation: dict[str, Any]) -> list[list[str]]:
    """A row of returns for each θ; of success rates, where tasks have a goal; of shares, where they are solved.

    Whether adaptation helped is seen in the row of gains: their interval is that of paired differences, and far
    narrower than those of two returns wherever tasks differ in how hard they are.
    """
    found = []
    for name, entry in evaluation["theta"].items():
        found.append([f"{name} (iteration {entry['iteration']})", *cells(entry)])
        if name == "best":
            returns = np.array(entry["returns"])
            gains = cells(intervals(returns - returns[:, :1]))
            found.append([f"best: gain over 0 {counted(evaluation)}s, task by task", *gains])
        if "success" in entry:
            found.append([f"{name}: share of episodes that reach the goal", *cells(entry["success"])])
        if "optimal_returns" in evaluation:
            shares = np.array(entry["mean"]) / np.mean(evaluation["optimal_returns"])
            found.append([f"{name}: share of the optimum", *(f"{share:.3f}" for share in shares)])
    shown = shown_steps(evaluation)
    return [[row[0], *(row[1 + k] for k in shown)] for row in found]


def header(evaluation: dict[str, Any]) -> list[str]:
    """Headings of the columns of `rows`."""
    return ["θ", *(steps_in_words(k, counted(evaluation)) for k in shown_steps(evaluation))]


def shown_steps(evaluation: dict[str, Any]) -> list[int]:
    """The numbers of steps that have a column: all if they are few, else 0, 1, 2, 4, 8 … and the last."""
    last = evaluation["protocol"]["steps"]
    return list(range(last + 1)) if last < 8 else [0, *(2**i for i in range(last.bit_length()) if 2**i < last), last]


def cells(entry: dict[str, Any]) -> list[str]:
    """Means, with half the width of their intervals where they have one."""
    shown = []
    for mean, interval in zip(entry["mean"], entry["interval"], strict=True):
        half = f" ± {(interval[1] - interval[0]) / 2:.2f}" if interval else ""
        shown.append(f"{mean:.2f}{half}")
    return shown


def markdown(evaluation: dict[str, Any]) -> str:
    """Table in Markdown, with a note on its intervals."""
    caption = f"{_caption(evaluation)}; ± {OVER}"
    return f"{pipes(header(evaluation), rows(evaluation))}\n\n{'. '.join([caption, *doubt(evaluation)])}."
