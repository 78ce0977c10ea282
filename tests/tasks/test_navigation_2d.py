"""2D navigation: the published form, to the number."""

import numpy as np
import pytest
import torch

from metarl_exp.algorithm.sampler import Sampler
from metarl_exp.policy import GaussianMLP
from metarl_exp.tasks import Navigation2D

CPU = torch.device("cpu")


def navigation(action_map="scaled", varying_start=False, horizon=100):
    return Navigation2D(horizon, action_map, varying_start)


def play(tasks, goals, actions):
    """The steps that follow from actions [T, N, M, 2]."""
    env = tasks.make_env(goals, actions.shape[2], torch.Generator(), CPU)
    return env.reset(), [env.step(action) for action in actions]


# ---- dynamics


def test_starts_at_the_origin_and_moves_by_the_action():
    goals = torch.tensor([[0.3, -0.2], [-0.1, 0.4]], dtype=torch.float64)
    actions = torch.tensor([[1.0, -0.5], [0.25, 2.0]]).view(2, 1, 1, 2).expand(2, 2, 3, 2)
    start, (first, second) = play(navigation(), goals, actions)
    assert torch.equal(start, torch.zeros(2, 3, 2))
    torch.testing.assert_close(first.observation, torch.tensor([0.1, -0.05]).expand(2, 3, 2))
    torch.testing.assert_close(second.observation, torch.tensor([0.125, 0.05]).expand(2, 3, 2))
    assert not first.truncated.any()


@pytest.mark.parametrize(
    ("action_map", "action", "move"),
    [
        ("scaled", [1.0, -1.0], [0.1, -0.1]),
        ("scaled", [5.0, 0.3], [0.1, 0.03]),
        ("clipped", [1.0, -0.3], [0.1, -0.1]),
        ("clipped", [0.05, -0.01], [0.05, -0.01]),
    ],
)
def test_actions_are_velocities_of_the_point(action_map, action, move):
    """Trap 9: published is that [−1, 1] is stretched onto ±0.1, not that the output is clipped there."""
    _, (step,) = play(navigation(action_map), torch.ones(1, 2), torch.tensor(action).view(1, 1, 1, 2))
    torch.testing.assert_close(step.observation[0, 0], torch.tensor(move))


def test_the_reward_is_minus_the_plain_distance_after_the_move():
    """Not squared: 0.3, 0.4 away is −0.5."""
    _, (step,) = play(navigation(), torch.tensor([[0.4, 0.3]]), torch.tensor([1.0, -1.0]).view(1, 1, 1, 2))
    assert step.reward.item() == pytest.approx(-0.5, abs=1e-7)


@pytest.mark.parametrize(
    ("goal", "ends"),
    [((0.105, 0.0), True), ((0.105, 0.0095), True), ((0.105, 0.0105), False), ((0.115, 0.0), False)],
)
def test_ends_where_both_coordinates_are_within_a_hundredth(goal, ends):
    """A box, not a disc; and an end that the MDP makes, not a limit."""
    _, (step,) = play(navigation(), torch.tensor([goal]), torch.tensor([1.0, 0.0]).view(1, 1, 1, 2))
    assert step.terminal.item() is ends
    assert not step.truncated.item()


def test_walking_straight_to_the_goal_is_worth_the_arithmetic_series():
    """Goal (0.5, 0): distances 0.4, 0.3, 0.2, 0.1, 0 and the end with the fifth step."""
    _, steps = play(navigation(), torch.tensor([[0.5, 0.0]]), torch.tensor([1.0, 0.0]).expand(5, 1, 1, 2))
    assert sum(step.reward.item() for step in steps) == pytest.approx(-1.0, abs=1e-6)
    assert [step.terminal.item() for step in steps] == [False] * 4 + [True]


# ---- tasks


def test_test_tasks_are_the_paper_s_forty_goals_in_their_order():
    expected = np.random.RandomState(1).uniform(-0.5, 0.5, (40, 2))
    assert np.array_equal(navigation().test_tasks(40, torch.Generator()).numpy(), expected)
    assert np.array_equal(navigation().test_tasks(7, torch.Generator()).numpy(), expected[:7])


def test_staying_at_the_origin_returns_what_the_paper_printed():
    """100 · mean |goal| = 40.08 over those goals; −40.41 is MAML's published return before adaptation."""
    goals = navigation().test_tasks(40, torch.Generator())
    _, steps = play(navigation(), goals, torch.zeros(100, 40, 1, 2))
    assert sum(step.reward for step in steps).mean().item() == pytest.approx(-40.08, abs=0.005)


@pytest.mark.parametrize("varying_start", [False, True])
def test_tasks_are_uniform_and_reproducible(varying_start):
    tasks, size = navigation(varying_start=varying_start), 4 if varying_start else 2
    drawn = tasks.sample(20_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000, size) == (20_000, len(tasks.parameter_names))
    assert drawn.dtype == torch.float64
    assert drawn.abs().max() <= 0.5
    assert drawn.mean(0).abs().max() < 5 / (12 * 20_000) ** 0.5  # five standard errors
    torch.testing.assert_close(drawn.std(0), torch.full((size,), 12**-0.5).double(), rtol=0.02, atol=0)
    assert torch.equal(drawn, tasks.sample(20_000, torch.Generator().manual_seed(0)))


def test_a_varying_start_is_where_the_episode_starts():
    tasks = navigation(varying_start=True)
    rows = tasks.test_tasks(3, torch.Generator().manual_seed(5))
    assert torch.equal(rows, tasks.sample(3, torch.Generator().manual_seed(5)))
    start, (step,) = play(tasks, rows, torch.zeros(1, 3, 2, 2))
    expected = rows[:, None, 2:].float().expand(3, 2, 2)
    assert torch.equal(start, expected)
    distance = (expected - rows[:, None, :2].float()).norm(dim=-1)
    torch.testing.assert_close(step.reward, -distance)
    assert torch.equal(tasks.landmarks(rows), rows[:, :2])
    assert torch.equal(tasks.positions(start), start)


# ---- the random policy


def returns_of_random_policies(action_map, activation, initialisations=8):
    """Mean return over the published test goals of freshly initialised 100 × 100 policies with unit deviation."""
    tasks = navigation(action_map)
    found = []
    for seed in range(initialisations):
        generator = torch.Generator().manual_seed(seed)
        policy = GaussianMLP([100, 100], activation, 1.0, 1e-6, 100.0, tasks.spec, generator)
        goals = tasks.test_tasks(20, generator)
        parameters = {n: p.detach().expand(len(goals), *p.shape) for n, p in policy.named_parameters()}
        sampler = Sampler(policy, tasks, 5, CPU)
        found.append(sampler(parameters, goals, generator, generator).returns().mean().item())
    return torch.tensor(found)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_random_policy_returns_about_minus_eighty(activation):
    """Trap 9: the published −82.66 needs the scaled actions; clipped ones saturate and wander off further."""
    scaled, clipped = (returns_of_random_policies(action_map, activation) for action_map in ("scaled", "clipped"))
    assert -90 < scaled.mean() < -65
    assert clipped.mean() < scaled.mean() - 10
    assert clipped.mean() < -90


# ---- guards


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("horizon", {"horizon": 0}),
        ("horizon", {"horizon": 10.0}),
        ("action_map", {"action_map": "scale"}),
        ("varying_start", {"varying_start": "no"}),
    ],
)
def test_settings_that_mean_nothing_are_refused(field, settings):
    with pytest.raises(ValueError, match=rf"tasks\.{field}="):
        navigation(**settings)
