"""From a sweep to its table, for real: killed and started again, and launched by the table itself."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from metarl_exp.commands import table
from metarl_exp.study import runs
from tests.waiting import PATIENCE

LONGER = "iterations=5"
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


KILLED_IN_ITS_THIRD_JOB = """
import os, signal
from metarl_exp.commands import train
from metarl_exp.runs import checkpoint

save_latest, begun = checkpoint.save_latest, []

def killed_after(folder, state):
    save_latest(folder, state)
    begun.extend({folder} - set(begun))
    if len(begun) == 3 and state["iteration"] == 3:
        os.killpg(0, signal.SIGKILL)

checkpoint.save_latest = killed_after
train.main()
"""


def sweep(tiny, output: Path, program: Sequence[str] = ("-m", "metarl_exp.train")) -> subprocess.Popen:
    command = [sys.executable, *program, "-m", *tiny, LONGER, *SWEPT, f"output_root={output}"]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finished(output: Path) -> list[Path]:
    return sorted(path.parent for path in output.glob("*/evaluation.json"))


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
    whole, killed = sweep(tiny, tmp_path / "whole"), sweep(tiny, tmp_path / "killed", ["-c", KILLED_IN_ITS_THIRD_JOB])
    printed = killed.communicate(timeout=PATIENCE)[0].decode()
    assert killed.returncode == -signal.SIGKILL, printed
    before = files(finished(tmp_path / "killed"))
    assert len({path.parent for path in before if path.name == "evaluation.json"}) == 2
    again = sweep(tiny, tmp_path / "killed")
    printed = again.communicate(timeout=PATIENCE)[0].decode()
    assert again.returncode == 0, printed
    assert printed.count("already finished") == 2
    assert printed.count("continuing at iteration") == 1
    assert printed.count("starting:") == 1
    assert files(list({path.parent for path in before if path.name == "evaluation.json"})) == before
    whole.communicate(timeout=PATIENCE)
    expected = tables(laboratory, tiny, tmp_path / "whole")
    assert "complete" in expected["csv"]
    assert "incomplete" not in expected["csv"]
    assert tables(laboratory, tiny, tmp_path / "killed") == expected


@pytest.mark.slow
def test_a_table_runs_what_it_lacks_and_a_job_that_fails_stays_failed(laboratory, tiny, tmp_path, capsys):
    """A row that chooses gets its further seeds in a second round; a finished run is not run again."""
    choose = {"key": "inner_optimizer.lr", "values": [0.1, 0.5], "seeds": [100]}
    study = laboratory.declare(
        overrides=[*tiny, "iterations=2"],
        seeds=[0, 1],
        rows=[{"name": "chooses", "choose": choose}, {"name": "fails", "overrides": ["inner_optimizer.lr=1e30"]}],
        columns=[{"name": "1 step", "measure": "return", "after": 1}],
    )
    table.run_missing(study, tmp_path / "runs", ["threads=1"], Console(width=160), runs.Today())
    printed = capsys.readouterr().out
    assert "4 runs are missing" in printed
    assert "2 runs are missing" in printed
    lines = table.texts(table.make(study))
    assert "chooses,1 step,complete" in lines["csv"]
    assert "fails,1 step,failed" in lines["csv"]
    assert "NonFiniteError" in lines["md"]
