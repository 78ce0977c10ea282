"""Put stored results and programs into the pages that show them, between their markers.

python docs/render.py           rewrite README.md, and pages of docs, benchmarks and experiments
python docs/render.py --check   only say whether they are up to date (exit status 1 if not)
"""

import json
import re
import runpy
import sys
from collections.abc import Container
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

from metarl_exp import wiring
from metarl_exp.commands import classical
from metarl_exp.commands.table import studies
from metarl_exp.markdown import pipes
from metarl_exp.runs import results
from metarl_exp.statistics import holm
from metarl_exp.study import cost, declaration, runs
from metarl_exp.study.cells import Table, assemble
from metarl_exp.study.comparison import MISSING
from metarl_exp.study.declaration import Column, Row, Study
from metarl_exp.study.measures import Return
from metarl_exp.study.rendering import difference

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "architecture.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "docs" / "derivatives.md",
    ROOT / "docs" / "distributed.md",
    ROOT / "docs" / "metrics.md",
    ROOT / "docs" / "objectives.md",
    ROOT / "docs" / "reproducing.md",
    ROOT / "docs" / "survives.md",
    *sorted(ROOT.glob("docs/methods/*.md")),
    *sorted(ROOT.glob("experiments/**/README.md")),
]
CORES = 2
ALPHA = 0.05  # of all tests of a table together
OBJECTIVES = ["MAML", "E-MAML", "LVC", "loaded DiCE", "DiCE", "ProMP"]
DEARER = {"seconds": "time of MAML, ×", "peak_mib": "memory of MAML, ×"}
SPEED = re.compile(r"sampling, s|meta-iteration, s|curvature product, s|memory|order|---")


def block(match: re.Match[str]) -> str:
    """A marked block with its content made anew."""
    kind, source = match.groups()
    return f"<!-- {kind}: {source} -->\n{KINDS[kind](source)}\n<!-- end -->"


def _text(source: str) -> str:
    return (ROOT / source).read_text(encoding="utf-8")


def render(source: str) -> str:
    """The table of a stored run's folder."""
    return results.markdown(json.loads(_text(f"{source}/evaluation.json")))


def include(source: str) -> str:
    """A program."""
    return f"```python\n{_text(source)}```"


def speed(source: str) -> str:
    """Some rows of a stored benchmark."""
    return "\n".join(line for line in benchmark(source).split("\n\n")[0].splitlines() if SPEED.search(line))


def study(source: str) -> str:
    """A study's page without its title."""
    return _text(source).split("\n", 2)[2].strip()


def means(source: str) -> str:
    """The first table of a study's page, with its caption."""
    return "\n\n".join(_text(source).split("\n\n")[1:3])


def rows(source: str) -> str:
    """Some rows of the first table of a study's page (a.md|ROW|ROW|…, in that order, with _ for a space)."""
    path, *names = source.split("|")
    caption, table = means(path).split("\n\n")
    head, rule, *lines = table.splitlines()
    found = {line.split(" | ")[0].removeprefix("| "): line for line in lines}
    return "\n".join([caption, "", head, rule, *(found[name.replace("_", " ")] for name in names)])


def overlay(source: str) -> str:
    """A file of the configuration that others are laid over by: its command, and what it sets."""
    _, command, *lines = _text(source).splitlines()
    return "\n".join(["```yaml", command, *(line for line in lines if not line.startswith("#")), "```"])


def glossary(source: str) -> str:
    """The table of all metrics, from the module that has them."""
    entries = runpy.run_path(str(ROOT / source))["GLOSSARY"].items()
    return pipes(["metric", "unit", "meaning"], [[f"`{name}`", unit, says] for name, (unit, says) in entries])


def differences(source: str) -> str:
    """The paired differences of a study's page, with their caption."""
    return _table_below(source, "**Differences**")


class Line(NamedTuple):
    """Second order minus first order in a study, after some gradient steps."""

    table: Table
    column: Column

    def rows(self) -> dict[str, Row]:
        """The rows in second order, by objective."""
        return {row.name: row for row in self.table.study.rows if row.name in OBJECTIVES}

    def p_values(self) -> dict[str, float]:
        """p-values of Student's paired t-test, by objective."""
        pairs = {name: self.table.cells[name, self.column.name].pairs for name in self.rows()}
        return {name: p.test.t for name, p in pairs.items() if p and p.test}

    def cells(self, bold: Container[str]) -> list[str]:
        """The difference of each objective, and the cost of MAML's order as a multiple of first order's."""
        shown = dict.fromkeys(OBJECTIVES, MISSING)
        for name, row in self.rows().items():
            text = difference(self.table, row, self.column)
            shown[name] = f"**{text}**" if name in bold else text
        costs = self.table.costs
        dearer = [f"{costs['MAML'][q] / costs['first order'][q]:.1f}" if costs else MISSING for q in DEARER]
        steps = results.steps_in_words(self.column.measure.after)
        return [self.table.study.title.split(", ", 1)[1], steps, *shown.values(), *dearer]


