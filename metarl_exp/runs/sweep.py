"""Sweeps: a record of the planned jobs beside the run folders, and the state of each job.

`ROOT/sweeps/<id>.json` lists the jobs; each has its run folder in ROOT. Everything that one job must know of the others
is a file there, so that it is the same with every launcher: `<id>.stopped` says that no further job begins.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from metarl_exp.runs.files import (
    DIGEST,
    DamagedFile,
    making_sense_of,
    read_json,
    read_yaml,
    said,
    with_digest,
    write_atomically,
)
from metarl_exp.runs.run_folder import RunFolder, choose_folder, is_inside, lock_file
from metarl_exp.runs.sources import changed

VARIABLE = "METARL_SWEEP"  # of the environment, in which a job finds its sweep's id
RECORDS = "sweeps"
NOT_BEGUN = "not begun"
Asked = Callable[[Mapping[str, str]], list[str]]  # which modules, of those with these digests, have changed


class Job(NamedTuple):
    """One job of a sweep, as it was composed before it runs."""

    folder: str  # name in the sweep's root
    seed: int
    fingerprint: str
    overrides: list[str]


STATES: tuple[str, ...] = ("finished", "running", "failed", "interrupted", "missing", "damaged")


class JobStatus(NamedTuple):
    """How a job stands."""

    name: str
    state: str  # one of STATES
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
        """The recorded jobs, in order. Raises DamagedFile, also for one whose folder is not in the sweep's root."""
        content = self._read()
        with making_sense_of(self.record):
            jobs = [Job(**job) for job in content["jobs"]]
            if not all(isinstance(word, str) for job in jobs for word in (job.folder, *job.overrides)):
                raise TypeError("a folder or an override that is not a string")
        for job in jobs:
            if not Path(job.folder).name or Path(job.folder).is_absolute() or ".." in Path(job.folder).parts:
                raise DamagedFile(f"{self.record}: the folder of a job, {job.folder!r}, is not in {self.root}")
        return jobs

    def command(self) -> str:
        """Command that starts the sweep, and continues it. Raises DamagedFile."""
        return str(self._read()["command"])

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

    def statuses(self, asked: Asked = changed) -> list[JobStatus]:
        """How each recorded job stands. Raises DamagedFile if the record cannot be read."""
        return [self._status(job, asked) for job in self.jobs()]

    def _status(self, job: Job, asked: Asked) -> JobStatus:
        status = folder_status(choose_folder(self.root / job.folder, restart=False), job, asked)
        if status.state == "missing" and status.reason == NOT_BEGUN and self.stopped.exists():
            status = status._replace(reason=self._why_not_begun())
        return status._replace(overrides=job.overrides)

    def _why_not_begun(self) -> str:
        failed = self.stopped.read_text(encoding="utf-8", errors="replace")
        return f"{NOT_BEGUN}, as {failed} had failed (fail_fast)"

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
        return read_json(self.record, "command", "jobs")

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
    """The sweeps recorded under `root`, from the one that was touched first; links to elsewhere do not count."""
    records = (path for path in (root / RECORDS).glob("*.json") if is_inside(path, root))
    return [Sweep(root, record.stem) for record in sorted(records, key=lambda path: path.stat().st_mtime_ns)]


def statuses(root: Path) -> list[JobStatus]:
    """Every job of every sweep recorded under `root`, then every other run folder in it.

    Of a run that was started over, only the newest folder counts (`…-r1` before the one without). What cannot be read,
    of a run or of a sweep, is one `damaged` job.
    """
    asked = _remembering(changed)
    found: dict[Path, JobStatus] = {}
    for sweep in sweeps(root):
        try:
            found |= {status.folder: status for status in sweep.statuses(asked)}
        except (DamagedFile, OSError) as error:
            found[sweep.record] = _damaged(sweep.record, error)._replace(name=f"sweep {sweep.id}")
    for base in sorted({re.sub(r"-r\d+$", "", path.name) for path in root.iterdir() if _may_be_a_run(path)}):
        folder = choose_folder(root / base, restart=False)
        if folder not in found:
            found[folder] = folder_status(folder, asked=asked)
    return list(found.values())


