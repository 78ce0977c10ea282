"""Means that say over what."""

import torch

from metarl_exp.maths.reductions import masked_mean

X = torch.tensor([[[1.0, 2.0, 3.0], [10.0, torch.nan, torch.nan]], [[1.0, torch.inf, 7.0], [5.0, 5.0, 5.0]]])
MASK = torch.tensor([[[1, 1, 1], [1, 0, 0]], [[1, 0, 0], [1, 1, 1]]], dtype=torch.bool)


def test_every_step_that_happened_weighs_the_same():
    """Trap 5: (1 + 2 + 3 + 10) / 4 and (1 + 5 + 5 + 5) / 4, whatever stands in the padding."""
    assert masked_mean(X, MASK).tolist() == [4.0, 4.0]


def test_the_mean_of_episode_means_is_another_number():
    """Trap 5: it would be (2 + 10) / 2 and (1 + 5) / 2."""
    per_episode = torch.stack([masked_mean(X[:, j], MASK[:, j]) for j in range(2)], dim=1)
    assert per_episode.mean(1).tolist() == [6.0, 3.0]


def test_padding_has_no_gradient_and_valid_steps_share_it_equally():
    x = torch.ones(2, 2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(masked_mean(x, MASK).sum(), x)
    assert torch.equal(gradient, MASK / 4)