def orders(sources: str) -> str:
    """Second order minus first of several studies (a.yaml,b.yaml,…), after the trained number of steps and after three.

    Bold are differences that survive Holm's correction for all of the table's.
    """
    lines = [line for source in sources.split(",") for line in _lines(declaration.load(ROOT / source))]
    tests = {(i, name): p for i, line in enumerate(lines) for name, p in line.p_values().items()}
    certain = {test for test, p in zip(tests, holm([*tests.values()]), strict=True) if p <= ALPHA}
    bold = [{name for number, name in certain if number == i} for i in range(len(lines))]
    return pipes(["", "after", *OBJECTIVES, *DEARER.values()], map(Line.cells, lines, bold))


def _lines(study: Study) -> list[Line]:
    table = assemble(study, runs.stored(study))
    trained = wiring.compose((*study.overrides, *study.rows[0].overrides)).adaptation.inner_steps
    returns = {c.measure.after: c for c in study.columns if type(c.measure) is Return}
    return [Line(table, returns[steps]) for steps in dict.fromkeys([trained, 3])]


def iteration(source: str) -> str:
    """Cost of a meta-iteration of each row of a study, with its caption."""
    return _table_below(source, "**Cost of a meta-iteration**")


def _table_below(source: str, caption: str) -> str:
    parts = _text(source).split("\n\n")
    number = next(i for i, part in enumerate(parts) if part.startswith(caption))
    return "\n\n".join(parts[number : number + 2])


def benchmark(source: str) -> str:
    """The table of the stored results `benchmarks/results/NAME.json`, as `benchmarks/NAME.py` makes it."""
    file = ROOT / source
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return runpy.run_path(str(ROOT / "benchmarks" / f"{file.stem}.py"))["table"](json.loads(_text(source)))
    finally:
        sys.path.pop(0)


def costs(source: str) -> str:
    """Costs of the runs of every study under a folder."""
    took: dict[Path, tuple[str, cost.Cost, float]] = {}
    for path in studies(ROOT / source):
        declared = declaration.load(path)
        stored = runs.stored(declared)
        spent = cost.taken(declared, stored)
        planned, lacking = len(runs.wanted(declared, stored)), len(cost.missing(declared, stored))
        number = f"{planned - lacking} of {planned}" if lacking else f"{planned}"
        took[path] = number, spent, spent.seconds / CORES
    for path in (ROOT / source).glob("**/*.json"):
        if (study := path.with_suffix(".yaml")).is_file():
            played = classical.read(study)
            spent = classical.cost(played, classical.kept(played, path))
            took[study] = MISSING, spent, spent.seconds  # one process
    lines = [
        [f"`{path.relative_to(ROOT)}`", number, f"{spent.steps / 1e6:.1f}", f"{seconds / 3600:.2f}"]
        for path, (number, spent, seconds) in sorted(took.items())
    ]
    return pipes(["table", "runs", "environment steps, millions", "hours on two cores"], lines)


def torture(source: str) -> str:
    """The table of what was done to runs, from the counts that `make torture` stores."""
    return runpy.run_path(str(ROOT / "tests" / "torture" / "tally.py"))["table"](json.loads(_text(source)))


def recursions(source: str) -> str:
    """The numbered equations at the head of a module, each with the lines that compute it."""
    text = _text(source)
    equations = re.findall(r"^ {4}\((\d)\)  (.+)$", text, re.MULTILINE)
    lines = [line.strip() for line in text.splitlines() if "  # (" in line]

    def computed(number: str) -> list[str]:
        return [code for code, _, tags in (line.partition("  # ") for line in lines) if f"({number})" in tags]

    return "\n".join(f"({n}) {equation}\n\n    " + "\n    ".join(computed(n)) + "\n" for n, equation in equations)


def imports(source: str) -> str:
    """The order in which modules import each other, and who may import a library, as a test enforces them."""
    rules = runpy.run_path(str(ROOT / source))
    order = fill(" · ".join(rules["ORDER"]), 116, initial_indent="    ", subsequent_indent="    ")
    users = {
        library: ", ".join(f"`{unit}`" for unit in sorted(allowed)) for library, allowed in rules["ALLOWED"].items()
    }
    return f"{order}\n\n" + pipes(["library", "imported by"], [[f"`{name}`", who] for name, who in users.items()])


KINDS = {
    f.__name__: f
    for f in (
        render,
        include,
        speed,
        benchmark,
        study,
        means,
        rows,
        overlay,
        glossary,
        differences,
        orders,
        iteration,
        costs,
        torture,
        recursions,
        imports,
    )
}
BLOCK = re.compile(rf"<!-- ({'|'.join(KINDS)}): (\S+) -->\n.*?<!-- end -->", re.DOTALL)


def rendered(page: Path) -> str:
    """The text of a page with all its blocks made anew."""
    return BLOCK.sub(block, page.read_text(encoding="utf-8"))


def main() -> int:
    stale = {page: text for page in PAGES if (text := rendered(page)) != page.read_text(encoding="utf-8")}
    if "--check" in sys.argv:
        return int(bool(stale))
    for page, text in stale.items():
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
