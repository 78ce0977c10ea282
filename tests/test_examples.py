"""The example programs run, and do what they say."""

import re
import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_cartpole_of_the_readme_learns(capsys):
    runpy.run_path(str(EXAMPLES / "cartpole.py"))["main"](epochs=30)
    printed = capsys.readouterr().out
    first, last = (
        [float(x) for x in re.findall(r"return +([\d.]+) → +([\d.]+)", line)[0]]
        for line in (printed.splitlines()[0], printed.splitlines()[29])
    )
    assert last[1] > 1.4 * first[1]
    assert last[1] > 2 * last[0]
    assert "CartPole-v1:" in printed


def test_the_example_is_about_thirty_lines():
    code = (EXAMPLES / "cartpole.py").read_text().split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 42
