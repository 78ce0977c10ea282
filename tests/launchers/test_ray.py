"""Sweeps on a Ray cluster, which is started here for them; in an environment of its own."""

import importlib

import pytest

from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.runs.sweep import statuses

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield
    importlib.import_module("ray").shutdown()


def test_jobs_run_on_the_cluster_and_one_that_fails_stops_those_not_begun(launch, deterministic, tmp_path):
    """Each has one core, unless it asks for more, and the numbers that it has alone."""
    on_ray = ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=1", "threads=null"]
    code, printed = launch(*on_ray, "seed=0,1", root=tmp_path / "cluster")
    assert (code, "2 jobs: 2 finished" in printed) == (0, True)
    (record,) = (tmp_path / "cluster" / "sweeps").glob("*.json")
    launch("seed=0,1", "threads=1", root=tmp_path / "alone")
    for status in statuses(tmp_path / "cluster"):
        provenance = RunFolder(status.folder).read_json("provenance.json")
        assert (provenance["threads"], provenance["sweep"]) == (1, record.stem)
        assert deterministic(status.folder) == deterministic(tmp_path / "alone" / status.name)

    first, _ = statuses(tmp_path / "alone")
    (tmp_path / "broken" / first.name / "checkpoints" / "best.pt").mkdir(parents=True)  # where a file is written
    code, _ = launch(*on_ray, "seed=0,1,2", "fail_fast=true", root=tmp_path / "broken")
    assert code == 1
    assert [status.state for status in statuses(tmp_path / "broken")] == ["failed", "missing", "missing"]
