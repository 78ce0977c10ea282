"""Sweeps on the cores of one machine."""

import joblib
import pytest
from joblib.externals.loky import get_reusable_executor

from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.runs.sweep import statuses

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_workers_left():
    yield
    get_reusable_executor().shutdown(wait=True)


def test_jobs_share_the_cores_and_one_that_fails_stops_those_not_begun(launch, deterministic, tmp_path, monkeypatch):
    """Each has its part of the threads, and the numbers that it has alone."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    joblib_of_two = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    code, printed = launch(*joblib_of_two, "seed=0,1", "threads=null", root=tmp_path / "parallel")
    assert (code, "2 jobs: 2 finished" in printed) == (0, True)
    (record,) = (tmp_path / "parallel" / "sweeps").glob("*.json")
    threads = max(joblib.cpu_count() // 2, 1)
    for status in statuses(tmp_path / "parallel"):
        provenance = RunFolder(status.folder).read_json("provenance.json")
        assert (provenance["threads"], provenance["sweep"]) == (threads, record.stem)
    launch("seed=1", f"threads={threads}", root=tmp_path / "alone")
    (alone,) = statuses(tmp_path / "alone")
    assert deterministic(tmp_path / "parallel" / alone.name) == deterministic(alone.folder)

    for seed in (0, 1):  # both of those that begin, as one that ends may let others begin before the first has failed
        broken = tmp_path / "broken" / alone.name.replace("seed1", f"seed{seed}")
        (broken / "checkpoints" / "best.pt").mkdir(parents=True)  # where a file has to be written
    code, printed = launch(*joblib_of_two, "seed=0,1,2,3,4,5", "fail_fast=true", root=tmp_path / "broken")
    assert code == 1
    standing = [status.state for status in statuses(tmp_path / "broken")]
    assert "failed" in standing[:2]
    assert set(standing[:2]) <= {"failed", "missing"}
    assert standing[2:] == ["missing"] * 4


def test_a_job_whose_numbers_are_none_fails_alone(launch, tmp_path):
    """Its error crosses from the worker to the sweep, with all that hangs on it."""
    code, _ = launch("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "inner_optimizer.lr=1e+30,0.1,0.2", "seed=0,1")
    states = {status.overrides[-2]: status.state for status in statuses(tmp_path)}
    assert code == 1
    assert states == {
        f"inner_optimizer.lr={lr}": state
        for lr, state in (("1e+30", "failed"), ("0.1", "finished"), ("0.2", "finished"))
    }
