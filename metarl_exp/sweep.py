"""What a sweep should hold and how its jobs stand: a record beside the run folders, and the states of both.

`ROOT/sweeps/<id>.json` lists the jobs; each has its run folder in ROOT. Everything that one job must know of the others
is a file there, so that it is the same with every launcher: `<id>.stopped` says that no further job begins.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from metarl_exp.files import DIGEST, read_json, read_yaml, with_digest, write_atomically
from metarl_exp.run_folder import RunFolder, choose_folder, lock_file
from metarl_exp.sources import changed

VARIABLE = "METARL_SWEEP"  # of the environment, in which a job finds its sweep's id
RECORDS = "sweeps"


class Job(NamedTuple):
    """One job of a sweep, as it was composed before it runs."""

    folder: str  # name in the sweep's root
    seed: int
    fingerprint: str
    overrides: list[str]


class JobStatus(NamedTuple):
    """How a job stands."""

    name: str
    state: str  # finished, running, failed, interrupted or missing
    reason: str | None
    folder: Path
    log: Path | None
    overrides: list[str]


class NotBegun(RuntimeError):
    """This job does not begin: another one failed, and the sweep fails fast."""


class Sweep:
    """One command's jobs under a root; the same command again is the same sweep."""

    def __init__(self, root: Path, identifier: str) -> None:
        self.root, self.id = Path(root), identifier
        self.record = self.root / RECORDS / f"{identifier}.json"
        self.stopped = self.record.with_suffix(".stopped")

    def begin(self, command: str, jobs: Sequence[Job]) -> None:
        """Write what the sweep should hold. A search that proposes as it goes begins with no jobs; they `take_part`."""
        self.record.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self.stopped.unlink(missing_ok=True)
            self._write({"command": command, "jobs": [job._asdict() for job in jobs]})

    def jobs(self) -> list[Job]:
        """The recorded jobs, in order."""
        return [Job(**job) for job in self._read()["jobs"]]

    def command(self) -> str:
        """What starts the sweep, and continues it."""
        return self._read()["command"]

    @contextmanager
    def take_part(self, job: Job, fail_fast: bool) -> Iterator[None]:
        """Around the work of one job. Raises NotBegun if the sweep has stopped; stops it, if asked, when the job fails.

        A job that the record lacks is added to it.
        """
        if self.stopped.exists():
            raise NotBegun(self._why_not_begun())
        self._add(job)
        try:
            yield
        except Exception:
            if fail_fast:
                with suppress(OSError), self._alone():  # a full disk must not hide why the job failed
                    write_atomically(self.stopped, job.folder.encode(errors="backslashreplace"))
            raise

    def statuses(self) -> list[JobStatus]:
        """How each recorded job stands."""
        return [self._status(job) for job in self.jobs()]

    def _status(self, job: Job) -> JobStatus:
        status = folder_status(choose_folder(self.root / job.folder, restart=False))
        if status.state == "missing" and self.stopped.exists():
            status = status._replace(reason=self._why_not_begun())
        held = RunFolder(status.folder).read_json("provenance.json")
        if held and (held["fingerprint"], held["seed"]) != (job.fingerprint, job.seed):
            reason = f"its folder holds another run: fingerprint {held['fingerprint']}, seed {held['seed']}"
            status = status._replace(state="missing", reason=reason, log=None)
        return status._replace(overrides=job.overrides)

    def _why_not_begun(self) -> str:
        return f"not begun, as {self.stopped.read_text(encoding='utf-8')} had failed (fail_fast)"

    def _add(self, job: Job) -> None:
        if job.folder in {known.folder for known in self.jobs()}:
            return
        with self._alone():
            content = self._read()
            content["jobs"].append(job._asdict())
            self._write(content)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for whoever writes; then nobody else does."""
        with open(self.record.parent / "lock", "a", encoding="utf-8") as lock:
            lock_file(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> dict[str, Any]:
        return read_json(self.record)

    def _write(self, content: dict[str, Any]) -> None:
        jobs = ",\n".join(json.dumps(job, ensure_ascii=False) for job in content["jobs"])
        command = json.dumps(content["command"], ensure_ascii=False)
        digest = with_digest({name: content[name] for name in ("command", "jobs")})[DIGEST]
        text = f'{{"command": {command}, "jobs": [\n{jobs}\n], "{DIGEST}": "{digest}"}}\n'
        write_atomically(self.record, text.encode(errors="backslashreplace"))


def identifier(overrides: Sequence[str]) -> str:
    """A sweep's id: ten hex digits of its own overrides, in any order."""
    return hashlib.sha256(json.dumps(sorted(overrides)).encode()).hexdigest()[:10]


def sweeps(root: Path) -> list[Sweep]:
    """The sweeps recorded under `root`, from the one that was touched first."""
    records = sorted((root / RECORDS).glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [Sweep(root, record.stem) for record in records]


def statuses(root: Path) -> list[JobStatus]:
    """Every job of every sweep recorded under `root`, then every other run folder in it.

    Of a run that was started over, only the newest folder counts (`…-r1` before the one without).
    """
    found = {status.folder: status for sweep in sweeps(root) for status in sweep.statuses()}
    bases = {re.sub(r"-r\d+$", "", path.parent.name) for path in root.glob("*/status.json")}
    for base in sorted(bases):
        folder = choose_folder(root / base, restart=False)
        found.setdefault(folder, folder_status(folder))
    return list(found.values())


def folder_status(path: Path) -> JobStatus:
    """How the run of one folder stands, whether the folder is there or not."""
    folder = RunFolder(path)
    held = folder.held()  # before its state is read: a run that ends says so first
    status = folder.read_json("status.json") or {"state": "missing", "reason": "not begun"}
    state, reason = status["state"], status["reason"]
    if state in ("running", "missing") and (held or folder.held()):  # it may have begun meanwhile
        state, reason = "running", None
    elif state == "running":
        state, reason = "interrupted", "killed: no process holds it"
    elif state == "finished" and (modules := changed(_sources(folder))):
        reason = f"the code of {' and '.join(modules)} has changed since"
    overrides = path / ".hydra" / "overrides.yaml"
    return JobStatus(
        path.name,
        state,
        reason,
        path,
        folder.log if folder.log.is_file() else None,
        read_yaml(overrides) if overrides.is_file() else [],
    )


def _sources(folder: RunFolder) -> dict[str, str]:
    return (folder.read_json("provenance.json") or {}).get("sources", {})
