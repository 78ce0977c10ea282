"""Sparse navigation: where goals are, what they pay, and that nothing else tells of them."""

import math

import pytest
import torch

from metarl_exp.tasks import FourCorners, HalfCircle
from metarl_exp.tasks.base import DrawsFrames, DrawsPaths

CORNERS = FourCorners(horizon=40, corner=2.0, radius=1.0, max_move=0.2)
CIRCLE = HalfCircle(horizon=20, distance=1.0, radius=0.3, max_move=0.1)


def paid(distribution, goal, moves):
    """Rewards and successes [T] of one episode with these outputs of a policy [T, 2]."""
    env = distribution.make_env(torch.tensor([goal]).double(), 1, torch.Generator(), torch.device("cpu"))
    assert env.reset().tolist() == [[[0.0, 0.0]]]
    steps = [env.step(torch.tensor([[move]])) for move in moves]
    assert not any((step.terminal | step.truncated).any() for step in steps)
    return [step.reward.item() for step in steps], [step.success.item() for step in steps]


def test_a_corner_pays_within_its_radius_and_others_do_not():
    rewards, successes = paid(CORNERS, (2.0, 2.0), [(1.0, 1.0)] * 12)
    distances = [math.hypot(2 - 0.2 * t, 2 - 0.2 * t) for t in range(1, 13)]
    assert rewards == pytest.approx([max(0.0, 1 - d) for d in distances], abs=1e-5)
    assert rewards[9] == pytest.approx(1.0, abs=1e-5)
    assert successes == [d < 0.5 for d in distances]
    for other in ((-2.0, 2.0), (2.0, -2.0), (-2.0, -2.0)):
        assert paid(CORNERS, other, [(1.0, 1.0)] * 12)[0] == [0.0] * 12


def test_a_move_is_at_most_max_move_along_each_axis():
    assert paid(CORNERS, (2.0, 2.0), [(5.0, 9.0)] * 10) == paid(CORNERS, (2.0, 2.0), [(1.0, 1.0)] * 10)


def test_corners_are_as_likely_and_test_tasks_go_through_them(generator):
    sampled = CORNERS.sample(4000, generator)
    assert sampled.dtype == torch.float64
    found, counts = sampled.unique(dim=0, return_counts=True)
    assert found.tolist() == [[-2, -2], [-2, 2], [2, -2], [2, 2]]
    assert ((counts / 4000 - 0.25).abs() < 4 * (0.25 * 0.75 / 4000) ** 0.5).all()
    assert {tuple(row) for row in CORNERS.test_tasks(4, generator).tolist()} == {tuple(row) for row in found.tolist()}
    assert torch.equal(CORNERS.test_tasks(6, generator)[4:], CORNERS.test_tasks(2, generator))


def test_goals_are_uniform_on_the_upper_half_circle(generator):
    goals = CIRCLE.sample(4000, generator)
    angles = torch.atan2(goals[:, 1], goals[:, 0])
    torch.testing.assert_close(goals.norm(dim=1), torch.ones(4000, dtype=torch.float64))
    assert 0 <= angles.min() < 0.01
    assert math.pi - 0.01 < angles.max() <= math.pi
    assert angles.mean().item() == pytest.approx(math.pi / 2, abs=4 * math.pi / 12**0.5 / 4000**0.5)


def test_the_way_to_a_goal_is_paid_near_it_alone():
    rewards, successes = paid(CIRCLE, (0.0, 1.0), [(0.0, 1.0)] * 12)
    assert rewards[:7] == pytest.approx([0.0] * 7, abs=1e-5)
    assert rewards[7:] == pytest.approx([1 / 3, 2 / 3, 1.0, 2 / 3, 1 / 3], abs=1e-5)
    assert successes == [False] * 8 + [True] * 3 + [False]


@pytest.mark.parametrize("distribution", [CORNERS, CIRCLE])
def test_paths_can_be_drawn(distribution):
    assert isinstance(distribution, DrawsPaths)
    assert isinstance(distribution, DrawsFrames)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: FourCorners(0, 2.0, 1.0, 0.2), "horizon"),
        (lambda: FourCorners(40, 0.0, 1.0, 0.2), "corner"),
        (lambda: FourCorners(40, 2.0, -1.0, 0.2), "radius"),
        (lambda: HalfCircle(20, 1.0, 0.3, 0.0), "max_move"),
        (lambda: HalfCircle(20, -1.0, 0.3, 0.1), "distance"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, field):
    with pytest.raises(ValueError, match=f"^tasks.{field}="):
        make()
