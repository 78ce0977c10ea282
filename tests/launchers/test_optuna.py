"""A search with Optuna: what a job returns is maximised, and the same command again finds the same jobs."""

from pathlib import Path

import pytest
import yaml

from metarl_exp.runs import checkpoint
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.runs.sweep import statuses

# Of this Optuna when it is imported, about how it uses its database library.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*declarative_base:DeprecationWarning")]

SEARCH = ["hydra/sweeper=search", "hydra.sweeper.n_trials=3", "inner_optimizer.lr=tag(log,interval(0.01,1.0))"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the run gets to clean up."""


def kill_in_second_job(monkeypatch) -> None:
    original, begun = checkpoint.save_latest, []

    def save_latest(folder, state):
        original(folder, state)
        begun.extend({folder} - set(begun))
        if len(begun) == 2:
            raise Killed

    monkeypatch.setattr(checkpoint, "save_latest", save_latest)


def validation(folder: Path) -> float:
    return RunFolder(folder).read_json("evaluation.json")["validation"]


def test_a_killed_search_started_again_is_one_that_was_never_killed(launch, deterministic, tmp_path, monkeypatch):
    code, _ = launch(*SEARCH, root=tmp_path / "whole")
    assert code == 0
    whole = statuses(tmp_path / "whole")
    assert [status.state for status in whole] == ["finished"] * 3
    best = yaml.safe_load((tmp_path / "whole" / "optimization_results.yaml").read_text())
    assert best["best_value"] == max(validation(status.folder) for status in whole)
    with monkeypatch.context() as patched:
        kill_in_second_job(patched)
        with pytest.raises(Killed):
            launch(*SEARCH, root=tmp_path / "killed")
    assert [status.state for status in statuses(tmp_path / "killed")] == ["finished", "interrupted"]
    code, printed = launch(*SEARCH, root=tmp_path / "killed")
    assert (code, printed.count("already finished"), "3 jobs: 3 finished" in printed) == (0, 1, True)
    again = statuses(tmp_path / "killed")
    assert [status.name for status in again] == [status.name for status in whole]
    for one, other in zip(again, whole, strict=True):
        assert deterministic(one.folder) == deterministic(other.folder)


def test_a_failed_proposal_does_not_end_the_search_but_its_success(launch, tmp_path, monkeypatch):
    original, begun = checkpoint.save_latest, []

    def save_latest(folder, state):
        begun.extend({folder} - set(begun))
        if len(begun) == 1:
            raise OSError("disk full")
        original(folder, state)

    monkeypatch.setattr(checkpoint, "save_latest", save_latest)
    code, _ = launch(*SEARCH, "hydra.sweeper.n_trials=2", "iterations=1")
    assert code == 1
    assert [status.state for status in statuses(tmp_path)] == ["failed", "finished"]


def test_a_search_that_would_minimise_is_refused(launch, tmp_path):
    code, printed = launch("hydra/sweeper=optuna", *SEARCH[1:])
    assert (code, "hydra.sweeper.direction=minimize" in printed) == (1, True)
    assert list(tmp_path.iterdir()) == []
