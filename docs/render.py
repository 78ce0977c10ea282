"""Put stored results and programs into the pages that show them, between their markers.

python docs/render.py           rewrite README.md, and those of benchmarks and experiments
python docs/render.py --check   only say whether they are up to date (exit status 1 if not)
"""

import json
import re
import runpy
import sys
from pathlib import Path

from metarl_exp import results
from metarl_exp.study import cost, declaration, runs
from metarl_exp.table import studies

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "docs" / "reproducing.md",
    *sorted(ROOT.glob("experiments/**/README.md")),
]
BLOCK = re.compile(r"<!-- (render|include|speed|benchmark|study|means|costs): (\S+) -->\n.*?<!-- end -->", re.DOTALL)
CORES = 2
SPEED = re.compile(r"sampling, s|meta-iteration, s|curvature product, s|memory|order|---")


def block(match: re.Match[str]) -> str:
    """A marked block with its content made anew."""
    kind, source = match.groups()
    if kind == "include":
        content = f"```python\n{(ROOT / source).read_text()}```"
    elif kind == "speed":
        content = "\n".join(line for line in benchmark(source).split("\n\n")[0].splitlines() if SPEED.search(line))
    elif kind == "benchmark":
        content = benchmark(source)
    elif kind == "study":
        content = (ROOT / source).read_text().split("\n", 2)[2].strip()  # without its title
    elif kind == "means":
        content = "\n\n".join((ROOT / source).read_text().split("\n\n")[1:3])  # a study's first table, with its caption
    elif kind == "costs":
        content = costs(ROOT / source)
    else:
        content = results.markdown(json.loads((ROOT / source / "evaluation.json").read_text()))
    return f"<!-- {kind}: {source} -->\n{content}\n<!-- end -->"


def benchmark(source: str) -> str:
    """The table of the stored results `benchmarks/results/NAME.json`, as `benchmarks/NAME.py` makes it."""
    results = ROOT / source
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return runpy.run_path(str(ROOT / "benchmarks" / f"{results.stem}.py"))["table"](json.loads(results.read_text()))
    finally:
        sys.path.pop(0)


def costs(folder: Path) -> str:
    """What the runs of every study under a folder took."""
    lines = ["| table | runs | environment steps, millions | hours on two cores |", "| --- | ---: | ---: | ---: |"]
    for path in studies(folder):
        study = declaration.load(path)
        stored = runs.stored(study)
        took, number = cost.taken(study, stored), len(runs.wanted(study, stored))
        hours = took.seconds / 3600 / CORES
        lines.append(f"| `{path.relative_to(ROOT)}` | {number} | {took.steps / 1e6:.1f} | {hours:.1f} |")
    return "\n".join(lines)


def rendered(page: Path) -> str:
    """The text of a page with all its blocks made anew."""
    return BLOCK.sub(block, page.read_text())


def main() -> int:
    stale = [page for page in PAGES if rendered(page) != page.read_text()]
    if "--check" in sys.argv:
        return int(bool(stale))
    for page in stale:
        page.write_text(rendered(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
