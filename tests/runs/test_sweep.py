"""Sweeps: what they should hold is written before they start; killed and started again they are as if never killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import wandb

from metarl_exp.commands import train
from metarl_exp.commands.status import exit_status, table
from metarl_exp.process.printing import console
from metarl_exp.runs import checkpoint
from metarl_exp.runs import sweep as sweeps
from metarl_exp.runs.files import DamagedFile
from metarl_exp.runs.run_folder import EVALUATED, RunFolder
from metarl_exp.runs.sweep import Job, NotBegun, Sweep, folder_status, statuses
from tests.damage import OF_STATE


def job(folder: str, seed: int = 0) -> Job:
    return Job(folder, seed, "0123456789", ["a=1", f"seed={seed}"])


def finish(folder: RunFolder, fingerprint: str = "0123456789", seed: int = 0) -> None:
    """Write what a finished run has, as far as its state depends on it."""
    folder.path.mkdir(exist_ok=True)
    folder.write_json("provenance.json", {"fingerprint": fingerprint, "seed": seed})
    folder.write_json("evaluation.json", {"theta": {theta: {"mean": [0.0]} for theta in EVALUATED}})
    folder.set_state("finished")


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    """A recorded sweep of two jobs, none begun."""
    sweep = Sweep(tmp_path, "5eed5eed00")
    sweep.begin("metarl-train -m a=1 seed=0,1", [job("one"), job("two", seed=1)])
    return sweep


def states(root: Path) -> dict[str, str]:
    return {status.name: status.state for status in statuses(root)}


def test_the_record_says_what_the_sweep_should_hold(sweep):
    assert sweep.jobs() == [job("one"), job("two", seed=1)]
    assert sweep.command() == "metarl-train -m a=1 seed=0,1"
    content = json.loads((sweep.root / "sweeps" / "5eed5eed00.json").read_text())
    assert content["jobs"][1] == {
        "folder": "two", "seed": 1, "fingerprint": "0123456789", "overrides": ["a=1", "seed=1"],
    }  # fmt: skip


def test_a_record_that_has_changed_is_damaged(sweep):
    sweep.record.write_text(sweep.record.read_text().replace("seed=1", "seed=3"))
    with pytest.raises(DamagedFile, match=f"^{sweep.record}: "):
        sweep.jobs()


def test_the_same_overrides_in_any_order_are_the_same_sweep():
    assert sweeps.identifier(["a=1,2", "seed=0"]) == sweeps.identifier(["seed=0", "a=1,2"])
    assert sweeps.identifier(["a=1,2", "seed=0"]) != sweeps.identifier(["a=1,2", "seed=1"])


def test_a_job_that_did_not_begin_is_missing(sweep):
    status = sweep.statuses()[1]
    assert status == ("two", "missing", "not begun", sweep.root / "two", None, ["a=1", "seed=1"])


@pytest.mark.parametrize(
    ("written", "reason", "state", "shown"),
    [
        ("finished", None, "finished", None),
        ("failed", "ValueError: no", "failed", "ValueError: no"),
        ("interrupted", "stopped by a signal", "interrupted", "stopped by a signal"),
        ("running", None, "interrupted", "killed: no process holds it"),
    ],
)
def test_the_state_of_a_folder_that_nobody_holds(sweep, written, reason, state, shown):
    folder = RunFolder(sweep.root / "one")
    with folder.lock():
        finish(folder)
        folder.set_state(written, reason)
    folder.log.write_text("…")
    assert sweep.statuses()[0] == ("one", state, shown, folder.path, folder.log, ["a=1", "seed=0"])


def test_one_that_is_held_is_running_also_before_it_says_so(sweep):
    folder = RunFolder(sweep.root / "one")
    with folder.lock():
        assert sweep.statuses()[0].state == "running"
        folder.set_state("running")
        assert sweep.statuses()[0][1:3] == ("running", None)
    assert sweep.statuses()[0].state == "interrupted"


@pytest.mark.parametrize("change", ["ends", "begins"])
def test_a_run_that_ends_or_begins_while_it_is_looked_at_was_not_killed(sweep, monkeypatch, change):
    """On a busy machine some time passes between two looks, at its state and at its lock."""
    folder, lock, looks = RunFolder(sweep.root / "one"), ExitStack(), []
    if change == "ends":
        lock.enter_context(folder.lock())
        folder.set_state("running")

    def happen() -> None:
        if change == "ends":
            finish(folder)
            lock.close()
        else:
            lock.enter_context(folder.lock())
            folder.set_state("running")

    def looking(look):
        def changed(*arguments):
            looks.append(look(*arguments))
            if len(looks) == 1:
                happen()
            return looks[-1]

        return changed

    with lock, monkeypatch.context() as patched:
        for name in ("held", "read_json"):
            patched.setattr(RunFolder, name, looking(getattr(RunFolder, name)))
        assert sweep.statuses()[0].state == {"ends": "finished", "begins": "running"}[change]


def test_a_folder_with_another_run_does_not_count_as_the_job(sweep):
    folder = RunFolder(sweep.root / "two")
    finish(folder, seed=1)
    assert sweep.statuses()[1].state == "finished"
    folder.write_json("provenance.json", {"fingerprint": "0123456789", "seed": 7})
    status = sweep.statuses()[1]
    assert status.state == "missing"
    assert "fingerprint 0123456789, seed 7" in str(status.reason)


def test_every_other_run_folder_is_listed_too_and_of_a_run_started_over_the_newest(sweep):
    for name, state in {"one": "failed", "one-r1": "finished", "x-seed0": "failed", "x-seed0-r2": "finished"}.items():
        finish(RunFolder(sweep.root / name))
        RunFolder(sweep.root / name).set_state(state)
    for name in ("x-seed0-r1", "y-seed0"):
        (sweep.root / name / ".hydra").mkdir(parents=True)
        (sweep.root / name / ".hydra" / "overrides.yaml").write_text("- a=1\n- 'b=[1, 2]'\n")
        RunFolder(sweep.root / name).set_state("interrupted")
    (sweep.root / "no run").mkdir()
    assert states(sweep.root) == {
        "one-r1": "finished", "two": "missing", "x-seed0-r2": "finished", "y-seed0": "interrupted",
    }  # fmt: skip
    assert statuses(sweep.root)[-1].overrides == ["a=1", "b=[1, 2]"]


@pytest.mark.parametrize("damage", OF_STATE.values(), ids=OF_STATE)
def test_a_run_with_a_damaged_file_is_one_damaged_job_of_its_sweep_or_by_itself(tmp_path, damage):
    for name in ("one", "alone"):
        finish(folder := RunFolder(tmp_path / name))
        (folder.path / ".hydra").mkdir()
        damage(folder.path)
    finish(RunFolder(tmp_path / "two"), seed=1)
    Sweep(tmp_path, "5eed5eed00").begin("metarl-train -m", [job("one"), job("two", seed=1)])
    found = {one.name: one for one in statuses(tmp_path)}
    assert {name: one.state for name, one in found.items()} == {"one": "damaged", "two": "finished", "alone": "damaged"}
    for name in ("one", "alone"):
        assert found[name].reason.startswith(f"{tmp_path / name / damage.file}: ")
    assert exit_status(list(found.values())) == 1
    console().print(table(list(found.values())))


def test_a_damaged_record_is_one_damaged_job_and_its_runs_are_those_of_the_folder(sweep):
    finish(RunFolder(sweep.root / "one"))
    for record in (b"", b"{}", b"[", b'{"command": "", "jobs": [{}]}', b'{"command": "", "jobs": 5}'):
        sweep.record.write_bytes(record)
        assert states(sweep.root) == {"sweep 5eed5eed00": "damaged", "one": "finished"}
        assert statuses(sweep.root)[0].reason.startswith(f"{sweep.record}: ")


def test_a_folder_that_goes_away_while_it_is_looked_at_is_missing(sweep, monkeypatch):
    finish(folder := RunFolder(sweep.root / "one"))
    monkeypatch.setattr(RunFolder, "held", lambda self: shutil.rmtree(folder.path))
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    assert folder_status(folder.path)[:3] == ("one", "missing", "went away while it was looked at")


def test_a_folder_that_may_not_be_looked_into_is_one_damaged_job(sweep, monkeypatch):
    finish(RunFolder(sweep.root / "locked"))
    exists = Path.exists

    def refused(path):
        if path.parent.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refused)
    monkeypatch.setattr(Path, "is_file", refused)
    found = statuses(sweep.root)[-1]
    assert found[:2] == ("locked", "damaged")
    assert found.reason.endswith(": Permission denied")


def test_a_job_of_two_sweeps_is_listed_once(sweep):
    Sweep(sweep.root, "later").begin("…", [job("two", seed=1), job("three")])
    assert list(states(sweep.root)) == ["one", "two", "three"]


def test_a_job_that_the_record_lacks_adds_itself_once(sweep):
    """As those of a search do, some at the same time."""
    added = [job(f"found {i}", seed=i) for i in range(8)]

    def take_part(one: Job) -> None:
        with sweep.take_part(one, fail_fast=False):
            pass

    threads = [threading.Thread(target=take_part, args=(one,)) for one in [*added, job("one")]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sweep.jobs()) == sorted([job("one"), job("two", seed=1), *added])


def test_after_a_failure_no_job_begins_if_the_sweep_fails_fast(sweep):
    for fail_fast in (False, True):
        with sweep.take_part(job("two", seed=1), fail_fast=False):
            pass
        with pytest.raises(ZeroDivisionError), sweep.take_part(job("one"), fail_fast):
            raise ZeroDivisionError
    with pytest.raises(NotBegun, match="one had failed"), sweep.take_part(job("two", seed=1), fail_fast=True):
        raise AssertionError("begun")
    assert sweep.statuses()[1].reason == "not begun, as one had failed (fail_fast)"
    sweep.begin(sweep.command(), sweep.jobs())
    with sweep.take_part(job("two", seed=1), fail_fast=True):
        pass


def test_a_stop_by_a_signal_is_no_failure(sweep):
    with pytest.raises(SystemExit), sweep.take_part(job("one"), fail_fast=True):
        raise SystemExit(130)
    with sweep.take_part(job("two", seed=1), fail_fast=True):
        pass


KILLED_IN_ITS_THIRD_JOB = """
import os, signal
from metarl_exp.commands import train
from metarl_exp.runs import checkpoint

