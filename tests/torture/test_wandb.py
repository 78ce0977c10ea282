"""W&B's service stopped or killed in the middle of a run, or after it: the run ends in time, with its files whole."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import deterministic_part
from tests.runs.test_failure import ROOT, living
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.torture
PROMISED = 5  # s, that the end of a run waits at most


def command(folder: Path, *overrides: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline", "HOME": str(folder)}
    arguments = ["experiment=smoke", "threads=1", f"output_root={folder / 'outputs'}"]
    return subprocess.Popen(
        [sys.executable, "-m", "metarl_exp.train", *arguments, *overrides],
        cwd=folder, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run_of(folder: Path) -> Path:
    (path,) = (folder / "outputs").iterdir()
    return path


def service_of(pid: int) -> int | None:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, fields = path.read_bytes().rpartition(b")")
            if name.endswith(b"(wandb-core") and int(fields.split()[1]) == pid:
                return int(path.parent.name)
    return None


@pytest.fixture(scope="module")
def untracked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untracked")
    command(folder, "tracker=none").communicate(timeout=PATIENCE)
    return deterministic_part(run_of(folder))


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["begun", "evaluated"])
def test_a_service_that_hangs_or_dies_costs_a_run_what_was_promised(tmp_path, tally, untracked, number, moment):
    process = command(tmp_path, f"tracker.finish_timeout={PROMISED}")
    service = until(lambda: service_of(process.pid))
    file = "metrics.jsonl" if moment == "begun" else "evaluation.json"
    until(lambda: list((tmp_path / "outputs").glob(f"*/{file}")))
    with suppress(ProcessLookupError):
        os.kill(service, number)
    done = until(lambda: list((tmp_path / "outputs").glob("*/evaluation.json"))) and time.monotonic()
    try:
        process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        tally("W&B's service stopped or killed", "hung")
        os.killpg(process.pid, signal.SIGKILL)
        raise
    identical = process.returncode == 0 and deterministic_part(run_of(tmp_path)) == untracked
    tally("W&B's service stopped or killed", "identical" if identical else "changed")
    assert identical
    assert time.monotonic() - done < PATIENCE / 2
    until(lambda: not living(process.pid) and not Path(f"/proc/{service}").exists())
