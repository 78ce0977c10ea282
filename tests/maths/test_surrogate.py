"""Surrogate losses: what their gradients are."""

import math

import pytest
import torch

from metarl_exp.maths.surrogate import log_likelihood_loss, ratio_loss

MASK = torch.tensor([[[1, 1, 1], [1, 0, 0]], [[1, 1, 0], [1, 1, 1]]], dtype=torch.bool)


def double(seed):
    return torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LOG_PROB, ADVANTAGE = double(0), double(1)


def test_values_in_closed_form():
    """−Σ log π Â / steps, and at a ratio of 2 everywhere twice minus the mean advantage."""
    expected = [-(LOG_PROB[i] * ADVANTAGE[i])[MASK[i]].mean() for i in range(2)]
    found = log_likelihood_loss(LOG_PROB, ADVANTAGE, MASK)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-14, atol=0)
    expected = [-2 * ADVANTAGE[i][MASK[i]].mean() for i in range(2)]
    found = ratio_loss(LOG_PROB + math.log(2), LOG_PROB, ADVANTAGE, MASK)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-14, atol=0)


def test_before_any_update_the_ratio_is_one_and_its_gradient_the_policy_gradient():
    """Theorem: at π = π_old both losses have the gradient −Â / steps in log π."""
    log_prob = LOG_PROB.clone().requires_grad_()
    ratio = ratio_loss(log_prob, LOG_PROB, ADVANTAGE, MASK)
    expected = [-ADVANTAGE[i][MASK[i]].mean() for i in range(2)]
    torch.testing.assert_close(ratio, torch.stack(expected), rtol=1e-14, atol=0)
    of_ratio, of_likelihood = (
        torch.autograd.grad(loss.sum(), log_prob)[0] for loss in (ratio, log_likelihood_loss(log_prob, ADVANTAGE, MASK))
    )
    steps = MASK.sum((1, 2), keepdim=True)
    torch.testing.assert_close(of_ratio, -ADVANTAGE.masked_fill(~MASK, 0) / steps, rtol=1e-14, atol=0)
    torch.testing.assert_close(of_likelihood, of_ratio, rtol=1e-14, atol=0)


def test_the_hessians_differ():
    """Log-likelihood is linear in log π, the ratio is not: what «second order» means depends on the surrogate."""

    def hessian(loss):
        return torch.autograd.functional.hessian(lambda x: loss(x).sum(), LOG_PROB).abs().sum()

    assert hessian(lambda x: log_likelihood_loss(x, ADVANTAGE, MASK)) == 0
    assert hessian(lambda x: ratio_loss(x, LOG_PROB, ADVANTAGE, MASK)) > 0


@pytest.mark.parametrize("loss", [log_likelihood_loss, lambda x, a, m: ratio_loss(x, LOG_PROB, a, m)])
def test_padding_does_not_matter(loss):
    garbage = [x.masked_fill(~MASK, 1e6) for x in (LOG_PROB, ADVANTAGE)]
    assert torch.equal(loss(*garbage, MASK), loss(LOG_PROB, ADVANTAGE, MASK))