def contained(status: JobStatus, root: Path) -> JobStatus:
    """The status of a job whose files are under `root`; of one whose folder leads out, that it is not shown.

    Somebody else may have made the folder, and what it leads to may be private.
    """
    links = RunFolder(status.folder).links_out()
    if not links and is_inside(status.folder, root):
        return status
    reason = f"not shown, as it leads out of {root}: {', '.join(links) or os.path.realpath(status.folder)}"
    return status._replace(state="missing", reason=reason, log=None, overrides=[])


def folder_status(path: Path, job: Job | None = None, asked: Asked = changed) -> JobStatus:
    """How the run of one folder stands, whether the folder is there or not; with a `job`, whether it is that job's.

    `asked` which of its modules have changed. A run is `damaged`, for the reason that begins with a file's path, if one
    cannot be read that says how it stands, what it is or what it came to.
    """
    try:
        return _folder_status(RunFolder(path), job, asked)
    except FileNotFoundError:
        return JobStatus(path.name, "missing", "went away while it was looked at", path, None, [])
    except (DamagedFile, OSError) as error:
        return _damaged(path, error)


def _folder_status(folder: RunFolder, job: Job | None, asked: Asked) -> JobStatus:
    held = folder.held()  # before its state is read: a run that ends says so first
    status, provenance = folder.status(), folder.provenance()
    state, reason = (status["state"], status["reason"] and str(status["reason"])) if status else ("missing", NOT_BEGUN)
    log = folder.log if folder.log.is_file() else None
    if provenance and job and (provenance["fingerprint"], provenance["seed"]) != (job.fingerprint, job.seed):
        told = f"fingerprint {provenance['fingerprint']}, seed {provenance['seed']}"
        state, reason, log = "missing", f"its folder holds another run: {told}", None
    elif state in ("running", "missing") and (held or folder.held()):  # it may have begun meanwhile
        state, reason = "running", None
    elif state == "running":
        state, reason = "interrupted", "killed: no process holds it"
    elif state == "missing" and provenance:
        raise DamagedFile(f"{folder.path / 'status.json'}: missing, although the run had begun")
    elif state == "finished":
        for name, there in (("provenance.json", provenance), ("evaluation.json", folder.evaluation())):
            if there is None:
                raise DamagedFile(f"{folder.path / name}: missing, although the run has finished")
        with making_sense_of(folder.path / "provenance.json"):
            modules = asked((provenance or {}).get("sources") or {})
        reason = f"the code of {' and '.join(modules)} has changed since" if modules else reason
    return JobStatus(folder.path.name, state, reason, folder.path, log, _overrides(folder))


def _overrides(folder: RunFolder) -> list[str]:
    path = folder.path / ".hydra" / "overrides.yaml"
    overrides = read_yaml(path) if path.is_file() else []
    if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
        raise DamagedFile(f"{path}: not a list of overrides")
    return overrides


def _damaged(path: Path, error: DamagedFile | OSError) -> JobStatus:
    return JobStatus(path.name, "damaged", said(error), path, None, [])


def _may_be_a_run(path: Path) -> bool:
    """Whether a folder holds what only runs have; one that cannot be looked into may."""
    try:
        return any((path / name).exists() for name in ("status.json", "provenance.json"))
    except PermissionError:
        return True


def _remembering(asked: Asked) -> Asked:
    """Cache `provenance.changes` by modules: most runs of a folder have those of all others."""
    known: dict[tuple[tuple[str, str], ...], list[str]] = {}

    def ask(then: Mapping[str, str]) -> list[str]:
        modules = tuple(sorted(then.items()))
        if modules not in known:
            known[modules] = asked(then)
        return known[modules]

    return ask
