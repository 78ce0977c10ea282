"""A damaged run is one row of the page, which says which file it is; the others are as without it."""

import os

import pytest

from metarl_exp import report
from metarl_exp.report import pictures
from metarl_exp.runs.sweep import Job, Sweep
from tests.damage import CONFIG, OF_CONTENT, OF_FIGURES, OF_STATE


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr(pictures, "of_study", lambda *_: [])


@pytest.fixture
def page(write_run, tmp_path, parsed):
    """Of a run that is to be damaged, and of a whole one."""
    write_run("default-aa-seed0")
    write_run("default-bb-seed0", "first")
    return lambda: parsed(report.write(tmp_path / "outputs", tmp_path / "page.html").read_text())


def row(page) -> list[str]:
    """The row of the damaged one; the other is the whole one's, and finished."""
    (jobs,) = [rows[1:] for rows in page.tables if rows[0][0] == "job"]
    found = {cells[0]: cells for cells in jobs}
    assert found["default-bb-seed0"][1] == "finished"
    return found["default-aa-seed0"]


@pytest.mark.parametrize("name", [*OF_STATE, *OF_CONTENT])
def test_a_run_with_a_damaged_file_is_a_row_and_in_no_mean(page, tmp_path, name):
    damage = (OF_STATE | OF_CONTENT)[name]
    folder = tmp_path / "outputs" / "default-aa-seed0"
    damage(folder)
    shown = page()
    assert row(shown)[1] == "damaged"
    assert row(shown)[-1].startswith(f"{folder / damage.file}: ")
    assert [cells[0] for cells in shown.table("run")] == ["default-bb-seed0"]
    assert "What went wrong" in "".join(shown.text)


@pytest.mark.parametrize("damage", OF_FIGURES.values(), ids=OF_FIGURES)
def test_a_figure_that_is_broken_or_enormous_is_said_to_be_and_the_numbers_count(page, tmp_path, damage):
    folder = tmp_path / "outputs" / "default-aa-seed0"
    damage(folder)
    shown = page()
    assert row(shown)[1] == "damaged"
    assert row(shown)[-1].startswith(f"{folder / damage.file}: ")
    assert [cells[0] for cells in shown.table("run")] == ["default-aa-seed0", "default-bb-seed0"]


def test_a_file_that_may_not_be_read_is_named(page, tmp_path, monkeypatch):
    forbidden, read_bytes = tmp_path / "outputs" / "default-aa-seed0" / CONFIG, type(tmp_path).read_bytes

    def refused(path):
        if path == forbidden:
            raise PermissionError(13, os.strerror(13), str(path))
        return read_bytes(path)

    monkeypatch.setattr(type(tmp_path), "read_bytes", refused)
    assert row(page())[1::2] == ["damaged", f"{forbidden}: Permission denied"]


@pytest.mark.parametrize("record", [b"", b"{}", b"[", b'{"command": "c", "jobs": [{"folder": "x"}]}', b"[]"])
def test_a_damaged_record_of_a_sweep_is_a_row(page, tmp_path, record):
    sweep = Sweep(tmp_path / "outputs", "one")
    sweep.begin("metarl-train -m", [Job("default-aa-seed0", 0, "aa", [])])
    sweep.record.write_bytes(record)
    (jobs,) = [rows[1:] for rows in page().tables if rows[0][0] == "job"]
    assert [cells[:2] for cells in jobs] == [
        ["sweep one", "damaged"], ["default-aa-seed0", "finished"], ["default-bb-seed0", "finished"]
    ]  # fmt: skip
    assert jobs[0][-1].startswith(f"{sweep.record}: ")
