"""The linear feature baseline against scipy, and where it could break."""

import numpy as np
import pytest
import scipy.linalg
import torch

from metarl_exp.maths.baseline import features, fit_ridge, predict

LENGTHS = torch.tensor([[6, 3, 8], [8, 5, 1]])
MASK = torch.arange(8) < LENGTHS.unsqueeze(-1)
RIDGE = 1e-5


def double(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


INPUTS = features(double(2, 3, 8, 2, seed=0), torch.arange(8))
TARGETS = double(2, 3, 8, seed=1)


def test_features_are_the_published_ones():
    """[o, o², t/100, (t/100)², (t/100)³, 1] with o clipped to ±10, in float64."""
    found = features(torch.tensor([[[[0.5, -20.0]]]]), torch.tensor([50]))
    expected = torch.tensor([0.5, -10.0, 0.25, 100.0, 0.5, 0.25, 0.125, 1.0], dtype=torch.float64)
    assert torch.equal(found[0, 0, 0], expected)


def test_weights_are_scipy_s_ridge_solution_of_each_task():
    """min |X w − y|² + ridge |w|² as least squares on rows extended by √ridge I."""
    found = fit_ridge(INPUTS, TARGETS, MASK, RIDGE)
    for task in range(2):
        x, y = INPUTS[task][MASK[task]].numpy(), TARGETS[task][MASK[task]].numpy()
        size = x.shape[1]
        rows, goal = np.vstack([x, RIDGE**0.5 * np.eye(size)]), np.concatenate([y, np.zeros(size)])
        expected, *_ = scipy.linalg.lstsq(rows, goal)
        predicted = predict(INPUTS[task : task + 1], found[task : task + 1])[0][MASK[task]]
        np.testing.assert_allclose(predicted, x @ expected, rtol=0, atol=1e-8)


def test_padding_does_not_matter():
    """Trap 6: not garbage, not NaN, not more of it."""
    expected = fit_ridge(INPUTS, TARGETS, MASK, RIDGE)
    garbage = fit_ridge(
        INPUTS.masked_fill(~MASK.unsqueeze(-1), torch.nan), TARGETS.masked_fill(~MASK, 1e9), MASK, RIDGE
    )
    assert torch.equal(garbage, expected)
    wider = [torch.cat([x, x], dim=2) for x in (INPUTS, TARGETS)]
    mask = torch.cat([MASK, torch.zeros_like(MASK)], dim=2)
    # A pivot more or less changes the order of summation: the fit, not the weights, is what is determined.
    torch.testing.assert_close(
        predict(INPUTS, fit_ridge(*wider, mask, RIDGE)), predict(INPUTS, expected), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e6])
def test_constant_observations_give_finite_weights_that_still_fit(value):
    """Trap 6: columns that are equal up to a factor; the constant target is fitted all the same."""
    inputs = features(torch.full((1, 3, 8, 2), value), torch.arange(8))
    mask = MASK[:1]
    weights = fit_ridge(inputs, torch.full((1, 3, 8), 4.0), mask, RIDGE)
    assert weights.isfinite().all()
    torch.testing.assert_close(predict(inputs, weights)[mask].float(), torch.full((17,), 4.0), rtol=0, atol=1e-3)


def test_fewer_steps_than_features_give_finite_weights():
    """Trap 6: one step of one episode, eight features."""
    mask = torch.zeros_like(MASK)
    mask[:, 0, 0] = True
    weights = fit_ridge(INPUTS, TARGETS, mask, RIDGE)
    assert weights.isfinite().all()
    torch.testing.assert_close(predict(INPUTS, weights)[mask], TARGETS[mask], rtol=1e-4, atol=1e-4)


def test_the_ridge_shrinks():
    small, large = (fit_ridge(INPUTS, TARGETS, MASK, ridge).norm() for ridge in (1e-5, 1e3))
    assert large < 0.1 * small


def test_predictions_use_the_weights_of_their_own_task():
    weights = torch.zeros(2, INPUTS.shape[-1], dtype=torch.float64)
    weights[:, -1] = torch.tensor([1.0, 2.0])
    assert torch.equal(predict(INPUTS, weights), torch.tensor([1.0, 2.0]).double().view(2, 1, 1).expand(2, 3, 8))
