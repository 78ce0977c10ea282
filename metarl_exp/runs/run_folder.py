"""The folder of one run: its lock, its files and its state. Local files are the truth; trackers hold copies."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TextIO

from metarl_exp.runs.files import DamagedFile, read_json, require_key, with_digest, without_digest, write_atomically

PLAIN_LIST = re.compile(r'\[\n(?:\s+(?:[-+.\w]+|"[^"\\\s]*"),?\n)+\s*\]')  # of numbers, flags or single words
PARTS = (".hydra", "checkpoints", "figures")  # folders within a run's, beside a tracker's
WRITTEN = ("status.json", "provenance.json", "metrics.jsonl", "checkpoints")  # of which a run that began has some
STATES = ("running", "finished", "failed", "interrupted")
LOCKLESS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # no locks on this file system
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
EVALUATED = ("initial", "best", "last")  # that a run is evaluated with


class FolderRefused(RuntimeError):
    """This folder cannot be worked in: another process does, or it holds another run."""


def now() -> str:
    """Local time with its offset."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def choose_folder(base: Path, restart: bool) -> Path:
    """The newest of a run's folders base, base-r1, base-r2 …; a new one after it if the run is to start over."""
    newest, number = base, 1
    while (path := base.with_name(f"{base.name}-r{number}")).exists():
        newest, number = path, number + 1
    used = restart and any((newest / name).exists() for name in WRITTEN)
    return path if used else newest


def is_inside(path: Path | str, folder: Path) -> bool:
    """Whether a path is in a folder once all links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def lock_file(file: TextIO, kind: int) -> bool:
    """Lock an open file as `fcntl.flock` does; False if it would have to wait and was told not to.

    Raises FolderRefused on a file system that has no locks, such as some network ones.
    """
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        raise FolderRefused(
            f"{Path(file.name).parent}: {error.strerror}: this file system cannot lock files, and two processes could "
            "write the same run; choose output_root=… on another one, such as a local disk"
        ) from error
    return True


def _locked(file: TextIO, kind: int) -> bool:
    """Whether the lock was got, at once."""
    return lock_file(file, kind | fcntl.LOCK_NB)


def _links(folder: Path) -> list[Path]:
    """The links in a folder; none if it cannot be looked into."""
    with suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry) for entry in entries if entry.is_symlink()]
    return []


class _Log(logging.FileHandler):
    """A log file that fails nobody: a record that there is no room for is lost, and what ends the run says why."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):  # of what could not be written before
            super().close()


