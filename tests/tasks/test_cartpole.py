"""CartPole: Gymnasium's at the nominal parameters, and what each variant changes."""

import gymnasium
import numpy as np
import pytest
import torch

from metarl_exp.tasks import CartPole
from metarl_exp.tasks.cartpole import NOMINAL

CPU = torch.device("cpu")
RANGES = {"length": [0.3, 0.8], "pole_mass": [0.05, 0.3], "cart_mass": [0.5, 2], "gravity": [8, 12], "force": [5, 15]}


def cartpole(hidden="none", horizon=200, **settings):
    return CartPole(horizon, hidden, **(NOMINAL | settings))


def make(tasks, rows, trajectories=1, seed=0):
    env = tasks.make_env(rows, trajectories, torch.Generator().manual_seed(seed), CPU)
    env.reset()
    return env


# ---- dynamics


@pytest.mark.parametrize("seed", range(10))
def test_is_gymnasium_s_step_for_step(seed):
    """The same float64 states, float32 observations, rewards and ends under random actions, to the end and past it.

    torch and numpy round sin and cos differently in the last place, hence 1e-12.
    """
    tasks = cartpole()
    mine = make(tasks, tasks.sample(1, torch.Generator()), seed=seed)
    theirs = gymnasium.make("CartPole-v1").unwrapped
    theirs.reset(seed=seed)
    theirs.state = mine.state[0, 0].numpy().copy()
    for action in np.random.default_rng(seed).integers(2, size=200):
        step = mine.step(torch.tensor([[action]]))
        observation, reward, terminal, _, _ = theirs.step(int(action))
        np.testing.assert_allclose(mine.state[0, 0], theirs.state, rtol=0, atol=1e-12)
        np.testing.assert_allclose(step.observation[0, 0], observation, rtol=1e-6, atol=0)
        assert step.observation.dtype == torch.float32
        assert (step.reward.item(), step.terminal.item()) == (reward, terminal)
        assert not step.truncated.item()
        if terminal:
            break
    assert terminal


@pytest.mark.parametrize(("x", "angle"), [(2.39, 0.0), (2.41, 0.0), (-2.41, 0.0), (0.0, 0.2095), (0.0, -0.2093)])
def test_ends_at_gymnasium_s_limits(x, angle):
    """Beyond 2.4 m or 12°, on either side; the state is still there when the step has been made."""
    tasks = cartpole()
    mine, theirs = make(tasks, tasks.sample(1, torch.Generator())), gymnasium.make("CartPole-v1").unwrapped
    theirs.reset(seed=0)
    state = np.array([x, 0.0, angle, 0.0])
    mine.state, theirs.state = torch.tensor(state).view(1, 1, 4), state
    assert mine.step(torch.ones(1, 1, dtype=torch.int64)).terminal.item() == theirs.step(1)[2]


def test_each_task_has_its_own_physics():
    """Five tasks at once move as Gymnasium does with that task's constants."""
    tasks = cartpole(**RANGES)
    rows = tasks.sample(5, torch.Generator().manual_seed(1))
    mine = make(tasks, rows, trajectories=2)
    start = mine.state.clone()
    step = mine.step(torch.tensor([[0, 1]]).expand(5, 2))
    for i, (length, pole_mass, cart_mass, gravity, force) in enumerate(rows.tolist()):
        theirs = gymnasium.make("CartPole-v1").unwrapped
        theirs.reset(seed=0)
        theirs.length, theirs.masspole, theirs.masscart = length, pole_mass, cart_mass
        theirs.gravity, theirs.force_mag = gravity, force
        theirs.total_mass, theirs.polemass_length = pole_mass + cart_mass, pole_mass * length
        for action in range(2):
            theirs.state = start[i, action].numpy().copy()
            observation, *_ = theirs.step(action)
            np.testing.assert_allclose(mine.state[i, action], theirs.state, rtol=0, atol=1e-12)
            np.testing.assert_allclose(step.observation[i, action], observation, rtol=1e-6, atol=0)


