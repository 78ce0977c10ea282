"""Meta-World's tasks, as far as they need no Meta-World; the rest is in tests/metaworld/."""

import sys

import pytest
import torch

from metarl_exp.tasks import MetaWorld
from metarl_exp.tasks import metaworld_env as module
from metarl_exp.tasks.metaworld_tasks import shuffled, turns


@pytest.fixture
def absent(monkeypatch):
    """As if Meta-World were not installed, whether or not it is."""
    monkeypatch.setitem(sys.modules, "metaworld", None)
    module.environments.cache_clear()
    yield
    module.environments.cache_clear()


@pytest.mark.usefixtures("absent")
def test_without_meta_world_the_error_says_how_to_install_it():
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'metarl_exp\[metaworld\]'"):
        MetaWorld("ML10", goal_seed=0, reward="v2", horizon=500, workers=0, start_method="spawn")


TASKS = torch.arange(12.0).view(3, 4, 1)  # 3 environments with 4 goals each


def test_environments_take_turns():
    assert turns(TASKS).flatten().tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_shuffling_keeps_every_task_and_one_of_each_environment_a_turn():
    drawn = turns(shuffled(TASKS, torch.Generator().manual_seed(0))).flatten().long()
    assert drawn.sort().values.tolist() == list(range(12))
    assert (drawn // 4).view(4, 3).sort(1).values.tolist() == [[0, 1, 2]] * 4


def test_a_shuffled_task_is_any_of_them_as_often_as_another():
    """4800 first tasks: each of 12 is expected 400 times, with a standard deviation of 19."""
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([shuffled(TASKS, generator)[0, 0, 0] for _ in range(4800)]).long()
    assert (first.bincount(minlength=12) - 400).abs().max() < 5 * 19
