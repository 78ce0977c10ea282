"""Figures of the laboratory, from numbers made up."""

import matplotlib.figure
import numpy as np
import pytest

from metarl_exp.figures import estimators


@pytest.fixture
def drawn(monkeypatch):
    """The figure that was saved, instead of files."""
    kept: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(estimators, "save", lambda figure, folder, name: kept.append(figure) or folder / name)
    return kept


def cell(estimator, alpha, size, bias, noise):
    numbers = {"bias": bias, "noise": noise, "deviation": 2.0, "error": 2.1}
    return {"estimator": estimator, "step_size": alpha, "trajectories": size, "expected": numbers, "sampled": numbers}


def test_a_bias_below_the_noise_is_hollow_and_at_the_noise(drawn, tmp_path):
    cells = [cell("a", alpha, size, bias, 0.02) for alpha in (0.1, 2.0) for size, bias in ((1, 0.5), (9, 0.01))]
    estimators.gradients(cells, ["a"], tmp_path)
    (figure,) = drawn
    assert len(figure.axes) == 2 * len(estimators.PANELS)
    line, lost = figure.axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), [0.5, 0.02])
    np.testing.assert_allclose(lost.get_xydata(), [[9, 0.02]])
    assert not len(figure.axes[-1].lines[1].get_xydata())  # no deviation is


def test_estimators_without_bias_are_not_drawn(drawn, tmp_path):
    estimators.gradients([cell("a", 0.1, size, 1e-16, 0.0) for size in (1, 2)], ["a"], tmp_path)
    assert np.isnan(drawn[0].axes[0].lines[0].get_ydata()).all()


def test_the_hessian_s_error_is_made_of_bias_and_deviation(drawn, tmp_path):
    estimators.hessians({"x": {"bias": 0.3, "deviation": 4.0}}, [1, 10], tmp_path)
    line, dotted = drawn[0].axes[0].lines
    np.testing.assert_allclose(line.get_ydata()[[0, -1]], [(0.09 + 16) ** 0.5, (0.09 + 16 / 1000) ** 0.5])
    assert set(dotted.get_ydata()) == {0.3}
