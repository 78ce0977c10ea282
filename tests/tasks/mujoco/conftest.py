"""Episodes to compare: MuJoCo writes its warnings into a file of the working directory."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make():
    """An environment of a distribution, N = 2 and M = 3 unless said otherwise."""

    def build(distribution, tasks=None, trajectories=3, seed=0):
        generator = torch.Generator().manual_seed(seed)
        tasks = distribution.sample(2, generator) if tasks is None else torch.tensor(tasks, dtype=torch.float64)
        return distribution.make_env(tasks, trajectories, generator, torch.device("cpu"))

    return build
