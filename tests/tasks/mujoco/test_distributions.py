"""What the distributions promise to the rest of the package."""

import sys

import pytest
import torch

from metarl_exp.tasks.base import Closeable, DrawsPaths
from metarl_exp.tasks.mujoco import HalfCheetahDirection, HopperBody, HumanoidDirection, Walker2dBody

NAMES = [
    f"{robot}{suffix}"
    for robot in ("half_cheetah", "half_cheetah_velocity", "ant", "ant_velocity", "ant_goal")
    for suffix in ("", "_rllab")
] + ["walker2d", "hopper", "humanoid"]
SIZES = {
    "half_cheetah": (17, 6),
    "half_cheetah_rllab": (20, 6),
    "ant": (105, 8),
    "ant_rllab": (125, 8),
    "ant_goal": (107, 8),
    "walker2d": (17, 6),
    "hopper": (11, 3),
    "humanoid": (348, 17),
}


@pytest.mark.parametrize("name", SIZES)
def test_spec(distributions, name):
    distribution = distributions(name)
    assert distribution.spec == (*SIZES[name], False, 100 if name == "half_cheetah" else 200)
    assert distribution.physics == ("rllab" if name.endswith("rllab") else "gymnasium")
    assert isinstance(distribution, Closeable)


@pytest.mark.parametrize("name", NAMES)
def test_tasks(distributions, generator, name):
    distribution = distributions(name)
    for tasks in (distribution.sample(7, generator), distribution.test_tasks(7, generator)):
        assert tasks.shape == (7, len(distribution.parameter_names))
        assert tasks.dtype == torch.float64


@pytest.mark.parametrize("name", ["half_cheetah", "half_cheetah_velocity", "ant", "ant_velocity"])
def test_test_tasks_are_published_in_rllabs_physics_and_drawn_in_gymnasiums(distributions, name):
    published, drawn = distributions(f"{name}_rllab"), distributions(name)
    assert torch.equal(published.test_tasks(40, torch.Generator()), published.goal.published(40))
    first = drawn.test_tasks(40, torch.Generator().manual_seed(1))
    assert torch.equal(first, drawn.sample(40, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, drawn.goal.published(40))


def test_only_distributions_of_two_tasks_say_that_training_and_test_overlap(distributions):
    for name in NAMES:
        distribution = distributions(name)
        two = distribution.parameter_names == ("direction",)
        assert hasattr(distribution, "train_test_overlap") == two
        assert not two or "two tasks" in distribution.train_test_overlap


@pytest.mark.parametrize("name", NAMES)
def test_only_paths_to_a_place_are_drawn_in_the_plane(distributions, make, name):
    distribution = distributions(name)
    assert isinstance(distribution, DrawsPaths) == ("goal" in name)
    if "goal" in name:
        env = make(distribution)
        path = distribution.positions(env.reset())
        torch.testing.assert_close(path.reshape(-1, 2).double(), torch.from_numpy(env.episodes.qpos[:, :2]))
        tasks = distribution.sample(3, torch.Generator())
        assert torch.equal(distribution.landmarks(tasks), tasks)


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match=r"tasks.physics='rlab': allowed are gymnasium, rllab \(did you mean 'rllab'"):
        HalfCheetahDirection("rlab", 100)
    with pytest.raises(ValueError, match=r"tasks.horizon=0"):
        HalfCheetahDirection("rllab", 0)
    with pytest.raises(ValueError, match=r"tasks.cone='round': allowed are pyramidal, elliptic"):
        HalfCheetahDirection("rllab", 200, cone="round")
    with pytest.raises(ValueError, match=r"tasks.backward=1.1: must be a number"):
        HalfCheetahDirection("rllab", 200, backward=1.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Walker2dBody("rllab", 200, 3.0),
        lambda: HopperBody("rllab", 200, 3.0),
        lambda: HumanoidDirection("rllab", 200),
    ],
)
def test_robots_without_published_numbers_exist_in_gymnasiums_physics_only(make):
    with pytest.raises(ValueError, match=r"tasks.physics='rllab': allowed are gymnasium"):
        make()


def test_without_mujoco_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ModuleNotFoundError, match=r"tasks=half_cheetah_… needs mujoco.*'metarl_exp\[mujoco\]'"):
        HalfCheetahDirection("rllab", 100)
