"""Environments that have a task's attributes when they are made tell of what others have computed too early."""

import gymnasium
import numpy as np
import pytest
import torch

from metarl_exp.checker.rehearsal import difference, play_actions, random_actions
from metarl_exp.tasks import GymnasiumTasks, Navigation2D
from metarl_exp.tasks.base import Rebuildable
from metarl_exp.tasks.vector import derived


class Lever(gymnasium.Env):
    """Pays mass · arm² per step, in the way that `kind` says: computed early from `self`, from an argument, or late."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    arm = 2.0

    def __init__(self, kind, mass=1.0):
        self.kind, self.mass = kind, mass
        assert kind != "particular" or self.mass == 1
        self.arm_squared = self.arm**2
        self.inertia = {"self": self.mass, "argument": mass}.get(kind, 0.0) * self.arm_squared

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        inertia = self.mass * self.arm**2 if self.kind == "late" else self.inertia
        return np.zeros(1, np.float32), inertia, False, False, {}


gymnasium.register("Lever-v0", Lever)
gymnasium.register("LeverByFunction-v0", lambda **kwargs: Lever(**kwargs))


def tasks_of(id, place, **kwargs):
    vary = {"x": place | {"uniform": [1.5, 2.5]}}
    return GymnasiumTasks(id, 20, kwargs, vary, [], None, 0, "fork", None)


def answered_otherwise(tasks):
    """Where the rebuilt environments first answer otherwise; None if they never do."""
    rows = tasks.sample(2, torch.Generator().manual_seed(0))
    actions = random_actions(tasks.spec, (2, 2, 20), 0)
    one, other = (
        play_actions(kind.make_env(rows, 2, torch.Generator().manual_seed(0), torch.device("cpu")), actions)
        for kind in (tasks, tasks.rebuilt())
    )
    return difference(one, other)


@pytest.mark.parametrize("attribute", ["mass", "arm", "unwrapped.mass"])
@pytest.mark.parametrize(("kind", "stale"), [("self", True), ("argument", True), ("late", False)])
def test_attributes_computed_by_a_constructor_show(kind, attribute, stale):
    """Be it an attribute of the instance or of its class, or an argument of its name."""
    found = answered_otherwise(tasks_of("Lever-v0", {"attribute": attribute}, kind=kind))
    assert (found is not None) == stale
    assert not stale or found.startswith("rewards of step 0")


@pytest.mark.parametrize(("attribute", "stale"), [("masspole", True), ("length", True), ("force_mag", False)])
def test_cartpole_would_show_if_it_were_not_known(monkeypatch, attribute, stale):
    assert answered_otherwise(tasks_of("CartPole-v1", {"attribute": attribute})) is None
    monkeypatch.setattr(derived, "DERIVED", {})
    assert (answered_otherwise(tasks_of("CartPole-v1", {"attribute": attribute})) is not None) == stale


@pytest.mark.filterwarnings("ignore:.*Using the latest versioned environment")
@pytest.mark.parametrize("id", ["Pendulum-v1", "Pendulum", "MountainCarContinuous-v0"])
def test_the_bounds_of_an_action_would_show_as_well(monkeypatch, id):
    place = {"attribute": "max_torque" if "Pendulum" in id else "max_action"}
    assert answered_otherwise(tasks_of(id, place)) is None
    monkeypatch.setattr(derived, "DERIVED", {})
    assert answered_otherwise(tasks_of(id, place)) is not None


def test_rebuilding_needs_the_attribute_a_class_and_a_willing_constructor():
    assert tasks_of("Lever-v0", {"argument": "mass"}, kind="late").rebuilt() is None
    assert tasks_of("tests.environments:Scripted-v0", {"attribute": "inner.masses[0]"}).rebuilt() is None
    assert tasks_of("Lever-v0", {"attribute": "mass"}, kind="particular").rebuilt() is None
    assert tasks_of("LeverByFunction-v0", {"attribute": "mass"}, kind="late").rebuilt() is None
    assert not isinstance(Navigation2D(100, "scaled", False), Rebuildable)
    assert isinstance(tasks_of("Lever-v0", {"attribute": "mass"}, kind="late"), Rebuildable)
