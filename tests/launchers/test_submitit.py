"""Sweeps through submitit: on this machine, with what a cluster does to a job sent by hand."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.runs.sweep import statuses
from tests.waiting import until


def preempt(root: Path) -> None:
    """Send the signal of a preemption to the first job, once it has done a few iterations."""

    def there() -> list[Path]:
        return [path for path in root.glob("*-seed0/metrics.jsonl") if len(path.read_text().splitlines()) >= 3]

    os.kill(json.loads((until(there)[0].parent / "lock").read_text())["pid"], signal.SIGUSR2)


@pytest.mark.slow
def test_a_preempted_job_is_submitted_again_and_continues(launch, deterministic, tmp_path):
    thread = threading.Thread(target=preempt, args=(tmp_path / "submitted",))
    thread.start()
    code, printed = launch("hydra/launcher=submitit_local", "iterations=60", "seed=0,1", root=tmp_path / "submitted")
    thread.join()
    assert (code, "2 jobs: 2 finished" in printed) == (0, True)
    launch("iterations=60", "seed=0,1", root=tmp_path / "here")
    first, second = statuses(tmp_path / "submitted")
    assert "again; before it was running" in first.log.read_text()
    assert "again; before it was" not in second.log.read_text()
    for status in (first, second):
        assert deterministic(status.folder) == deterministic(tmp_path / "here" / status.name)
        assert RunFolder(status.folder).read_json("provenance.json")["sweep"]
