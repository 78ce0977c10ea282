"""The run folder: one holder at a time, whatever became of the one before; files whole or absent."""

import fcntl
import json
import multiprocessing
import os
import signal
import threading

import pytest

from metarl_exp.runs.files import DamagedFile, read_json
from metarl_exp.runs.run_folder import FolderRefused, RunFolder, choose_folder
from tests.waiting import PATIENCE


def hold(path, ready) -> None:
    with RunFolder(path).lock():
        ready.set()
        signal.pause()


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(PATIENCE)
    yield process
    process.kill()
    process.join()


def test_a_second_process_is_refused_and_told_who_holds(tmp_path, holder):
    with pytest.raises(FolderRefused, match=str(holder.pid)), RunFolder(tmp_path).lock():
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with RunFolder(tmp_path).lock():
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_asking_whether_a_folder_is_held_keeps_nobody_out_however_long_it_takes(tmp_path):
    """On a busy machine, asking whether a folder is held may hold its lock for long."""
    folder = RunFolder(tmp_path)
    with folder.lock():
        pass
    with open(tmp_path / "lock", encoding="utf-8") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.5, fcntl.flock, [asking, fcntl.LOCK_UN]).start()
        with folder.lock():
            assert folder.held()
    assert not folder.held()


def recorded(path, iterations: int) -> RunFolder:
    """A folder with the metrics of some iterations."""
    folder = RunFolder(path)
    for i in range(iterations):
        folder.append_metrics({"iteration": i, "return": i / 3})
    return folder


@pytest.mark.parametrize("left", ["status.json", "provenance.json", "metrics.jsonl", "checkpoints"])
def test_a_run_starts_over_in_a_new_folder_whatever_is_left_of_the_old_one(tmp_path, left):
    base = tmp_path / "run"
    base.mkdir()
    assert choose_folder(base, restart=True) == base
    (base / left).mkdir()
    assert choose_folder(base, restart=True) == tmp_path / "run-r1"
    assert choose_folder(base, restart=False) == base


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    folder = recorded(tmp_path, 5)
    folder.keep_metrics(3)
    assert folder.read_metrics() == [{"iteration": i, "return": i / 3} for i in range(3)]
    folder.keep_metrics(0)
    assert folder.read_metrics() == []


def test_a_torn_last_line_is_cut_with_the_iteration_it_belongs_to_and_not_read(tmp_path):
    folder = recorded(tmp_path, 1)
    with open(folder.metrics, "a") as file:
        file.write('{"iteration": 1, "retu')
    assert [record["iteration"] for record in folder.read_metrics()] == [0]
    folder.keep_metrics(1)
    assert len(folder.metrics.read_bytes().splitlines()) == 1


HARMS = {
    "shorter": lambda content: b"".join(content.splitlines(keepends=True)[:-1]),
    "torn": lambda content: content[:-8],
    "zeros, as after a power cut": lambda content: content[:-8] + bytes(8),
    "empty": lambda content: b"",
    "order": lambda content: b"".join(content.splitlines(keepends=True)[::-1]),
    "another number": lambda content: content.replace(b"0.33", b"0.35"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_metrics_that_are_not_those_of_the_checkpoint_are_damaged_and_left_as_they_are(tmp_path, harm):
    folder = recorded(tmp_path, 3)
    content = HARMS[harm](folder.metrics.read_bytes())
    folder.metrics.write_bytes(content)
    with pytest.raises(DamagedFile, match=f"^{folder.metrics}: "):
        folder.keep_metrics(3)
    assert folder.metrics.read_bytes() == content


@pytest.mark.parametrize("harm", HARMS)
def test_metrics_of_a_finished_run_are_as_it_left_them_or_damaged(tmp_path, harm):
    folder = recorded(tmp_path, 3)
    folder.set_state("finished")
    assert len(folder.read_metrics()) == 3
    folder.metrics.write_bytes(HARMS[harm](folder.metrics.read_bytes()))
    with pytest.raises(DamagedFile, match=f"^{folder.metrics}: "):
        folder.read_metrics()


def test_metrics_from_before_there_were_digests_are_read(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"iteration": 0, "return": 1.5}\n{"iteration": 1, "return": 2.5}\n')
    folder.write_json("status.json", {"state": "finished", "reason": None})
    assert [record["return"] for record in folder.read_metrics()] == [1.5, 2.5]
    folder.keep_metrics(2)


def test_numbers_that_are_not_finite_are_null(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append_metrics({"iteration": 0, "a": float("nan"), "b": -float("inf"), "c": 1.5})
    assert folder.read_metrics() == [{"iteration": 0, "a": None, "b": None, "c": 1.5}]


def test_the_state_is_kept_with_its_reason(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.state() is None
    folder.set_state("failed", "because")
    assert folder.state() == "failed"
    assert folder.read_json("status.json") == {"state": "failed", "reason": "because"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("status", {"state": "running"}, "no 'reason'"),
        ("status", {"state": "lost", "reason": None}, "unknown state 'lost'"),
        ("provenance", {"seed": 0}, "no 'fingerprint'"),
        ("evaluation", {"theta": {"initial": {"mean": []}, "best": {}}}, "no 'theta.best.mean'"),
        ("evaluation", [], "no 'theta.initial.mean'"),
    ],
)
def test_a_file_that_lacks_what_it_is_for_is_damaged(tmp_path, name, content, reason):
    folder = RunFolder(tmp_path)
    assert getattr(folder, name)() is None
    path = folder.write_json(f"{name}.json", content)
    with pytest.raises(DamagedFile, match=f"^{path}: .*{reason}"):
        getattr(folder, name)()


def test_lists_of_plain_values_take_one_line_and_nothing_is_changed(tmp_path):
    content = {"a": [[1, -2.5e-7], [None, True]], "b": ["x y", "[ 1 ]", 'say "hi"'], "c": [], "d": {"e": ["p", "q"]}}
    path = RunFolder(tmp_path).write_json("x.json", content)
    assert read_json(path) == content
    assert "  [1, -2.5e-07],\n" in path.read_text()
    assert '"e": ["p", "q"]\n' in path.read_text()


def test_links_that_lead_out_of_a_folder_are_named_and_nothing_is_written_where_they_lead(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("mine")
    path = tmp_path / "run"
    for folder in ("checkpoints", ".hydra"):
        (path / folder).mkdir(parents=True)
    links = {"lock": own, "figures": tmp_path, ".hydra/config.yaml.partial": own}
    for name, where in links.items():
        (path / name).symlink_to(where)
    (path / "checkpoints" / "best.pt").symlink_to("latest.pt")  # within
    said = ", ".join(f"{name} → {links[name]}" for name in sorted(links))
    with pytest.raises(FolderRefused, match=f"links lead out of .*: {said}$"), RunFolder(path).lock():
        pass
    assert own.read_text() == "mine"


def test_a_folder_that_is_a_link_itself_and_the_links_of_a_tracker_are_no_harm(tmp_path):
    """W&B links its own log out of the folder of every run."""
    logs = tmp_path / "elsewhere" / "run" / "wandb" / "offline-run-1" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug-core.log").symlink_to(tmp_path / "core.log")
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere" / "run")
    with RunFolder(tmp_path / "run").lock():
        assert RunFolder(tmp_path / "run").links_out() == []
