"""Cosines between gradients of tasks, and gradients projected off each other."""

import math

import pytest
import torch

from metarl_exp.maths.interference import cosines, pcgrad


def gradients(seed, tasks=4, size=6):
    return torch.randn(tasks, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cosines_of_all_pairs_by_hand():
    found = cosines(torch.tensor([[1.0, 0.0], [3.0, 3.0], [-2.0, 0.0], [0.0, 0.0]]))
    half = math.sqrt(0.5)
    torch.testing.assert_close(found, torch.tensor([half, -1.0, 0.0, -half, 0.0, 0.0]))


def test_gradients_that_agree_are_left_alone():
    agreeing = gradients(0).abs()
    assert torch.equal(pcgrad(agreeing), agreeing.mean(0))


def test_a_single_task_and_gradients_of_zero_are_left_alone():
    assert torch.equal(pcgrad(gradients(1)[:1]), gradients(1)[0])
    assert torch.equal(pcgrad(torch.zeros(3, 2)), torch.zeros(2))


def test_two_that_conflict_by_hand():
    """g = (1, 0), h = (−1, 1): g loses ⟨g, h⟩ / |h|² h = −h/2, h loses −g."""
    found = pcgrad(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    torch.testing.assert_close(found, (torch.tensor([0.5, 0.5]) + torch.tensor([0.0, 1.0])) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_one_task_after_the_other_as_the_paper_writes_it(seed):
    found, expected = gradients(seed), []
    for i in range(4):
        mine = found[i].clone()
        for shift in range(1, 4):
            other = found[(i + shift) % 4]
            if mine @ other < 0:
                mine -= (mine @ other) / (other @ other) * other
        expected.append(mine)
    torch.testing.assert_close(pcgrad(found), torch.stack(expected).mean(0), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_neither_of_two_tasks_is_made_worse(seed):
    """To first order: the projected sum has no negative product with either gradient [yu2020pcgrad, Sec. 2.3]."""
    two = gradients(seed, tasks=2)
    assert (two @ pcgrad(two) >= -1e-12).all()
