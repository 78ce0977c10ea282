"""Studies by hand: a file that declares one, and folders of runs whose numbers are known."""

import json
from pathlib import Path

import pytest
import yaml

from metarl_exp.study import declaration, runs
from metarl_exp.study.declaration import Study

BASE = ["tasks.horizon=5"]
ENVIRONMENT = {"id": "navigation", "golden": "a"}


class Laboratory:
    """A folder with a study and a folder of runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.outputs, self.file = root, root / "outputs", root / "study" / "table.yaml"

    def declare(self, **changes) -> Study:
        content = {
            "title": "A table",
            "overrides": BASE,
            "seeds": [0, 1, 2],
            "statistic": "mean",
            "rows": [{"name": "A"}],
            "columns": [{"name": f"{k} steps", "measure": "return", "after": k} for k in (0, 1)],
            **changes,
        }
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(yaml.safe_dump(content, sort_keys=False))
        return declaration.load(self.file)

    def run(
        self,
        returns,
        *,
        overrides=(),
        seed=0,
        name=None,
        environment=ENVIRONMENT,
        version=1,
        started="2026-01-01",
        state="finished",
        reason=None,
        validation=0.0,
        curve=(),
        trials=False,
    ) -> Path:
        """A run's folder: returns [tasks][steps] of its best iterate; `curve` of post-update training returns."""
        fingerprint = runs.fingerprint((*BASE, *overrides))
        folder = self.outputs / (name or f"{fingerprint}-{seed}")
        folder.mkdir(parents=True)
        origin = {"code": {}, "libraries": {}, "machine": {}, "threads": 1, "device": "cpu", "started": started}
        identity = {"fingerprint": fingerprint, "seed": seed, "results_version": version, "environment": environment}
        entry = {"iteration": 3, "returns": returns, "mean": [sum(c) / len(c) for c in zip(*returns, strict=True)]}
        content = {
            "provenance.json": identity | origin,
            "status.json": {"state": state, "reason": reason},
            "evaluation.json": {"theta": dict.fromkeys(("initial", "best", "last"), entry), "validation": validation},
        }
        if trials:
            content["evaluation.json"]["after"] = "episode"
        for file, data in content.items():
            (folder / file).write_text(json.dumps(data))
        records = [
            {"iteration": i, "env_steps": 100.0 * (i + 1), "return/step_0": 0.0, "return/step_1": y,
             "perf/inner_s": 1.0, "perf/outer_s": 2.0}
            for i, y in enumerate(curve)
        ]  # fmt: skip
        (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
        return folder


@pytest.fixture
def laboratory(tmp_path) -> Laboratory:
    return Laboratory(tmp_path)
