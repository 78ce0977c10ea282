"""Pages and tables of the laboratory's measurements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table

from metarl_exp.laboratory.study import Study
from metarl_exp.markdown import escaped, pipes

MEASURES = {
    ("expected", "bias"): "Bias for ∇J_I",
    ("sampled", "bias"): "Bias for ∇J_II(M)",
    ("sampled", "deviation"): "Standard deviation of one task's estimate, over the norm of ∇J_II(M)",
    ("expected", "error"): "Root mean squared error for ∇J_I",
    ("sampled", "error"): "Root mean squared error for ∇J_II(M)",
}
DRAWN = ("first order", "MAML", "MAML, baseline", "E-MAML (sum)", "LVC", "DiCE", "loaded DiCE, baseline")
EXACT = 1e-9  # a relative bias below this is rounding


class Section(NamedTuple):
    """One table with its caption."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        return f"**{self.title}**\n\n{pipes(self.header, self.rows)}"

    def rich(self) -> Table:
        """Table for a terminal."""
        shown = Table(*self.header, title=self.title, title_justify="left")
        for row in self.rows:
            shown.add_row(*row)
        return shown


def as_json(stored: Mapping[str, Any]) -> str:
    """One line an entry."""
    entries = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in stored["gradients"])
    rest = {key: value for key, value in stored.items() if key != "gradients"}
    return json.dumps(rest, ensure_ascii=False)[:-1] + f', "gradients": [\n{entries}\n]}}\n'


def pages(study: Study, stored: Mapping[str, Any]) -> dict[str, str]:
    """The whole page, and the short one for the documentation, by the names of their files."""
    head = f"# {escaped(study.title)}\n\n{caption(study)}\n\n"
    return {
        "gradients.md": head + "\n\n".join(section.markdown() for section in sections(study, stored)) + "\n",
        "bias.md": head + "\n\n".join(section.markdown() for section in summary(study, stored)) + "\n",
    }


def tables(study: Study, stored: Mapping[str, Any]) -> list[Table]:
    """All that the page has, for a terminal."""
    return [section.rich() for section in sections(study, stored)]


def caption(study: Study) -> str:
    """Caption of the numbers."""
    return (
        f"{study.mdps} random MDPs ({study.states} states, {study.actions} actions, {study.horizon} steps, discount "
        f"{study.discount:g}), a random tabular policy in each; one inner step, M trajectories before adaptation and M "
        "after. Root mean squares over MDPs, in units of the gradient or Hessian that is estimated. Expectations are "
        f"by enumeration up to {study.enumerated} batches, otherwise over {study.replicates} replicates, with ± the "
        "size of the Monte Carlo error."
    )


def sections(study: Study, stored: Mapping[str, Any]) -> list[Section]:
    """Tables of every measure for every step size, and of the Hessians."""
    header = ["M", *map(str, study.trajectories)]
    found = {(c["step_size"], c["trajectories"], c["estimator"]): c for c in stored["gradients"]}
    made = []
    for alpha in study.step_sizes:
        for (against, measure), title in MEASURES.items():
            rows = [[name, *(shown(found[alpha, size, name][against], measure) for size in study.trajectories)]
                    for name in study.methods]  # fmt: skip
            made.append(Section(f"{title}, α = {alpha:g}", header, rows))
    return [*made, hessians(stored)]


def summary(study: Study, stored: Mapping[str, Any]) -> list[Section]:
    """Table of the estimators for one step size and number of trajectories, and of the Hessians."""
    alpha, size = study.shown["step_size"], study.shown["trajectories"]
    cells = {c["estimator"]: c for c in stored["gradients"] if (c["step_size"], c["trajectories"]) == (alpha, size)}
    header = ["", "bias for ∇J_I", "bias for ∇J_II", "deviation", "error for ∇J_I", "error for ∇J_II"]
    order = [("expected", "bias"), ("sampled", "bias"), ("sampled", "deviation"), ("expected", "error"),
             ("sampled", "error")]  # fmt: skip
    rows = [[name, *(shown(cells[name][against], measure) for against, measure in order)] for name in study.methods]
    return [Section(f"Meta-gradients, α = {alpha:g}, M = {size}", header, rows), hessians(stored)]


def hessians(stored: Mapping[str, Any]) -> Section:
    """Bias and deviation of the inner Hessians."""
    rows = [[name, shown(cell | {"noise": 0}, "bias"), shown(cell, "deviation")]
            for name, cell in stored["hessians"].items()]  # fmt: skip
    title = "Hessian of the inner surrogate for ∇²V (exact); the deviation of M trajectories is that of one over √M"
    return Section(title, ["surrogate", "bias", "deviation, M = 1"], rows)


def shown(cell: Mapping[str, float], measure: str) -> str:
    """A number, and where it is a bias from Monte Carlo, its noise."""
    value = cell[measure] if cell[measure] > EXACT else 0.0
    text = f"{value:.3f}" if value < 10 else f"{value:.3g}"
    return f"{text} ± {cell['noise']:.3f}" if measure == "bias" and cell["noise"] > 0 else text
