"""How commands end that cannot go on: the last line is the reason, and nothing hides it."""

import errno
import fcntl
import multiprocessing
import os
import pickle
import resource
import shutil
import sys
from pathlib import Path

import pytest

from metarl_exp.commands import status, train
from metarl_exp.runs import checkpoint, ending, files, run_folder, scoring
from metarl_exp.runs.ending import ADVICE, JobFailed, command, reason
from metarl_exp.runs.run_folder import FolderRefused, RunFolder
from metarl_exp.tasks.guard import guarded
from tests.waiting import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def train_tiny(tmp_path, monkeypatch, capfd, tiny, undrawn):
    """Run the command in this process: the last line that it ends with, and all that it printed."""

    def run(*overrides: str, root: Path = tmp_path / "outputs") -> tuple[str, str]:
        flags = [override for override in overrides if override.startswith("-")]
        others = [override for override in overrides if override not in flags]
        monkeypatch.setattr(sys, "argv", ["metarl-train", *flags, *tiny, f"output_root={root}", *others])
        capfd.readouterr()
        try:
            train.main()
            code = None
        except SystemExit as end:
            code = end.code
        printed = "".join(capfd.readouterr())
        return (code, printed) if isinstance(code, str) else (printed.splitlines()[-1], printed)

    return run


def refuse_to_write(monkeypatch, number: int, name: str = "") -> None:
    """From now on files of that name, or all, cannot be written, with an error of the operating system."""

    def write(path: Path, content: bytes) -> None:
        if name in path.name:
            raise OSError(number, os.strerror(number))  # as of a file that is open: it has no name
        written(path, content)

    written = files.write_atomically
    for module in (run_folder, checkpoint):
        monkeypatch.setattr(module, "write_atomically", write)


@pytest.mark.parametrize("number", ADVICE)
def test_errors_of_the_file_system_say_what_to_do_in_one_line(number, tmp_path):
    said = reason(OSError(number, os.strerror(number)), tmp_path)
    assert said == f"{tmp_path}: {os.strerror(number)}: {ADVICE[number]}"
    assert reason(OSError(number, os.strerror(number), "metrics.jsonl"), tmp_path).startswith("metrics.jsonl: ")


def test_a_reason_has_one_line_and_the_name_of_an_error_that_does_not_speak_for_itself():
    assert reason(ValueError("seed=x:\n  must be a number")) == "seed=x: must be a number"
    assert reason(KeyError("mean")) == "KeyError: 'mean'"
    assert reason(ValueError()) == "ValueError: "


@pytest.mark.parametrize(
    ("error", "shown", "last"),
    [
        (ValueError("x=1: must be 2"), False, "metarl-x: x=1: must be 2"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), False, "metarl-x: a/b: Permission denied: "),
        (KeyError("mean"), True, "metarl-x: KeyError: 'mean'"),
    ],
)
def test_a_traceback_is_printed_only_of_what_nobody_expected(error, shown, last, capsys):
    @command("metarl-x")
    def act() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        act()
    assert str(end.value.code).startswith(last)
    assert ("Traceback" in capsys.readouterr().err) is shown


def test_the_traceback_of_an_environment_that_no_log_has_is_printed(capsys):
    @command("metarl-x")
    def act() -> None:
        with guarded("in reset"):
            raise ZeroDivisionError("in the simulator")

    with pytest.raises(SystemExit, match="metarl-x: in reset: ZeroDivisionError: in the simulator"):
        act()
    assert 'raise ZeroDivisionError("in the simulator")' in capsys.readouterr().err


def test_ctrl_c_ends_a_command_without_a_traceback():
    with pytest.raises(SystemExit) as end, ending.ending("metarl-x"):
        raise KeyboardInterrupt
    assert end.value.code == 130


def test_other_ranks_leave_the_reason_to_the_first():
    with pytest.raises(SystemExit) as end, ending.ending("metarl-x", rank=1):
        raise ValueError("seed=x")
    assert end.value.code == 1


def test_the_reason_of_a_failed_job_reaches_the_sweep():
    assert str(pickle.loads(pickle.dumps(JobFailed("why")))) == "why"


