"""What distributions draw of an episode, read back from the artists."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from metarl_exp.tasks import Bandit, CartPole, Navigation2D, TabularMDP
from metarl_exp.tasks.base import DrawsFrames, Episode
from metarl_exp.tasks.cartpole import NOMINAL
from metarl_exp.types import Trajectories


def drawn(distribution, task, episode, step):
    """Axes on which a moment was drawn."""
    assert isinstance(distribution, DrawsFrames)
    axes = Figure().subplots()
    distribution.draw(axes, torch.tensor(task, dtype=torch.float64), episode, step)
    axes.figure.canvas.draw()  # nothing that cannot be drawn
    return axes


def marked(axes, marker):
    """Where a marker stands."""
    return [pytest.approx(line.get_xydata()[-1]) for line in axes.lines if line.get_marker() == marker]


def test_an_episode_is_the_part_that_happened_with_the_last_observation():
    mask = torch.tensor([[[True, True, True], [True, True, False]]])
    rewards = torch.arange(6.0).reshape(1, 2, 3)
    observations = rewards.unsqueeze(-1) * 10
    final = torch.tensor([[[-1.0], [-2.0]]])
    batch = Trajectories(observations, rewards.long(), rewards, mask & False, mask, final)
    episode = Episode.of(batch, 0, 1)
    assert episode.observations.flatten().tolist() == [30, 40, -2]
    assert (episode.actions.tolist(), episode.rewards.tolist()) == ([3, 4], [3, 4])


# ---- navigation


WALK = Episode(
    torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.1, 0.1], [0.2, 0.1]]),
    torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
    -torch.ones(3),
)


@pytest.mark.parametrize("step", range(4))
def test_navigation_shows_goal_start_and_the_path_so_far(step):
    axes = drawn(Navigation2D(10, "scaled", False), [0.3, -0.2], WALK, step)
    assert marked(axes, "*") == [[0.3, -0.2]]
    start, now = marked(axes, "o")
    assert start == [0, 0]
    assert now == WALK.observations[step].tolist()
    path = axes.lines[1].get_xydata()
    np.testing.assert_allclose(path, WALK.observations[: step + 1])


def test_navigation_keeps_its_limits_through_an_episode_and_shows_all_of_it():
    away = WALK._replace(observations=WALK.observations * 10)
    limits = {drawn(Navigation2D(10, "scaled", False), [0.3, -0.2], away, step).get_xlim() for step in range(4)}
    ((low, high),) = limits
    assert low < 0
    assert high > 2


# ---- CartPole


def balance(angle: float) -> Episode:
    """One step to the right at x = 1."""
    state = torch.tensor([[1.0, 0.0, angle, 0.0]])
    return Episode(state.expand(2, 4), torch.tensor([1]), torch.ones(1))


@pytest.mark.parametrize("angle", [-0.2, 0.0, 0.1])
def test_the_pole_stands_on_the_cart_with_its_angle_and_full_length(angle):
    tasks = CartPole(10, "none", **(NOMINAL | {"length": [0.3, 0.7]}))
    axes = drawn(tasks, [0.6, 0.1, 1.0, 9.8, 10.0], balance(angle), 0)
    (foot, tip) = axes.lines[1].get_xydata()
    assert foot[0] == 1.0
    assert math.atan2(tip[0] - foot[0], tip[1] - foot[1]) == pytest.approx(angle, abs=1e-6)
    assert math.dist(foot, tip) == pytest.approx(2 * 0.6)  # `length` is half of it
    cart = axes.patches[0].get_xy()
    assert cart[:, 0].mean() == pytest.approx(1.0, abs=0.06)  # a closed polygon counts its first corner twice
    assert axes.get_ylim()[1] > 0.3 + 2 * 0.7


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_arrow_is_the_force_and_not_the_action(sign):
    tasks = CartPole(10, "force_sign", **NOMINAL)
    axes = drawn(tasks, [0.5, 0.1, 1.0, 9.8, 10.0, sign], balance(0.0), 0)
    (arrow,) = axes.texts
    head, tail = arrow.xy[0], arrow.xyann[0]
    assert math.copysign(1, head - tail) == sign
    assert (tail - 1.0) * sign > 0  # from the cart's edge
    stronger = drawn(tasks, [0.5, 0.1, 1.0, 9.8, 20.0, sign], balance(0.0), 0).texts[0]
    assert stronger.xy[0] - stronger.xyann[0] == pytest.approx(2 * (head - tail))


def test_no_force_acts_after_the_end_and_a_target_is_on_the_track():
    tasks = CartPole(10, "target", **NOMINAL)
    axes = drawn(tasks, [0.5, 0.1, 1.0, 9.8, 10.0, -0.7], balance(0.0), 1)
    assert not axes.texts
    assert marked(axes, "*") == [[-0.7, 0]]


# ---- bandits


def test_a_bandit_shows_means_pulls_and_payments_so_far():
    tasks = Bandit(3, 4, "bernoulli")
    episode = Episode(torch.ones(5, 1), torch.tensor([2, 2, 0, 2]), torch.tensor([1.0, 0.0, 1.0, 1.0]))
    axes = drawn(tasks, [0.2, 0.9, 0.5], episode, 3)
    assert [bar.get_height() for bar in axes.patches] == [0.2, 0.9, 0.5]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[2] != colours[1]  # the best arm
    assert [text.get_text() for text in axes.texts] == ["×1", "×0", "×2"]
    dots, last = axes.lines
    assert dots.get_xdata().round().tolist() == [2, 2, 0]
    assert dots.get_ydata().tolist() == [1, 0, 1]
    assert last.get_xdata().round().tolist() == [0]
    assert not len(drawn(tasks, [0.2, 0.9, 0.5], episode, 0).lines[0].get_xdata())
    assert len({drawn(tasks, [0.2, 0.9, 0.5], episode, step).get_ylim() for step in range(5)}) == 1


# ---- MDPs


def test_an_mdp_shows_visited_states_transitions_and_the_optimum():
    tasks = TabularMDP(4, 2, 6)
    episode = Episode(torch.eye(4)[[0, 2, 0, 2, 2, 1, 1]], torch.zeros(6, dtype=torch.long), torch.ones(6))
    axes = drawn(tasks, [123.0], episode, 5)
    colours = [line.get_color() for line in axes.lines if line.get_marker() == "o"]
    assert colours == ["C0", "C3", "C0", "lightsteelblue"]  # now in 1; never in 3
    ends = [(text.xyann, text.xy) for text in axes.texts if hasattr(text, "xyann")]
    zero, one, two = (0, 1), (1, 0), (0, -1)
    expected = [(zero, two), (two, zero), (two, one)]
    assert [tuple(np.round(pair, 6).flatten()) for pair in ends] == [tuple(np.ravel(pair)) for pair in expected]
    widths = [text.arrow_patch.get_linewidth() for text in axes.texts if hasattr(text, "xyann")]
    assert widths[0] > widths[1] == widths[2]  # 0 → 2 twice
    loops = [line for line in axes.lines if line.get_marker() != "o"]
    assert len(loops) == 1  # 2 → 2
    best = tasks.optimal_returns(torch.tensor([[123.0]], dtype=torch.float64)).item()
    assert axes.texts[-1].get_text() == f"best policy: {best:.1f} on average"
