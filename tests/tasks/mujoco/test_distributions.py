"""What the distributions promise to the rest of the package."""

import sys

import pytest
import torch

from metarl_exp.tasks.base import Closeable
from metarl_exp.tasks.mujoco import HalfCheetahDirection, HalfCheetahVelocity


@pytest.mark.parametrize(("physics", "size"), [("gymnasium", 17), ("rllab", 20)])
def test_spec(physics, size):
    distribution = HalfCheetahDirection(physics, 100)
    assert distribution.spec == (size, 6, False, 100)
    assert distribution.physics == physics
    assert distribution.parameter_names == ("direction",)
    assert isinstance(distribution, Closeable)


def test_test_tasks_are_published_in_rllabs_physics_and_drawn_in_gymnasiums(generator):
    published, drawn = (HalfCheetahVelocity(physics, 200, [0.0, 2.0]) for physics in ("rllab", "gymnasium"))
    assert torch.equal(published.test_tasks(40, generator), published.goal.published(40))
    first = drawn.test_tasks(40, torch.Generator().manual_seed(1))
    assert torch.equal(first, drawn.sample(40, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, published.goal.published(40))


def test_only_distributions_of_two_tasks_say_that_training_and_test_overlap():
    assert "two tasks" in HalfCheetahDirection.train_test_overlap
    assert not hasattr(HalfCheetahVelocity, "train_test_overlap")


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match=r"tasks.physics='rlab': allowed are gymnasium, rllab \(did you mean 'rllab'"):
        HalfCheetahDirection("rlab", 100)
    with pytest.raises(ValueError, match=r"tasks.horizon=0"):
        HalfCheetahDirection("rllab", 0)


def test_without_mujoco_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"tasks=half_cheetah_… needs mujoco.*pip install 'metarl_exp\[mujoco\]'"
    ):
        HalfCheetahDirection("rllab", 100)