def test_a_full_disk_ends_a_run_with_what_to_do_and_the_same_command_continues(train_tiny, tmp_path, monkeypatch):
    """Nor can it be written that the run failed, which hides nothing."""
    with monkeypatch.context() as patched:
        iterations = []

        def fill(folder: RunFolder, record: dict) -> None:
            appended(folder, record)
            iterations.append(record["iteration"])
            if len(iterations) == 2:
                refuse_to_write(patched, errno.ENOSPC)

        appended = RunFolder.append_metrics
        patched.setattr(RunFolder, "append_metrics", fill)
        last, printed = train_tiny()
    (path,) = (tmp_path / "outputs").iterdir()
    assert last.startswith(f"metarl-train: {path}: No space left on device: make room")
    assert "Traceback" not in printed
    assert "HYDRA_FULL_ERROR" not in printed
    train_tiny()
    assert RunFolder(path).state() == "finished"


def test_an_unexpected_error_ends_with_its_reason_and_where_the_traceback_is(train_tiny, tmp_path, monkeypatch):
    def evaluate(*_: object) -> None:
        raise KeyError("mean")

    monkeypatch.setattr(scoring, "evaluate", evaluate)
    last, printed = train_tiny()
    (path,) = (tmp_path / "outputs").iterdir()
    assert last == f"metarl-train: KeyError: 'mean' (traceback: {path / 'train.log'})"
    assert "Traceback" not in printed
    assert "in evaluate" in (path / "train.log").read_text()
    assert RunFolder(path).read_json("status.json") == {"state": "failed", "reason": "KeyError: 'mean'"}


def test_a_folder_that_is_deleted_meanwhile_is_named(train_tiny, tmp_path, monkeypatch):
    appended = RunFolder.append_metrics

    def delete(folder: RunFolder, record: dict) -> None:
        shutil.rmtree(folder.path)
        appended(folder, record)

    monkeypatch.setattr(RunFolder, "append_metrics", delete)
    last, printed = train_tiny()
    assert "metrics.jsonl: No such file or directory: mistyped, or deleted meanwhile" in last
    assert "Traceback" not in printed


@pytest.mark.parametrize("root", ["file", "file/under", "/proc/nowhere"])
def test_an_output_root_that_cannot_be_made_is_refused_before_anything_is_made(train_tiny, tmp_path, root):
    (tmp_path / "file").touch()
    last, printed = train_tiny(root=tmp_path / root)
    assert last.startswith("metarl-train: output_root, for ")
    assert str(tmp_path / root) in last
    assert "Traceback" not in printed
    last, _ = train_tiny("-m", "seed=0,1", root=tmp_path / root)
    assert last.startswith("metarl-train: output_root, for ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_file_system_without_locks_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(FolderRefused, match=f"^{tmp_path}: No locks available: .* choose output_root="):
        RunFolder(tmp_path).lock().__enter__()


def test_runs_on_a_file_system_without_locks_can_be_looked_at(tmp_path, monkeypatch, capsys):
    run = RunFolder(tmp_path / "one")
    with run.lock():
        run.set_state("interrupted", "stopped by a signal")
    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(sys, "argv", ["metarl-status", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        status.main()
    assert end.value.code == 1
    assert "1 interrupted" in capsys.readouterr().out


def read_only(path: object, mode: str = "r", **settings: object) -> object:
    if "r" not in mode:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
    return open(path, mode, **settings)  # type: ignore[call-overload]


def test_a_finished_run_in_a_read_only_folder_is_shown_and_no_other_is_begun(train_tiny, tmp_path, monkeypatch):
    train_tiny()
    monkeypatch.setattr(run_folder, "open", read_only, raising=False)
    refuse_to_write(monkeypatch, errno.EROFS)
    last, printed = train_tiny()
    assert "already finished" in printed
    assert last.startswith("figures, metrics, checkpoints: ")
    last, printed = train_tiny("seed=1")
    assert "Read-only file system: choose another folder" in last
    assert "Traceback" not in printed


def train_with_small_files(output: Path, arguments: list[str]) -> None:
    """A run whose files may have 2 kB at most: the log cannot grow either."""
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    sys.argv = ["metarl-train", *arguments]
    train.main()


def test_files_that_may_not_grow_end_a_run_with_one_line(tmp_path, tiny):
    arguments = [*tiny, f"output_root={tmp_path / 'outputs'}"]
    context = multiprocessing.get_context("fork")
    process = context.Process(target=train_with_small_files, args=(tmp_path / "printed", arguments))
    process.start()
    process.join(PATIENCE)
    printed = (tmp_path / "printed").read_text()
    assert process.exitcode == 1
    assert ": File too large: " in printed.splitlines()[-1]
    assert printed.splitlines()[-1].startswith("metarl-train: ")
    assert "Traceback" not in printed
    assert "Logging error" not in printed
