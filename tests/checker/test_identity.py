"""What tells environments from others, and what must not."""

import json
from pathlib import Path

import gymnasium
import pytest
import torch

from metarl_exp import wiring
from metarl_exp.checker.identity import golden, identity
from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks import CartPole, Navigation2D, cartpole, navigation_2d
from metarl_exp.tasks.cartpole import NOMINAL

ROOT = Path(__file__).parents[2]
PUBLISHED = {"horizon": 100, "action_map": "scaled", "varying_start": False}


def navigation(kind=Navigation2D, **settings):
    return identity("tasks.Navigation2D", kind(**PUBLISHED | settings), PUBLISHED | settings)


def pole(**settings):
    return CartPole(**{"horizon": 200, "hidden": "none", **NOMINAL, **settings})


def test_the_same_environment_is_the_same_and_can_be_written_down():
    one = navigation()
    assert one == navigation() == json.loads(json.dumps(one))
    assert set(one) == {"id", "version", "physics", "settings", "libraries", "golden"}
    assert len(one["golden"]) == 10
    assert (one["physics"], one["libraries"]) == (None, {})


@pytest.mark.parametrize("settings", [{"action_map": "clipped"}, {"varying_start": True}, {"horizon": 19}])
def test_a_setting_changes_it(settings):
    assert navigation(**settings) != navigation()
    assert navigation(**settings)["golden"] != navigation()["golden"]


def test_the_identity_contains_the_declarations_of_a_distribution():
    class Newer(Navigation2D):
        version = 2
        physics = "rllab"
        libraries = ("gymnasium",)

    assert navigation(Newer) == navigation() | {
        "version": 2,
        "physics": "rllab",
        "libraries": {"gymnasium": gymnasium.__version__},
    }


@pytest.mark.parametrize(
    ("module", "constant", "distribution"),
    [
        (cartpole, "TIME_STEP", pole()),
        (cartpole, "START", pole()),
        (cartpole, "MAX_ANGLE", pole()),
        (cartpole, "MAX_POSITION", pole(hidden="target")),
        (navigation_2d, "MAX_MOVE", Navigation2D(**PUBLISHED)),
        (navigation_2d, "EXTENT", Navigation2D(**PUBLISHED)),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_constant_of_the_physics_changes_the_golden_rollout_though_nothing_declares_it(
    monkeypatch, module, constant, distribution
):
    before = golden(distribution)
    monkeypatch.setattr(module, constant, 0.95 * getattr(module, constant))
    assert golden(distribution) != before
    monkeypatch.undo()
    assert golden(distribution) == before


@pytest.mark.parametrize("name", ["gravity", "length", "pole_mass", "force"])
def test_a_hundredth_more_of_a_physical_quantity_changes_it(name):
    more = {name: [1.01 * NOMINAL[name][0]] * 2}
    assert golden(pole(**more)) != golden(pole())


class Shaken:
    """A distribution whose answers another processor rounds otherwise."""

    def __init__(self, distribution, amount):
        self.distribution, self.amount = distribution, amount
        self.spec, self.test_tasks = distribution.spec, distribution.test_tasks

    def make_env(self, tasks, trajectories, generator, device):
        self.env = self.distribution.make_env(tasks, trajectories, generator, device)
        return self

    def shaken(self, x):
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        return x * (1 + self.amount * noise)

    def reset(self):
        return self.shaken(self.env.reset())

    def step(self, action):
        step = self.env.step(action)
        return step._replace(observation=self.shaken(step.observation), reward=self.shaken(step.reward))


@pytest.mark.parametrize("distribution", [pole(), Navigation2D(**PUBLISHED)], ids=["cartpole", "navigation"])
def test_the_last_bits_do_not_matter_and_the_third_digit_does(distribution):
    assert golden(Shaken(distribution, 2**-23)) == golden(distribution)
    assert golden(Shaken(distribution, 1e-2)) != golden(distribution)


def test_neither_threads_nor_the_size_of_the_task_sets_matter_and_no_generator_is_touched():
    before = torch.get_rng_state()
    expected = golden(pole())
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_num_threads(2)
    try:
        assert golden(pole()) == expected
    finally:
        torch.set_num_threads(1)
    sizes = ["evaluation.test_tasks=3", "meta_batch_size=7", "seed=5"]
    one, other = (wiring.environment_identity(wiring.compose(overrides)) for overrides in ([], sizes))
    assert one == other
    assert one["id"] == "metarl_exp.tasks.Navigation2D"
    assert one["settings"] == PUBLISHED


def test_the_environments_are_closed_and_one_that_fails_says_so(monkeypatch):
    closed = []
    monkeypatch.setattr(Navigation2D, "close", lambda self: closed.append(True), raising=False)
    wiring.environment_identity(wiring.compose())
    assert closed == [True]
    monkeypatch.setattr(navigation_2d.NavigationEnv, "reset", lambda self: 1 // 0)
    with pytest.raises(EnvironmentFailure, match="the golden rollout: ZeroDivisionError"):
        wiring.environment_identity(wiring.compose())


@pytest.mark.parametrize("run", ["finn2017/navigation_2d", "cartpole/hidden_sign"])
def test_runs_stored_before_the_golden_rollout_say_the_same_in_all_that_they_have(run):
    stored = json.loads((ROOT / "experiments" / run / "provenance.json").read_text())["environment"]
    now = wiring.environment_identity(wiring.compose([f"experiment={run}"]))
    assert stored == {key: now[key] for key in stored}
