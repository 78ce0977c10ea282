"""Runs as a report shows them, read from their folders; a job that never began has its overrides alone."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl_exp.runs import results
from metarl_exp.runs.files import DamagedFile, digest, making_sense_of, read_yaml, said
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.runs.sweep import JobStatus
from metarl_exp.wiring.overrides import typed

LOG_LINES = 20  # of the end of a log
AS_TYPED = json.JSONEncoder(ensure_ascii=False, default=str)


class Run(NamedTuple):
    """How a job stands, and what its folder has: nothing much, if it failed early."""

    status: JobStatus
    text: str  # its configuration, as it is stored
    settings: dict[str, str]  # the same by dotted keys; of a job without one, the keys that were typed
    provenance: dict[str, Any]
    evaluation: dict[str, Any]  # empty unless the run is finished
    measured_on: str  # the same for runs whose returns are comparable; empty as above
    records: dict[str, np.ndarray]  # by iteration, of a finished run that is to be drawn: see `_records`
    figures: list[Path]  # of a finished run
    log_end: str

    @property
    def light(self) -> Run:
        """Keep no more than a study needs of the run, so that thousands fit into memory."""
        best, environment = self.evaluation["theta"]["best"], self.provenance["environment"]
        kept = ("iteration", "returns", "mean", "interval", "tasks_made_worse")
        evaluation = {
            "theta": {"best": {key: best[key] for key in kept} | {"returns": np.array(best["returns"])}},
            "tasks": {"n": self.evaluation["tasks"]["n"]},
            "protocol": {"steps": self.evaluation["protocol"]["steps"]},
            "after": results.counted(self.evaluation),
        }
        provenance = {key: self.provenance[key] for key in ("fingerprint", "seed")}
        provenance["environment"] = {key: environment[key] for key in ("id", "physics")}
        return Run(self.status, "", {}, provenance, evaluation, self.measured_on, self.records, [], "")

    def damaged(self, error: DamagedFile | OSError) -> Run:
        """Mark the run as damaged by a file that could not be read."""
        return self._replace(status=self.status._replace(state="damaged", reason=said(error)))


def always(_: str) -> bool:
    """Any fingerprint."""
    return True


def read(status: JobStatus, drawn: Callable[[str], bool] = always) -> Run:
    """The run of a job; what it measured in training only if its fingerprint is one that is to be `drawn`.

    A missing job's folder may hold another run, which is not looked at. Of one that is damaged nothing is read but its
    log, and one of which a file turns out to be damaged is said to be.
    """
    run = Run(status, "", {}, {}, {}, "", {}, [], _end(status.log) if status.log else "")
    if status.state not in ("missing", "damaged"):
        try:
            run = _read(run, RunFolder(status.folder), drawn)
        except (DamagedFile, OSError) as error:
            run = run.damaged(error)
    return run if run.text else run._replace(settings=_typed(status.overrides))


def _read(run: Run, folder: RunFolder, drawn: Callable[[str], bool]) -> Run:
    path = folder.path / ".hydra" / "config.yaml"
    if path.is_file():
        with making_sense_of(path):
            settings = flat(read_yaml(path))
        text = path.read_text(encoding="utf-8", errors="replace")
        run = Run(run.status, text, settings, *run[3:])
    if run.status.state != "finished":
        return run._replace(provenance=folder.provenance() or {})
    provenance: Any = folder.provenance("results_version", "environment.id", "environment.physics")
    evaluation: Any = folder.evaluation("tasks.n", "protocol.steps")
    with making_sense_of(folder.path / "evaluation.json"):
        _require_shown(evaluation)
    shared = [provenance["results_version"], provenance["environment"], evaluation["tasks"]]
    return run._replace(
        provenance=provenance,
        evaluation=evaluation,
        measured_on=digest(json.dumps(shared).encode()),
        records=_records(folder) if drawn(provenance["fingerprint"]) else {},
        figures=sorted(folder.figures.glob("*.png")),
    )


def _require_shown(evaluation: dict[str, Any]) -> None:
    """Use all that pages show of an evaluation. Raises one of many errors if it is not an evaluation."""
    _ = results.rows(evaluation), results.header(evaluation)
    best = evaluation["theta"]["best"]
    shape = np.array(best["returns"], float).shape
    if shape != (evaluation["tasks"]["n"], evaluation["protocol"]["steps"] + 1):
        raise ValueError(f"returns of shape {shape}")
    _ = best["iteration"], best["tasks_made_worse"][-1] + 0.0


def _records(folder: RunFolder) -> dict[str, np.ndarray]:
    """Measurements of each iteration: its number, the return after the last inner step, its seconds."""
    with making_sense_of(folder.metrics):
        records = folder.read_metrics()
        if not records:
            return {}
        last = sum(name.startswith("return/step_") for name in records[0]) - 1
        return {
            "iteration": np.array([record["iteration"] for record in records]),
            "return": np.array([record[f"return/step_{last}"] for record in records], float),
            "seconds": np.array([record["perf/inner_s"] + record["perf/outer_s"] for record in records], float),
        }


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """A tree by dotted keys, with its values as they are typed."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": _text(value)}
    return found


def _typed(overrides: Iterable[str]) -> dict[str, str]:
    """The keys of `key=value` overrides."""
    pairs = (override.lstrip("+").partition("=") for override in overrides if "=" in override)
    return {key: _text(typed(value)) for key, _, value in pairs}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return repr(value) if type(value) in (int, float) else AS_TYPED.encode(value)


def _end(log: Path) -> str:
    try:
        with open(log, encoding="utf-8", errors="replace") as lines:
            return "".join(deque(lines, maxlen=LOG_LINES))
    except OSError as error:
        return said(error)