class RunFolder:
    """Paths and files of a run; whoever writes holds `lock()`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.figures = self.path / "figures"
        self.metrics = self.path / "metrics.jsonl"
        self.log = self.path / "train.log"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder. Raises FolderRefused, naming the holder, if another process does, or links if any lead out.

        The operating system drops the lock with the process that held it, however that died, so a stale one never
        has to be recognised; what is written in the file is for people. A finished run in a folder that cannot be
        written is read without it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if links := self.links_out():
            raise FolderRefused(
                f"links lead out of {self.path}, and a run would write through them: {', '.join(links)}"
            )
        with self._lock_file() as file:
            if file is not None:
                self._take(file)
            yield

    def _lock_file(self) -> AbstractContextManager[TextIO | None]:
        """The file to lock; None if it cannot be written and the run is finished."""
        try:
            return open(self.path / "lock", "a+", encoding="utf-8")
        except OSError as error:
            if error.errno in UNWRITABLE and self.state() == "finished":
                return nullcontext()
            raise

    def _take(self, file: TextIO) -> None:
        while not _locked(file, fcntl.LOCK_EX):
            if not _locked(file, fcntl.LOCK_SH):
                file.seek(0)
                raise FolderRefused(f"{self.path} is in use by {file.read().strip() or 'another process'}")
            lock_file(file, fcntl.LOCK_UN)  # it was only asked whether it is `held`, for an instant
            time.sleep(0.02)
        self._sign(file)

    def held(self) -> bool:
        """Whether a process holds the folder; found by sharing the lock for an instant."""
        path = self.path / "lock"
        if not path.is_file():
            return False
        with open(path, encoding="utf-8") as file, suppress(FolderRefused):  # where there are no locks, nobody has one
            return not _locked(file, fcntl.LOCK_SH)
        return False

    @staticmethod
    def _sign(file: TextIO) -> None:
        started = now()
        file.truncate(0)
        file.write(json.dumps({"host": platform.node(), "pid": os.getpid(), "started": started}))
        file.flush()

    @contextmanager
    def logged(self, logger: logging.Logger) -> Iterator[None]:
        """Send a logger's records to train.log, and the traceback of whatever ends the block."""
        handler = _Log(self.log, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.setLevel(logging.INFO)
        logger.propagate = False  # the display is for the terminal
        logger.addHandler(handler)
        try:
            yield
        except BaseException:
            logger.exception("stopped")
            raise
        finally:
            logger.removeHandler(handler)
            handler.close()

    def links_out(self) -> list[str]:
        """Links in the folder that lead out of it, as `link → where`: what is written there is written elsewhere.

        What a tracker keeps in a folder of its own is not looked at: W&B links its logs there.
        """
        links = sorted(link for part in ("", *PARTS) for link in _links(self.path / part))
        out = [link for link in links if not is_inside(link, self.path)]
        return [f"{link.relative_to(self.path)} → {os.readlink(link)}" for link in out]

    def write_json(self, name: str, content: Any) -> Path:
        """Write a JSON file atomically, with a line for each list of plain values; numbers have to be finite.

        An object gets a digest of itself, which `read_json` checks.
        """
        content = with_digest(content) if isinstance(content, dict) else content
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
        text = PLAIN_LIST.sub(lambda match: " ".join(match[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
        # Bytes of a folder's name that mean nothing in the locale are surrogates, which JSON can only have as escapes.
        write_atomically(self.path / name, (text + "\n").encode(errors="backslashreplace"))
        return self.path / name

    def read_json(self, name: str, *keys: str) -> Any:
        """Content of a JSON file of this folder, which has these keys; None if there is none. Raises DamagedFile."""
        path = self.path / name
        return read_json(path, *keys) if path.is_file() else None

    def status(self) -> dict[str, Any] | None:
        """How the run stands: its `state`, one of STATES, and the `reason`; None before its first start.

        `running` without a holder means that it was killed. Raises DamagedFile.
        """
        status = self.read_json("status.json", "state", "reason")
        if status and status["state"] not in STATES:
            raise DamagedFile(f"{self.path / 'status.json'}: unknown state {status['state']!r}")
        return status

    def state(self) -> str | None:
        """The state alone."""
        status = self.status()
        return status["state"] if status else None

    def provenance(self, *keys: str) -> dict[str, Any] | None:
        """Where the run comes from, or None before it began; it has these keys, too. Raises DamagedFile."""
        return self.read_json("provenance.json", "fingerprint", "seed", *keys)

    def evaluation(self, *keys: str) -> dict[str, Any] | None:
        """Returns on the test tasks, or None before they were measured; it has these keys, too. Raises DamagedFile."""
        return self.read_json("evaluation.json", *(f"theta.{which}.mean" for which in EVALUATED), *keys)

    def set_state(self, state: str, reason: str | None = None) -> None:
        """Record how the run stands: one of STATES, and why; of a finished one also how many records it has."""
        assert state in STATES
        ended = {"iterations": len(self._lines())} if state == "finished" else {}
        self.write_json("status.json", {"state": state, "reason": reason, **ended})

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add the record of one iteration, with a digest of itself; it is on disk when this returns.

        A number that is not finite is written as null.
        """
        finite = {k: None if isinstance(v, float) and v - v != 0 else v for k, v in record.items()}
        with open(self.metrics, "ab", buffering=0) as file:
            file.write(json.dumps(with_digest(finite), allow_nan=False).encode() + b"\n")
            os.fsync(file.fileno())

    def keep_metrics(self, iterations: int) -> None:
        """Keep the records of the first `iterations` iterations: what came after the checkpoint runs again.

        Raises DamagedFile if they are not all there as they were written.
        """
        lines = self._lines()
        self._records(lines[:iterations], iterations)
        if len(lines) > iterations:
            write_atomically(self.metrics, b"".join(lines[:iterations]))

    def read_metrics(self) -> list[dict[str, Any]]:
        """All records, in order, each as it was written. Raises DamagedFile.

        The end of a run that is not finished may be a line that nobody came to end, which is left out.
        """
        lines, status = self._lines(), self.status() or {}
        if status.get("state") != "finished" and lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        return self._records(lines, status.get("iterations"))

    def _lines(self) -> list[bytes]:
        return self.metrics.read_bytes().splitlines(keepends=True) if self.metrics.exists() else []

    def _records(self, lines: list[bytes], iterations: int | None) -> list[dict[str, Any]]:
        """The records in some lines, which are those of the first `iterations` iterations, if that is known."""
        if iterations not in (None, len(lines)):
            raise DamagedFile(f"{self.metrics}: it holds {len(lines)} of {iterations} iterations")
        records = []
        for number, line in enumerate(lines):
            try:
                record = without_digest(self.metrics, json.loads(line))
            except DamagedFile:
                raise
            except ValueError:
                raise DamagedFile(f"{self.metrics}: line {number + 1} is not JSON") from None
            require_key(self.metrics, record, "iteration")
            if iterations is not None and record["iteration"] != number:
                raise DamagedFile(f"{self.metrics}: line {number + 1} does not belong to iteration {number}")
            records.append(record)
        return records
