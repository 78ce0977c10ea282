"""The documentation points at things that exist."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("experiments/**/*.md")]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_trap_names_a_test_that_exists():
    rows = re.findall(r"^\| (\d+) \|.*?\| (.+?) \|$", (ROOT / "docs" / "traps.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 1 + len(rows)))
    assert len(rows) >= 30
    for number, guard in rows:
        tests = re.findall(r"`(test_\w+)`", guard)
        files = re.findall(r"\(\.\./(tests/[\w/]+\.py)\)", guard)
        assert (tests and files) or guard.startswith("not yet"), number
        text = "".join((ROOT / file).read_text() for file in files)
        for name in tests:
            assert f"def {name}(" in text, f"trap {number}: {name}"


def test_every_citation_is_in_the_references():
    known = set(re.findall(r"^\| (\w+\d{4}\w*) \|", (ROOT / "docs" / "references.md").read_text(), re.MULTILINE))
    for path in [*ROOT.glob("metarl_exp/**/*.py"), *ROOT.glob("conf/**/*.yaml")]:
        for key in re.findall(r"\[([a-z]+\d{4}[a-z]*)[,\]; ]", path.read_text()):
            assert key in known, f"{path.name}: {key}"


def test_pages_show_the_stored_results_and_the_example_as_they_are():
    render = runpy.run_path(str(ROOT / "docs" / "render.py"))
    assert len(render["PAGES"]) >= 4
    for page in render["PAGES"]:
        assert render["rendered"](page) == page.read_text(), f"{page}: run python docs/render.py"
