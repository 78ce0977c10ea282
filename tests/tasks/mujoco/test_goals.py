"""Which tasks there are, and what they pay."""

import math

import numpy as np
import pytest
import torch

from metarl_exp.tasks.mujoco.goals import Direction, Motion, Position, Velocity

MOTION = Motion(np.array([[1.0, 2.0], [-3.0, 0.5]]), np.array([2.0, -0.5]))


def test_published_directions_are_signs_of_the_papers_draws():
    """[finn2017maml]: 22 of 40 point back; the thresholds there are 1 of [0, 2] and 1.5 of [0, 3]."""
    found = Direction().published(40)[:, 0].numpy()
    for high in (2.0, 3.0):
        draws = np.random.RandomState(1).uniform(0.0, high, 40)
        np.testing.assert_array_equal(found, np.where(draws < high / 2, -1, 1))
    assert (found == -1).sum() == 22


@pytest.mark.parametrize("high", [2.0, 3.0])
def test_published_velocities_are_the_papers(high):
    found = Velocity([0.0, high], 0.0).published(40)[:, 0].numpy()
    np.testing.assert_array_equal(found, np.random.RandomState(1).uniform(0, high, 40))


def test_a_direction_is_as_often_back_as_ahead(generator):
    found = Direction().sample(4000, generator)
    assert found.dtype == torch.float64
    assert set(found[:, 0].tolist()) == {-1.0, 1.0}
    assert abs(found.mean()) < 4 / 4000**0.5


@pytest.mark.parametrize("backward", [0.0, 3 / 7, 1.0])
def test_the_share_of_tasks_that_run_back_can_be_chosen(generator, backward):
    found = (Direction(backward).sample(4000, generator) == -1).double().mean().item()
    assert found == pytest.approx(backward, abs=4 * (backward * (1 - backward) / 4000) ** 0.5)


def test_velocities_are_uniform(generator):
    found = Velocity([1.0, 3.0], 0.0).sample(4000, generator)
    assert 1 <= found.min() < 1.01
    assert 2.99 < found.max() < 3
    assert found.mean() == pytest.approx(2, abs=0.04)


def test_places_are_uniform_in_a_square_or_a_disc(generator):
    square, disc = (Position(region, 3.0, 0.0).sample(8000, generator) for region in ("square", "disc"))
    radius = disc.norm(dim=1)
    assert 2.99 < square.max() < 3 > -square.min() > 2.99
    assert radius.max() < 3
    # Half of the disc lies within 3/√2 of its centre; π/4 of the square within 3.
    assert (radius < 3 / math.sqrt(2)).double().mean() == pytest.approx(0.5, abs=0.02)
    assert (square.norm(dim=1) < 3).double().mean() == pytest.approx(math.pi / 4, abs=0.02)
    assert disc.mean(0).abs().max() < 0.07


@pytest.mark.parametrize(
    ("goal", "task", "expected"),
    [
        (Direction(), [[1.0], [-1.0]], [2.0, 0.5]),
        (Velocity([0.0, 3.0], 1.0), [[1.5], [2.0]], [1 - 0.5, 1 - 2.5]),
        (Position("disc", 3.0, 4.0), [[0.0, 0.0], [-3.0, 1.0]], [4 - 3.0, 4 - 0.5]),
    ],
)
def test_rewards(goal, task, expected):
    np.testing.assert_array_equal(goal.reward(MOTION, np.array(task)), expected)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Velocity([2.0, 1.0], 0.0), "tasks.velocity=.*low ≤ high"),
        (lambda: Velocity(3.0, 0.0), "tasks.velocity=3.0"),
        (lambda: Velocity([0.0, 1.0], "no"), "tasks.bonus='no'"),
        (lambda: Position("dics", 3.0, 0.0), r"tasks.region='dics'.*did you mean 'disc'"),
        (lambda: Position("disc", 0.0, 0.0), "tasks.extent=0.0.*> 0"),
        (lambda: Position("disc", 3.0, None), "tasks.bonus=None"),
    ],
)
def test_a_meaningless_goal_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