save_latest = checkpoint.save_latest

def killed_after(folder, state):
    save_latest(folder, state)
    if folder.name.endswith("seed2") and state["iteration"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_latest = killed_after
train.main()
"""


def test_a_sweep_killed_and_started_again_is_one_that_was_never_killed(launch, deterministic, tiny, tmp_path):
    """Finished jobs are not touched, the interrupted one continues, the rest runs."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_IN_ITS_THIRD_JOB, "-m", *tiny, f"output_root={killed}", "seed=0,1,2,3"],
        env={**os.environ, "PYTHONPATH": str(Path(train.__file__).parents[2])},
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(states(killed).values()) == ["finished", "finished", "interrupted", "missing"]
    before = {
        path: path.stat().st_mtime_ns
        for status in statuses(killed)[:2]
        for path in status.folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }
    code, printed = launch("seed=0,1,2,3", root=killed)
    assert code == 0
    assert "4 jobs: 4 finished" in printed
    assert printed.count("already finished") == 2
    assert printed.count("continuing at iteration 2") == 1
    assert before == {path: path.stat().st_mtime_ns for path in before}
    launch("seed=0,1,2,3", root=whole)
    assert len(statuses(whole)) == 4
    for status in statuses(whole):
        assert deterministic(killed / status.name) == deterministic(status.folder)


def test_every_job_is_a_run_of_its_own_in_the_group_of_the_sweep(launch, tmp_path):
    """Although the jobs share a process and differ in their fingerprint."""
    launch("adaptation.order=first,second", "iterations=1", "tracker=wandb", "tracker.mode=offline")
    wandb.teardown()  # its service writes behind
    (record,) = (tmp_path / "sweeps").glob("*.json")
    ids = set()
    for status in statuses(tmp_path):
        (file,) = status.folder.glob("wandb/offline-run-*/*.wandb")
        assert f"sweep-{record.stem}".encode() in file.read_bytes()
        assert status.name.encode() in file.read_bytes()
        ids.add(file.name)
    assert len(ids) == 2


def break_seed(monkeypatch, seed: int) -> None:
    original = checkpoint.save_latest

    def save_latest(folder, state):
        if state["seed"] == seed:
            raise OSError("disk full")
        original(folder, state)

    monkeypatch.setattr(checkpoint, "save_latest", save_latest)


def test_one_failed_job_ends_the_sweep_only_if_it_fails_fast(launch, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        break_seed(patched, 0)
        code, printed = launch("seed=0,1", "fail_fast=true")
        assert code == 1
        assert "1 failed, 1 missing" in printed
        assert re.search(r"^metarl-train: OSError: disk full \(traceback: .*train.log\)$", printed, re.MULTILINE)
        code, printed = launch("seed=0,1")
    assert code == 1
    assert "1 finished, 1 failed" in printed
    failed, finished = statuses(tmp_path)
    assert failed[1:3] == ("failed", "OSError: disk full")
    assert "disk full" in failed.log.read_text()
    assert failed.overrides[-1] == "seed=0"
    assert finished.state == "finished"
    code, printed = launch("seed=0,1")
    assert (code, "2 jobs: 2 finished" in printed) == (0, True)


def test_a_mistake_in_any_job_ends_the_sweep_before_it_starts(launch, tmp_path):
    for override, named in {
        "inner_optimizer.lr=0.1,-1": "inner_optimizer.lr=-1",
        "seed=0,1,x": "seed='x'",
        "adaptation.order=first,secnd": "did you mean 'second'",
        "threads=1,2": "two jobs of this sweep have the same configuration",
        "+notes=1,2": "unknown key 'notes'",
        "+adaptation.orders=first,second": "unknown key 'adaptation.orders'",
    }.items():
        code, printed = launch(override)
        assert (code, named in printed) == (1, True), printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sweeper", ["basic", "search"])
@pytest.mark.parametrize("key", ["iteration", "+notes"])
def test_a_mistake_in_what_a_file_sweeps_over_ends_the_sweep_before_it_starts(launch, tmp_path, sweeper, key):
    values = {"basic": "1,2", "search": "choice(1,2)"}[sweeper]
    swept = f"# @package _global_\nhydra: {{sweeper: {{params: {{{key}: '{values}'}}}}}}\n"
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(swept, encoding="utf-8")
    overrides = [f"hydra/sweeper={sweeper}", "experiment=mine", f"--config-dir={tmp_path / 'conf'}"]
    code, printed = launch(*overrides, root=tmp_path / "outputs")
    assert (code, f"unknown key {key.strip('+')!r}" in printed) == (1, True), printed
    assert not (tmp_path / "outputs").exists()
