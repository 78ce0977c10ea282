"""Jobs in processes of a launcher that is killed: joblib's end with it, others go on."""

import multiprocessing
import os
import signal
import time

import pytest

from metarl_exp.process import signals
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
FORK = multiprocessing.get_context("fork")


class OfJoblib(FORK.Process):
    __module__ = "joblib.externals.loky.backend.process"


def work(pipe, deaf):
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(2):  # as a worker with two jobs does
        signals.end_with_launcher()
    pipe.send(os.getpid())
    time.sleep(PATIENCE)


def launch(kind, pipe, deaf):
    kind(target=work, args=(pipe, deaf), daemon=True).start()
    time.sleep(PATIENCE)


def orphan(kind, deaf=False):
    """A worker whose launcher has been killed."""
    pipe, other = FORK.Pipe()
    launcher = FORK.Process(target=launch, args=(kind, other, deaf))
    launcher.start()
    pid = pipe.recv()
    launcher.kill()
    launcher.join()
    return pid


def is_alive(pid):
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("deaf", [False, True])
def test_joblib_s_worker_ends_with_its_launcher_even_if_it_does_not_listen(monkeypatch, deaf):
    monkeypatch.setattr(signals, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(signals, "GRACE", 0.2)
    pid = orphan(OfJoblib, deaf)
    until(lambda: not is_alive(pid))


def test_other_workers_go_on(monkeypatch):
    monkeypatch.setattr(signals, "LOOK_EVERY", 0.01)
    pid = orphan(FORK.Process)
    time.sleep(0.2)
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
