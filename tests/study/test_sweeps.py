"""From a sweep to its table, for real: killed and started again, and launched by the table itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from metarl_exp import table
from metarl_exp.study import runs

LONGER = "iterations=30"  # than it takes to see it and kill it
SWEPT = ["adaptation.order=second,first", "seed=0,1"]


def declare(laboratory, tiny):
    return laboratory.declare(
        overrides=[*tiny, LONGER],
        seeds=[0, 1],
        rows=[{"name": o, "overrides": [f"adaptation.order={o}"], "against": a} for o, a in
              (("second", "first"), ("first", None))],
        columns=[
            {"name": "1 step", "measure": "return", "after": 1},
            {"name": "samples", "measure": "samples_to", "threshold": -100.0, "curve": "return", "step": 1},
        ],
    )  # fmt: skip


def sweep(tiny, output: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "metarl_exp.train", "-m", *tiny, LONGER, *SWEPT, f"output_root={output}"]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finished(output: Path) -> list[Path]:
    return sorted(path.parent for path in output.glob("*/evaluation.json"))


def recorded(output: Path) -> int:
    """Iterations that the third job has behind it; a checkpoint follows each record."""
    if len(finished(output)) < 2:
        return 0
    running = [path for path in output.glob("*/metrics.jsonl") if path.parent not in finished(output)]
    return sum(len(path.read_text().splitlines()) for path in running)


def files(folders: list[Path]) -> dict[Path, int]:
    found = (path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {path: path.stat().st_mtime_ns for path in found}


def tables(laboratory, tiny, output: Path) -> dict[str, str]:
    study = declare(laboratory, tiny)
    for stored in (laboratory.file.parent / runs.STORED).glob("*.json"):
        stored.unlink()
    table.take_up(study, [output])
    return table.texts(table.make(study))


@pytest.mark.slow
def test_a_sweep_killed_in_its_third_job_and_started_again_gives_the_same_table_byte_for_byte(
    laboratory, tiny, tmp_path
):
    """Trap 18. Four jobs; the two that had finished are not touched again."""
    whole, killed = sweep(tiny, tmp_path / "whole"), sweep(tiny, tmp_path / "killed")
    deadline = time.monotonic() + 240
    while recorded(tmp_path / "killed") < 3:
        assert killed.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    before = files(finished(tmp_path / "killed"))
    assert len({path.parent for path in before if path.name == "evaluation.json"}) == 2
    again = sweep(tiny, tmp_path / "killed")
    printed = again.communicate(timeout=240)[0].decode()
    assert again.returncode == 0, printed
    assert printed.count("already finished") == 2
    assert printed.count("continuing at iteration") == 1
    assert printed.count("starting:") == 1
    assert files(list({path.parent for path in before if path.name == "evaluation.json"})) == before
    whole.communicate(timeout=240)
    expected = tables(laboratory, tiny, tmp_path / "whole")
    assert "complete" in expected["csv"]
    assert "incomplete" not in expected["csv"]
    assert tables(laboratory, tiny, tmp_path / "killed") == expected


@pytest.mark.slow
def test_a_table_runs_what_it_lacks_and_a_job_that_fails_stays_failed(laboratory, tiny, tmp_path, capsys):
    """A row that chooses gets its further seeds in a second round; a finished run is not run again."""
    choose = {"key": "inner_optimizer.lr", "values": [0.1, 0.5], "seeds": [0]}
    study = laboratory.declare(
        overrides=[*tiny, "iterations=2"],
        seeds=[0, 1],
        rows=[{"name": "chooses", "choose": choose}, {"name": "fails", "overrides": ["inner_optimizer.lr=1e30"]}],
        columns=[{"name": "1 step", "measure": "return", "after": 1}],
    )
    table.run_missing(study, tmp_path / "runs", ["threads=1"], Console(width=160), runs.Today())
    printed = capsys.readouterr().out
    assert "4 runs are missing" in printed
    assert "1 runs are missing" in printed
    lines = table.texts(table.make(study))
    assert "chooses,1 step,complete" in lines["csv"]
    assert "fails,1 step,failed" in lines["csv"]
    assert "NonFiniteError" in lines["md"]