def test_starts_are_uniform_reproducible_and_differ_between_episodes():
    tasks = cartpole()
    rows = tasks.sample(2, torch.Generator())
    start = make(tasks, rows, 5000).state
    assert start.shape == (2, 5000, 4)
    assert start.abs().max() <= 0.05
    torch.testing.assert_close(start.std(1), torch.full((2, 4), 0.1 / 12**0.5).double(), rtol=0.05, atol=0)
    assert torch.equal(start, make(tasks, rows, 5000).state)
    assert not torch.equal(start, make(tasks, rows, 5000, seed=1).state)


# ---- hidden variants


def test_a_force_sign_of_minus_one_swaps_the_actions():
    tasks = cartpole("force_sign")
    rows = tasks.sample(1, torch.Generator())[:, :5].repeat(2, 1)
    env = make(tasks, torch.cat([rows, torch.tensor([[1.0], [-1.0]], dtype=torch.float64)], dim=1))
    env.state = env.state[:1].repeat(2, 1, 1)
    for action in (0, 1, 1, 0):
        env.step(torch.tensor([[action], [1 - action]]))
        assert torch.equal(env.state[0], env.state[1])


def test_force_signs_are_fair():
    signs = cartpole("force_sign").sample(10_000, torch.Generator().manual_seed(0))[:, 5]
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(signs.mean()) < 5 / 10_000**0.5  # five standard errors


@pytest.mark.parametrize(
    ("x", "target", "reward"), [(0.0, 0.0, 1.0), (0.6, -0.6, 0.5), (1.9, -1.0, 0.0), (-0.3, 0.3, 0.75)]
)
def test_the_target_reward_falls_linearly_to_zero(x, target, reward):
    """1 − |x − target| / 2.4, at least 0, of where the step led."""
    tasks = cartpole("target")
    row = tasks.sample(1, torch.Generator())
    row[:, 5] = target
    env = make(tasks, row)
    env.state = torch.tensor([[[x, 0.0, 0.0, 0.0]]], dtype=torch.float64)  # no speed: x stays for one step
    assert env.step(torch.ones(1, 1, dtype=torch.int64)).reward.item() == pytest.approx(reward, abs=1e-6)


def test_hiding_leaves_the_physics_of_the_tasks_and_the_observation_alone():
    rows = {
        h: cartpole(h, **RANGES).sample(4, torch.Generator().manual_seed(2)) for h in ("none", "force_sign", "target")
    }
    assert torch.equal(rows["force_sign"][:, :5], rows["none"])
    assert torch.equal(rows["target"][:, :5], rows["none"])
    for hidden, drawn in rows.items():
        tasks = cartpole(hidden, **RANGES)
        assert drawn.shape == (4, len(tasks.parameter_names))
        assert make(tasks, drawn).reset().shape == (4, 1, 4) == (4, 1, tasks.spec.observation_size)


def test_tasks_are_uniform_in_their_ranges():
    drawn = cartpole("target", **RANGES).sample(10_000, torch.Generator().manual_seed(0))
    low, high = torch.tensor([*RANGES.values(), [-1, 1]], dtype=torch.float64).T
    unit = (drawn - low) / (high - low)
    assert unit.min() >= 0
    assert unit.max() < 1
    assert (unit.mean(0) - 0.5).abs().max() < 5 / (12 * 10_000) ** 0.5  # five standard errors
    assert torch.equal(drawn[:3], cartpole("target", **RANGES).test_tasks(10_000, torch.Generator().manual_seed(0))[:3])


# ---- guards


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("horizon", {"horizon": 0}),
        ("hidden", {"hidden": "force"}),
        ("length", {"length": [0.5, 0.4]}),
        ("length", {"length": 0.5}),
        ("pole_mass", {"pole_mass": [0.0, 0.1]}),
        ("cart_mass", {"cart_mass": [1.0, float("inf")]}),
        ("gravity", {"gravity": [-9.8, 9.8]}),
        ("force", {"force": [10.0]}),
    ],
)
def test_settings_that_mean_nothing_are_refused(field, settings):
    with pytest.raises(ValueError, match=rf"tasks\.{field}="):
        cartpole(**settings)
