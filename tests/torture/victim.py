"""A tiny run, unfinished and finished, to do harm to; and what becomes of it when it is read, and started again."""

import contextlib
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from metarl_exp import figures
from metarl_exp.commands import train
from metarl_exp.runs import checkpoint
from metarl_exp.runs.files import read_yaml
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.wiring import load_config

COMMAND = [
    "metarl-train", "experiment=bandits/bernoulli", "tracker=none", "iterations=4", "threads=1", "meta_batch_size=2",
    "policy.hidden_sizes=[4]", "trajectories=4", "adaptation.inner_steps=1",
    "evaluation.steps=1", "evaluation.validate_every=2", "evaluation.test_tasks=3", "evaluation.validation_tasks=2",
]  # fmt: skip
STAGES = ("unfinished", "finished")
DRAWINGS = ("learning_curve", "gradient_steps", "paths")  # that take most of the time, and are left out


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the run gets to clean up."""


class Victim:
    """The run's folder, which is put back to one of two stages before each harm; and what it should come to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._copies = {stage: root / stage for stage in STAGES}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(checkpoint, "save_latest", _dying(3))
            with contextlib.suppress(Killed):
                self.start()
        (folder,) = self.outputs.iterdir()
        self.folder = RunFolder(folder)
        shutil.copytree(folder, self._copies["unfinished"])
        self.start()
        shutil.copytree(folder, self._copies["finished"])
        self.undisturbed = self.numbers()

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    def files(self, stage: str) -> list[str]:
        """Names of all files at a stage but the lock, which no number depends on, and the log."""
        copy = self._copies[stage]
        found = (str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())
        return sorted(name for name in found if name not in ("lock", "train.log"))

    def content(self, stage: str, name: str) -> bytes:
        return (self._copies[stage] / name).read_bytes()

    def harm(self, stage: str, name: str, content: bytes | None) -> None:
        """Put the folder back to a stage, with other content in one of its files; None removes it."""
        shutil.rmtree(self.folder.path, ignore_errors=True)
        shutil.copytree(self._copies[stage], self.folder.path)
        path = self.folder.path / name
        path.unlink() if content is None else path.write_bytes(content)

    def clear(self) -> None:
        """Leave no run at all."""
        shutil.rmtree(self.outputs)

    def start(self) -> tuple[Any, str]:
        """Give the command, in this process: its exit status, or the line that it ends with, and what it printed."""
        printed, both = io.StringIO(), contextlib.ExitStack()
        with both, pytest.MonkeyPatch.context() as patched:
            both.enter_context(contextlib.redirect_stdout(printed))
            both.enter_context(contextlib.redirect_stderr(printed))
            patched.setattr(sys, "argv", [*COMMAND, f"output_root={self.outputs}"])
            for name in DRAWINGS:
                patched.setattr(figures, name, lambda *_: None)
            try:
                train.main()
            except SystemExit as end:
                return end.code, printed.getvalue()
        return 0, printed.getvalue()

    def outcome(self) -> tuple[str, str]:
        """What the same command makes of the folder as it is, as the tally calls it, and what it said."""
        code, printed = self.start()
        said = f"{printed}\n{code}"
        if "Traceback" in printed:
            return "traceback", said
        if code != 0:
            return "refused", said
        return ("identical" if same(_tried(self.numbers), self.undisturbed) else "changed"), said

    def numbers(self) -> dict[str, Any]:
        """All that two runs of the command have in common."""
        folder = self.folder
        records = [{k: v for k, v in r.items() if not k.startswith("perf/")} for r in folder.read_metrics()]
        states = {name: checkpoint.read(folder.path / "checkpoints" / f"{name}.pt") for name in ("best", "latest")}
        for state in states.values():
            state.pop("provenance", None)  # of which the time is a part
            state.get("best", {}).pop("theta", None)  # which best.pt has
        return {"metrics": records, "evaluation": folder.evaluation(), **states}

    def read(self) -> dict[str, Any]:
        """What readers of a run see in its folder, by file; the reason instead where one is refused."""
        path = self.folder.path
        return {
            name: _tried(read)
            for name, read in {
                "config": lambda: load_config(path),
                "overrides": lambda: read_yaml(path / ".hydra" / "overrides.yaml"),
                "status": self.folder.status,
                "provenance": self.folder.provenance,
                "evaluation": self.folder.evaluation,
                "metrics": self.folder.read_metrics,
                "best": lambda: checkpoint.read(path / "checkpoints" / "best.pt"),
                "latest": lambda: checkpoint.read(path / "checkpoints" / "latest.pt"),
                "previous": lambda: checkpoint.read(path / "checkpoints" / "previous.pt"),
            }.items()
        }


def _dying(iteration: int) -> Callable[[Path, dict[str, Any]], None]:
    """What saves checkpoints, and dies once that of an iteration is written."""
    save_latest = checkpoint.save_latest

    def dying(folder: Path, state: dict[str, Any]) -> None:
        save_latest(folder, state)
        if state["iteration"] == iteration:
            raise Killed

    return dying


def _tried(read: Callable[[], Any]) -> Any:
    """The content of a file, or the reason for which it is refused."""
    try:
        return read()
    except (ValueError, FileNotFoundError) as refused:
        return str(refused)


def right(outcome: str, said: str, name: str) -> bool:
    """Whether a harmed run came to the same end, or was refused with the file and what to type."""
    return outcome == "identical" or (outcome == "refused" and name in said and "restart=true" in said)


def same(one: Any, two: Any) -> bool:
    """Whether two trees are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and torch.equal(one, two)
    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two
