"""Which tasks there are."""

import numpy as np
import pytest
import torch

from metarl_exp.tasks.mujoco.goals import Direction, Velocity


def test_published_directions_are_signs_of_the_papers_draws():
    """[finn2017maml]: 22 of 40 point back; the thresholds there are 1 of [0, 2] and 1.5 of [0, 3]."""
    found = Direction().published(40)[:, 0].numpy()
    for high in (2.0, 3.0):
        draws = np.random.RandomState(1).uniform(0.0, high, 40)
        np.testing.assert_array_equal(found, np.where(draws < high / 2, -1, 1))
    assert (found == -1).sum() == 22


def test_published_velocities_are_the_papers():
    found = Velocity([0.0, 2.0]).published(40)[:, 0].numpy()
    np.testing.assert_array_equal(found, np.random.RandomState(1).uniform(0, 2, 40))


def test_draws(generator):
    directions = Direction().sample(4000, generator)
    assert directions.dtype == torch.float64
    assert set(directions[:, 0].tolist()) == {-1.0, 1.0}
    assert abs(directions.mean()) < 4 / 4000**0.5
    velocities = Velocity([1.0, 3.0]).sample(4000, generator)
    assert velocities.min() >= 1
    assert velocities.max() < 3
    assert velocities.mean() == pytest.approx(2, abs=0.04)


@pytest.mark.parametrize(("value", "match"), [([2.0, 1.0], "tasks.velocity"), (3.0, "tasks.velocity")])
def test_a_range_that_is_none_is_refused(value, match):
    with pytest.raises(ValueError, match=match):
        Velocity(value)
