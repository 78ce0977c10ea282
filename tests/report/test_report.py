"""The command `metarl-report`."""

import sys

import pytest

from metarl_exp.commands import report
from metarl_exp.report import pictures
from metarl_exp.runs.sweep import Job, Sweep


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr(pictures, "of_study", lambda *_: [])


def run(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["metarl-report", *map(str, arguments)])
    report.main()


def test_the_page_is_written_into_the_folder_or_where_it_is_wanted(write_run, tmp_path, monkeypatch, capsys, parsed):
    write_run()
    monkeypatch.chdir(tmp_path)
    run(monkeypatch)
    assert capsys.readouterr().out == "written: outputs/report.html\n"
    shown = parsed((tmp_path / "outputs" / "report.html").read_text())
    assert "Runs in outputs" in shown.text
    run(monkeypatch, tmp_path / "outputs", "--output", tmp_path / "page.html")
    assert "Runs in outputs" in (tmp_path / "page.html").read_text()


def test_sweeps_and_single_runs_are_there_with_their_commands(write_run, tmp_path, parsed):
    write_run("default-aa-seed0")
    write_run("default-bb-seed0", "first", command="metarl-train of a job", sweep="one")
    job = Job("default-bb-seed0", 0, "bb", ["adaptation.order=first"])
    Sweep(tmp_path / "outputs", "one").begin("metarl-train -m", [job, job._replace(folder="default-bb-seed1", seed=1)])
    shown = parsed(report.write(tmp_path / "outputs", tmp_path / "page.html").read_text())
    assert [text for text in shown.text if text.startswith("metarl-train")] == ["metarl-train -m", "metarl-train alone"]
    (table,) = [rows for rows in shown.tables if rows[0][0] == "job"]
    assert [row[:2] for row in table[1:]] == [
        ["default-bb-seed0", "finished"], ["default-bb-seed1", "missing"], ["default-aa-seed0", "finished"]
    ]  # fmt: skip


def test_a_folder_without_jobs_is_refused(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="metarl-report: no jobs in"):
        run(monkeypatch, tmp_path)
    with pytest.raises(SystemExit, match="metarl-report: .*nowhere is not a folder"):
        run(monkeypatch, tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())
