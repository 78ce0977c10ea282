"""Gittins indices against printed tables, the restart formulation, and optimal play of two arms."""

from functools import cache

import pytest
import torch

from metarl_exp.maths.gittins import gittins_indices

# Indices after f failures (rows) and s successes (columns) from a uniform prior: the tables of [gittins2011].
PRINTED = {
    0.9: [
        [0.7029, 0.8001, 0.8452, 0.8723, 0.8905],
        [0.5001, 0.6346, 0.7072, 0.7539, 0.7869],
        [0.3796, 0.5163, 0.6010, 0.6579, 0.6996],
    ],
    0.99: [
        [0.8699, 0.9102, 0.9285, 0.9395, 0.9470],
        [0.7005, 0.7844, 0.8268, 0.8533, 0.8719],
        [0.5671, 0.6726, 0.7308, 0.7697, 0.7973],
    ],
}


@pytest.mark.parametrize(("discount", "depth"), [(0.9, 150), (0.99, 600)])
def test_the_printed_indices(discount, depth):
    printed = torch.tensor(PRINTED[discount], dtype=torch.float64)
    index = gittins_indices(discount, depth, 501)[:5, :3].T
    torch.testing.assert_close(index, printed, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("s", "f"), [(0, 0), (3, 1), (1, 4)])
def test_the_restart_formulation(s, f):
    """(1 − γ) times the value of a problem in which one may always start the arm again from (s, f).

    [katehakis1987]. Value iteration on a square of counts, whose edge is too far away to matter: 0.8⁶⁰ < 2 · 10⁻⁶.
    """
    discount, depth = 0.8, 60
    wins, losses = (1.0 + torch.arange(depth).double() + n for n in (s, f))
    p = wins[:, None] / (wins[:, None] + losses)
    value = torch.zeros(depth, depth, dtype=torch.float64)
    for _ in range(150):  # 0.8¹⁵⁰ < 10⁻¹⁴
        padded = torch.nn.functional.pad(value[None], (0, 1, 0, 1), mode="replicate")[0]
        pull = p * (1 + discount * padded[1:, :-1]) + (1 - p) * discount * padded[:-1, 1:]
        value = torch.maximum(pull, pull[0, 0])
    index = gittins_indices(discount, 80, 2001)[s, f].item()
    assert index == pytest.approx((1 - discount) * value[0, 0].item(), abs=1e-5)


def test_the_larger_index_is_the_optimal_pull():
    """The theorem: of two arms the one with the larger index, in every state that five pulls can lead to."""
    discount, depth = 0.6, 22
    index = gittins_indices(discount, 60, 2001)

    def mean(s, f):
        return (1 + s) / (2 + s + f)

    @cache
    def values(s1, f1, s2, f2):
        """Discounted sums that follow from pulling either arm first, then playing well; 0.6²² < 2 · 10⁻⁵."""
        if s1 + f1 + s2 + f2 == depth:
            return tuple(m / (1 - discount) for m in (mean(s1, f1), mean(s2, f2)))
        p, q = mean(s1, f1), mean(s2, f2)
        first = p * (1 + discount * max(values(s1 + 1, f1, s2, f2))) + (1 - p) * discount * max(
            values(s1, f1 + 1, s2, f2)
        )
        second = q * (1 + discount * max(values(s1, f1, s2 + 1, f2))) + (1 - q) * discount * max(
            values(s1, f1, s2, f2 + 1)
        )
        return first, second

    greedy_is_wrong = 0
    for s1, f1, s2, f2 in torch.cartesian_prod(*[torch.arange(4)] * 4).tolist():
        first, second = values(s1, f1, s2, f2)
        if s1 + f1 + s2 + f2 <= 5 and abs(first - second) > 1e-4:
            assert (first > second) == bool(index[s1, f1] > index[s2, f2])
            greedy_is_wrong += (first > second) != (mean(s1, f1) > mean(s2, f2))
    assert greedy_is_wrong  # otherwise the means would have done


def test_without_a_future_the_index_is_the_mean():
    s, f = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    index = gittins_indices(1e-9, 20, 101)[:9, :9]
    torch.testing.assert_close(index, ((1 + s) / (2 + s + f)).double(), rtol=0, atol=1e-6)


def test_the_index_rises_with_successes_falls_with_failures_and_is_above_the_mean():
    index, (s, f) = gittins_indices(0.95, 60, 501), torch.meshgrid(*[torch.arange(60)] * 2, indexing="ij")
    known = s + f < 60
    assert index[~known].isnan().all()
    assert (index >= (1 + s) / (2 + s + f) - 1e-9)[known].all()
    index = index[:30, :30]
    assert (index.diff(dim=0) > 0).all()
    assert (index.diff(dim=1) < 0).all()
    assert ((index > 0) & (index < 1)).all()


def test_depth_makes_indices_larger_and_then_no_difference():
    """Information after `depth` pulls is ignored, which costs something, and less with depth."""
    shallow, deep, deeper = (gittins_indices(0.97, depth, 401)[:5, :5] for depth in (30, 250, 300))
    assert (deep > shallow + 1e-4).all()
    torch.testing.assert_close(deep, deeper, rtol=0, atol=1e-4)


def test_the_resolution_costs_a_quarter_of_its_spacing_at_most():
    coarse, fine = (gittins_indices(0.9, 100, resolution)[:20, :20] for resolution in (201, 3001))
    torch.testing.assert_close(coarse, fine, rtol=0, atol=1 / 200 / 4)
