"""Signals to a run and to its workers, at some moment of the training; then the same command ends as if nothing was."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from metarl_exp import wiring
from metarl_exp.process.ranks import joined
from metarl_exp.runs.run_folder import RunFolder
from tests.conftest import deterministic_part
from tests.process.test_ranks import forked
from tests.runs.test_failure import FORKED, ROOT, arguments, living, train_in_session
from tests.waiting import PATIENCE, until

pytestmark = [
    pytest.mark.torture,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
FORK = multiprocessing.get_context("fork")
LIMIT = 20.0  # s
NAPPING = [
    *FORKED, "iterations=6", f"environment_timeout={LIMIT}", "+tasks.kwargs.when=reset",
    "+tasks.kwargs.in_workers=true",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def warm():
    wiring.assemble(wiring.compose(["tracker=none"]))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    process = begin(folder, arguments(folder, "naps", NAPPING))
    process.join(PATIENCE)
    return deterministic_part(run_of(folder).path)


def begin(folder, its_arguments):
    process = FORK.Process(target=train_in_session, args=(folder / "printed", its_arguments))
    process.start()
    return process


def run_of(folder) -> RunFolder:
    (path,) = (path for path in (folder / "outputs").iterdir() if path.is_dir())
    return RunFolder(path)


def begun(folder) -> bool:
    """Whether an iteration is done."""
    return any(path.stat().st_size for path in (folder / "outputs").glob("*/metrics.jsonl"))


def workers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


SENT = {
    "STOP and CONT to all, for longer than the limit": ("all", signal.SIGSTOP),
    "STOP to a worker": ("worker", signal.SIGSTOP),
    **{
        f"{s.name} to {who}": (who, s)
        for who in ("run", "worker")
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    },
    "KILL to the run": ("run", signal.SIGKILL),
    "KILL to a worker": ("worker", signal.SIGKILL),
    "KILL to all": ("all", signal.SIGKILL),
    "TERM to all": ("all", signal.SIGTERM),
}


@pytest.mark.parametrize("name", SENT)
def test_after_a_signal_the_same_command_ends_identical_and_nothing_is_left(
    tmp_path, monkeypatch, tally, undisturbed, name
):
    who, number = SENT[name]
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    its_arguments = arguments(tmp_path, "naps", NAPPING)
    process = begin(tmp_path, its_arguments)
    until(lambda: begun(tmp_path) or not process.is_alive())
    if who == "all":
        os.killpg(process.pid, number)
        if number == signal.SIGSTOP:
            time.sleep(1.5 * LIMIT)
            os.killpg(process.pid, signal.SIGCONT)
    else:
        os.kill(process.pid if who == "run" else workers_of(process.pid)[0], number)
    process.join(PATIENCE)
    hung = process.is_alive()
    process.kill()
    until(lambda: not living(process.pid))
    if number == signal.SIGSTOP and who == "all":
        assert process.exitcode == 0
    again = begin(tmp_path, its_arguments)
    again.join(PATIENCE)
    identical = not hung and again.exitcode == 0 and deterministic_part(run_of(tmp_path).path) == undisturbed
    tally("signals to runs and their workers", "hung" if hung else "identical" if identical else "changed")
    assert identical
    assert not list((tmp_path / "temporary").glob("metarl_exp-*"))


def test_joblib_s_workers_end_within_a_minute_of_a_launcher_that_is_killed(tmp_path):
    command = [
        sys.executable, "-m", "metarl_exp.train", "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1",
        "experiment=smoke", "tracker=none", "threads=1", "iterations=100000", f"output_root={tmp_path}",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    launcher = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: len([p for p in tmp_path.glob("*/metrics.jsonl") if p.stat().st_size]) == 2)
    launcher.kill()
    launcher.wait()
    killed = time.monotonic()
    until(lambda: not living(launcher.pid))
    assert time.monotonic() - killed < 60
    states = [RunFolder(path.parent).read_json("status.json")["state"] for path in tmp_path.glob("*/status.json")]
    assert states == ["interrupted", "interrupted"]


def stop_for_longer_than(limit: float, ranks: list[int]) -> None:
    """Stop some processes, this one among them, for longer than a limit."""
    pid = os.fork()
    if pid == 0:
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for rank in ranks:
                os.kill(rank, number)
            time.sleep(1.5 * limit if number == signal.SIGSTOP else 0)
        os._exit(0)
    os.waitpid(pid, 0)


def test_ranks_that_are_stopped_for_longer_than_their_limit_go_on(tally):
    limit = LIMIT / 2

    def join(place):
        with joined(place, limit, "cpu") as ranks:
            own = torch.tensor([os.getpid()])
            processes = ranks.gather(own).tolist()
            if place.rank == 1:  # the first waits for it meanwhile
                stop_for_longer_than(limit, processes)
            return ranks.gather(own).tolist() == processes

    results, _ = forked(join)
    tally("signals to runs and their workers", "identical" if results == [True, True] else "changed")
    assert results == [True, True]
