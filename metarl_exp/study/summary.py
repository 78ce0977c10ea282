"""Summary of one run for tables, small enough to be committed: at most 20 KiB."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl_exp.process.failures import NonFiniteError
from metarl_exp.runs.files import DamagedFile, making_sense_of, read_json, said
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.runs.sweep import folder_status

POINTS = 100  # of a learning curve that are kept
CURVES = ("return/step_", "validation/step_")  # what is kept of the metrics
INTERFERENCE = {  # and of these, means, by the name that studies give them
    "cosine": "interference/cosine",
    "conflicting": "interference/conflicting",
    "made_worse": "outer/tasks_made_worse",
}
TENTHS = 10  # of a run, over each of which that mean is taken
DIGITS = 5  # significant, of the numbers of a curve
DECIMALS = 3  # of a return on a test task
NEEDED = ("results_version", "environment", "started")  # of a provenance, beside what a run is found by
LIMIT = 20 * 1024  # bytes
ORIGIN = ("code", "libraries", "machine", "threads", "device", "started", "sources", "powers")


class Summary(NamedTuple):
    """One run: where it comes from, how it ended, what it is worth."""

    fingerprint: str
    seed: int
    results_version: int
    environment: dict[str, Any]
    origin: dict[str, Any]  # those of ORIGIN that its provenance has: older runs lack the last two
    state: str
    reason: str | None
    evaluation: dict[str, Any] | None  # of the best iterate: `iteration`, `returns` [N, K_test + 1], `validation` …
    curves: dict[str, dict[str, list[float]]]  # `return` in training, `validation`, `interference`: points by metric
    seconds: float  # of sampling and outer steps, on the machine that it shared with who knows what

    @property
    def finished(self) -> bool:
        """Whether the run came to its end, so that its numbers count."""
        return self.state == "finished"

    @property
    def diverged(self) -> bool:
        """Whether the run ended because a number was not finite, as too large a step makes it."""
        return self.state == "failed" and (self.reason or "").startswith(NonFiniteError.__name__)

    @property
    def environment_key(self) -> str:
        """Eight hex digits of the environments' identity."""
        return hashlib.sha256(json.dumps(self.environment, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def returns(self) -> np.ndarray:
        """Returns of the best iterate on each test task after 0 … K_test gradient steps: [N, K_test + 1]."""
        assert self.evaluation is not None, "of a finished run only"
        return np.array(self.evaluation["returns"])


def of_run(folder: RunFolder) -> Summary | None:
    """The summary of a run's folder; None if it never got as far as saying what it is.

    A run of which that can be read, but not what it came to, is `damaged`. Raises DamagedFile for another.
    """
    provenance, status = folder.provenance(*NEEDED), folder_status(folder.path)
    if provenance is None:
        return None
    finished, measured = status.state == "finished", _Measured(None, {}, 0.0)
    try:
        measured = _measured(folder, finished)
    except (DamagedFile, OSError) as error:
        status = status._replace(state="damaged", reason=said(error))
    reason = None if status.state == "finished" else status.reason  # of which other code is said elsewhere
    return Summary(
        **{key: provenance[key] for key in ("fingerprint", "seed", "results_version", "environment")},
        origin={key: provenance[key] for key in ORIGIN if key in provenance},
        state=status.state,
        reason=reason and reason.replace(f"{folder.path.resolve()}/", "").replace(f"{folder.path}/", ""),
        **measured._asdict(),
    )


class _Measured(NamedTuple):
    """Outcome of a run, as in its summary."""

    evaluation: dict[str, Any] | None
    curves: dict[str, dict[str, list[float]]]
    seconds: float


def _measured(folder: RunFolder, finished: bool) -> _Measured:
    evaluation = None
    if finished:
        with making_sense_of(folder.path / "evaluation.json"):
            evaluation = _evaluation(folder.evaluation("validation"))
    with making_sense_of(folder.metrics):
        records = folder.read_metrics()
        seconds = round(sum(r["perf/inner_s"] + r["perf/outer_s"] for r in records), 1)
        return _Measured(evaluation, _curves(records), seconds)


def _evaluation(content: Any) -> dict[str, Any]:
    """Of the best iterate every return, of the others the means."""
    thetas = content["theta"]
    best = thetas["best"]
    kept = {
        "iteration": best["iteration"],
        "returns": np.round(best["returns"], DECIMALS).tolist(),
        "validation": round(content["validation"], 6),
        "initial": thetas["initial"]["mean"],
        "last": thetas["last"]["mean"],
    }
    if "after" in content:
        kept["after"] = content["after"]
    if "success" in best:
        kept["success"] = best["success"]["mean"]
    if "optimal_returns" in content:
        kept["optimal_returns"] = content["optimal_returns"]
    return kept


def _curves(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Points of what was measured in training and on validation tasks, by metric, with `iteration` and `env_steps`."""
    curves = {}
    for prefix in CURVES:
        measured = [r for r in records if r.get(f"{prefix}0") is not None]
        names = [name for name in measured[0] if name.startswith(prefix)] if measured else []
        if names:
            points = [measured[i] for i in _spread(len(measured))]
            curves[prefix.partition("/")[0]] = {
                name: [_rounded(point[name]) for point in points] for name in ("iteration", "env_steps", *names)
            }
    return curves | _interference(records)


def _interference(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Of single meta-batches it is all noise, so it is kept as means over tenths of the run."""
    names = INTERFERENCE.values()
    measured = [r for r in records if all(r.get(name) is not None for name in names)]
    if not measured:
        return {}
    tenths = np.array_split(np.arange(len(measured)), min(TENTHS, len(measured)))
    return {
        "interference": {
            name: [_rounded(np.mean([measured[i][name] for i in tenth])) for tenth in tenths]
            for name in ("iteration", "env_steps", *names)
        }
    }


def _rounded(x: float | np.floating) -> float:
    return float(f"{x:.{DIGITS}g}")


def _spread(n: int) -> list[int]:
    """At most POINTS of the indices 0 … n − 1, evenly spaced, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, POINTS))})


def read(path: Path) -> Summary:
    """A stored summary. Raises ValueError, naming the file, for anything else."""
    try:
        return Summary(**read_json(path))
    except TypeError as error:
        raise ValueError(f"{path} is not the summary of a run: {error}") from error


def write(summary: Summary, folder: Path) -> Path:
    """Store a summary under its fingerprint and seed. Raises ValueError if it is larger than 20 KiB."""
    name, content = f"{summary.fingerprint}-seed{summary.seed}.json", summary._asdict()
    size = len(json.dumps(content))
    if size > LIMIT:
        raise ValueError(f"{name}: {size} bytes, and a summary has at most {LIMIT}: fewer test tasks or steps")
    folder.mkdir(parents=True, exist_ok=True)
    return RunFolder(folder).write_json(name, content)
