"""From arrays over seeds to lines and bands."""

import numpy as np
import pytest

from metarl_exp.figures.bands import Curve, on_common_grid, over_seeds
from metarl_exp.statistics import t_interval

NAN = np.nan


def test_a_band_is_the_t_interval_point_by_point_and_nothing_where_a_seed_has_none():
    values = np.array([[1.0, 2.0, 3.0], [2.0, 6.0, NAN], [6.0, 4.0, 5.0]])
    band = over_seeds(values)
    assert (band.mean[0], band.low[0], band.high[0]) == t_interval(values[:, 0])[:3]
    assert band.mean[:2].tolist() == [3, 4]
    assert np.isnan([band.mean[2], band.low[2], band.high[2]]).all()


def test_one_seed_has_no_band():
    band = over_seeds(np.array([[1.0, 2.0]]))
    assert band.mean.tolist() == [1, 2]
    assert not np.isfinite([band.low, band.high]).any()


def test_seeds_that_share_their_x_keep_every_point():
    x, y = np.array([[0.0, 1, 5]] * 2), np.array([[1.0, 7, 2], [3.0, NAN, 4]])
    grid, values = on_common_grid("method", Curve(x, y))
    np.testing.assert_array_equal(grid, [0, 1, 5])
    np.testing.assert_array_equal(values, y)


def test_a_straight_line_survives_any_clock():
    """Linear interpolation is exact on what is linear, wherever the seeds were looked at."""
    x = np.cumsum(np.random.default_rng(0).uniform(0.5, 2, (4, 30)), axis=1)
    grid, values = on_common_grid("method", Curve(x, 3 - 2 * x))
    assert (grid[0], grid[-1], len(grid)) == (x[:, 0].max(), x[:, -1].min(), 30)
    np.testing.assert_allclose(values, np.tile(3 - 2 * grid, (4, 1)), rtol=1e-12)


def test_padding_and_gaps_stay_what_they_are():
    """The second seed ended early (no x), and missed its middle (no y): nothing is drawn across."""
    x = np.array([[0.0, 1, 2, 3, 4], [0, 1, 2, 3, NAN]])
    y = np.array([[0.0, 0, 0, 0, 0], [0, NAN, 0, 0, NAN]])
    grid, values = on_common_grid("method", Curve(x, y))
    np.testing.assert_allclose(grid, [0, 0.75, 1.5, 2.25, 3])
    np.testing.assert_array_equal(np.isnan(values), [[False] * 5, [False, True, True, False, False]])


def test_points_are_averaged_block_by_block_and_the_last_one_may_be_smaller():
    x, y = np.arange(5.0)[None], np.array([[1.0, 3, 5, 5, 9]])
    grid, values = on_common_grid("method", Curve(x, y), average=2)
    assert grid.tolist() == [0.5, 2.5, 4]
    assert values.tolist() == [[2, 5, 9]]


@pytest.mark.parametrize(
    ("x", "y", "average", "message"),
    [
        ([[0, 1]], [[0, 1, 2]], 1, r"MAML: x has shape \[1, 2\], y \[1, 3\]: must be the same"),
        ([0, 1], [0, 1], 1, r"MAML: shape \[2\]: must be \[seeds, …\]"),
        ([[0, 1]], [[NAN, NAN]], 1, r"MAML: shape \[1, 2\].*some finite number"),
        ([[0, 1, 1]], [[0, 1, 2]], 1, "MAML: x must rise"),
        ([[0, 1], [2, 3]], [[0, 1], [0, 1]], 1, "MAML: the seeds share no range of x"),
        ([[0, 1], [NAN, NAN]], [[0, 1], [0, 1]], 1, "MAML: the seeds share no range of x"),
        ([[0, 1]], [[0, 1]], 0, "average=0: must be an integer ≥ 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(x, y, average, message):
    with pytest.raises(ValueError, match=message):
        on_common_grid("MAML", Curve(np.array(x), np.array(y)), average)
