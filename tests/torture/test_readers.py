"""Damage to one of two runs, of every kind, before `metarl-status` and `metarl-report` look at both."""

import pytest

from metarl_exp import report
from metarl_exp.report import pictures
from metarl_exp.runs.sweep import statuses
from tests.damage import OF_CONTENT, OF_FIGURES, OF_STATE
from tests.report.conftest import write_run  # noqa: F401  # a fixture


@pytest.mark.parametrize("name", [*OF_STATE, *OF_CONTENT, *OF_FIGURES])
def test_a_damaged_run_is_named_and_the_other_is_shown(name, write_run, tmp_path, tally, monkeypatch):  # noqa: F811
    monkeypatch.setattr(pictures, "of_study", lambda *_: [])
    damage, root = (OF_STATE | OF_CONTENT | OF_FIGURES)[name], tmp_path / "outputs"
    write_run("default-aa-seed0")
    write_run("default-bb-seed0")
    damage(root / "default-aa-seed0")
    page = report.write(root, tmp_path / "page.html").read_text()
    named = f"{damage.file}: " in page and (name not in OF_STATE or statuses(root)[0].state == "damaged")
    tally("a file of a run that others read", "refused" if named else "changed")
    assert named
