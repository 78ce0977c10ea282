"""What a report knows of a run, read from its folder; of a job that never began, only what was asked for."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from metarl_exp import build
from metarl_exp.run_folder import RunFolder
from metarl_exp.sweep import JobStatus

LOG_LINES = 20  # of the end of a log


class Run(NamedTuple):
    """How a job stands, and what its folder has: nothing much, if it failed early."""

    status: JobStatus
    text: str  # its configuration, as it is stored
    settings: dict[str, str]  # the same by dotted keys; of a job without one, the keys that were typed
    provenance: dict[str, Any]
    evaluation: dict[str, Any]  # empty unless the run is finished
    records: list[dict[str, Any]]  # of a finished run, one an iteration
    figures: list[Path]  # of a finished run
    log_end: str


def read(status: JobStatus) -> Run:
    """The run of a job. A missing job's folder may hold another run, which is not looked at."""
    folder, finished = RunFolder(status.folder), status.state == "finished"
    path = status.folder / ".hydra" / "config.yaml"
    text = path.read_text(encoding="utf-8") if path.is_file() and status.state != "missing" else ""
    return Run(
        status,
        text,
        flat(yaml.safe_load(text)) if text else _typed(status.overrides),
        folder.read_json("provenance.json") or {} if text else {},
        folder.read_json("evaluation.json") or {} if finished else {},
        folder.read_metrics() if finished else [],
        sorted(folder.figures.glob("*.png")) if finished else [],
        _end(status.log) if status.log else "",
    )


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """A tree by dotted keys, with its values as they are typed."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": _text(value)}
    return found


def _typed(overrides: Iterable[str]) -> dict[str, str]:
    """The keys of `key=value` overrides."""
    pairs = (override.lstrip("+").partition("=") for override in overrides if "=" in override)
    return {key: _text(build.typed(value)) for key, _, value in pairs}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _end(log: Path) -> str:
    with open(log, encoding="utf-8", errors="replace") as lines:
        return "".join(deque(lines, maxlen=LOG_LINES))
