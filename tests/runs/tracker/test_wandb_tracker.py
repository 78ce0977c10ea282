"""W&B: a copy that may be absent, offline, broken or hanging, and never in the way (trap 19)."""

import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import wandb

from metarl_exp import wiring
from metarl_exp.runs.tracker import NoTracker, RunInfo, WandbTracker
from tests.waiting import PATIENCE, until


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    wandb.teardown()


def tracker(mode: str = "offline", **changes) -> WandbTracker:
    settings = dict(project="p", entity=None, group=None, tags=[], init_timeout=PATIENCE, finish_timeout=PATIENCE)
    return WandbTracker(mode=mode, **settings | changes)


def run_info(folder) -> RunInfo:
    return RunInfo("abcd1234", "name", "group", folder, {"seed": 0}, ["tag"])


def stored(folder) -> bytes:
    """What W&B put into its own file; its service writes behind, so end it first, as the exit of a process does."""
    wandb.teardown()
    (file,) = (folder / "wandb").glob("offline-run-*-abcd1234/run-abcd1234.wandb")
    return file.read_bytes()


def test_offline_needs_no_account_and_holds_name_group_tags_metrics_and_summary(tmp_path):
    t = tracker(tags=["mine"])
    t.start(run_info(tmp_path))
    for step in range(3):
        t.log({"return/step_0": 12.25 + step}, step)
    assert t.finish({"test/step_0": -1.5}, [], failed=False) is None
    content = stored(tmp_path)
    for expected in (b"name", b"group", b"tag", b"mine", b"return/step_0", b"12.25", b"14.25", b"test/step_0", b"-1.5"):
        assert expected in content


@pytest.fixture
def hanging_server():
    """Accepts connections and never answers."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(100)
    server.settimeout(0.1)
    taken, stop = [], threading.Event()

    def accept():
        while not stop.is_set():
            try:
                taken.append(server.accept())
            except TimeoutError:
                continue

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    stop.set()
    thread.join()
    for connection, _ in taken:
        connection.close()
    server.close()


@pytest.mark.parametrize("kind", ["dead", "hanging"])
def test_an_online_start_without_an_answer_blocks_nothing_and_records_offline(
    tmp_path, monkeypatch, hanging_server, kind
):
    monkeypatch.setenv("WANDB_BASE_URL", hanging_server if kind == "hanging" else "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "local-" + "0" * 40)
    t, went_on, waited = tracker("online"), threading.Event(), []
    original = t._init

    def init(info, mode):  # online it begins when the run has gone on, and gives up soon; offline takes what it takes
        waited.append(went_on.wait(PATIENCE))
        t.init_timeout = 2.0 if mode == "online" else PATIENCE
        return original(info, mode)

    monkeypatch.setattr(t, "_init", init)
    t.start(run_info(tmp_path))
    t.log({"return/step_0": 12.25}, 0)
    went_on.set()
    problem = t.finish({}, [], failed=False)
    assert waited == [True, True]
    assert "recorded offline" in problem
    assert b"12.25" in stored(tmp_path)


def test_one_that_never_ends_is_left_behind(tmp_path, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(wandb, "init", lambda **_: release.wait(PATIENCE))
    t = tracker(finish_timeout=0.2)
    t.start(run_info(tmp_path))
    assert "did not answer within 0.2 s" in t.finish({}, [], failed=False)
    assert t.thread.is_alive()
    release.set()
    t.thread.join()


def services() -> list[int]:
    """W&B's services of this process that are not zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, fields = path.read_bytes().rpartition(b")")
            state, parent = fields.split()[:2]
            if name.endswith(b"(wandb-core") and int(parent) == os.getpid() and state != b"Z":
                found.append(int(path.parent.name))
    return found


def test_a_service_that_hangs_is_killed_in_time_and_the_next_run_has_a_new_one(tmp_path):
    """As in a sweep, whose jobs run in one process one after the other."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    t = tracker(finish_timeout=1.0)
    t.start(run_info(tmp_path / "first"))
    t.log({"return/step_0": 12.25}, 0)
    until(lambda: services() and list((tmp_path / "first" / "wandb").glob("offline-run-*")) and t.records.empty())
    (hanging,) = services()
    handle = wandb.setup()._connection._proc
    os.kill(hanging, signal.SIGSTOP)
    assert "did not answer within 1 s" in t.finish({}, [], failed=False)
    assert services() == []
    handle.join()  # or Python would warn of a process that nobody has waited for
    t.thread.join(PATIENCE)
    t = tracker()
    t.start(run_info(tmp_path / "second"))
    t.log({"return/step_0": 14.25}, 0)
    assert t.finish({}, [], failed=False) is None
    assert b"14.25" in stored(tmp_path / "second")


@pytest.mark.parametrize(("said", "meant"), [("dryrun", "offline"), ("", "offline"), ("run", "online")])
def test_every_value_of_wandb_mode_is_understood(monkeypatch, said, meant):
    monkeypatch.setenv("WANDB_MODE", said)
    config = wiring.compose([])
    assert wiring.component("tracker", config.tracker).mode == meant


def test_an_empty_mode_in_the_environment_records_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "")
    t = tracker("")
    t.start(run_info(tmp_path))
    t.log({"return/step_0": 12.25}, 0)
    assert t.finish({}, [], failed=False) is None
    assert b"12.25" in stored(tmp_path)


def test_an_error_inside_wandb_is_reported_and_goes_no_further(tmp_path, monkeypatch):
    def broken(**_):
        raise OSError("disk full")

    monkeypatch.setattr(wandb, "init", broken)
    t = tracker()
    t.start(run_info(tmp_path))
    t.log({}, 0)
    assert "disk full" in t.finish({}, [], failed=False)


def test_no_tracker_does_nothing(tmp_path):
    t = NoTracker()
    t.start(run_info(tmp_path))
    t.log({}, 0)
    assert t.finish({}, [], failed=True) is None
    assert list(tmp_path.iterdir()) == []
