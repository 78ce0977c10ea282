"""Conjugate gradient against direct solution, and what it does where there is no minimum."""

import pytest
import torch

from metarl_exp.maths.conjugate_gradient import conjugate_gradient, dot


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(size, condition=100.0):
    """A positive definite matrix with eigenvalues from 1 to `condition`."""
    q, _ = torch.linalg.qr(double(size, size, seed=size))
    return q @ torch.diag(torch.linspace(1, condition, size, dtype=torch.float64)) @ q.T


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_solves_in_as_many_steps_as_dimensions(size):
    a, b = positive(size), double(size)
    found = conjugate_gradient(lambda v: a @ v, b, iterations=3 * size, tolerance=1e-13)
    torch.testing.assert_close(found.x, torch.linalg.solve(a, b), rtol=1e-10, atol=1e-12)
    assert found.residual <= 1e-13
    assert found.nonpositive == 0


@pytest.mark.parametrize("iterations", [1, 3, 10, 40])
def test_curvature_and_residual_are_those_of_the_solution(iterations):
    """xᵀAx and |b − Ax| / |b| without a further product, converged or not."""
    a, b = positive(20), double(20)
    found = conjugate_gradient(lambda v: a @ v, b, iterations, tolerance=1e-12)
    assert found.curvature == pytest.approx((found.x @ a @ found.x).item(), rel=1e-11)
    assert found.residual == pytest.approx(((b - a @ found.x).norm() / b.norm()).item(), rel=1e-6, abs=1e-14)


@pytest.mark.parametrize("iterations", [10, 20, 40])
def test_curvature_is_right_in_float32_where_directions_lose_their_orthogonality(iterations):
    """In exact arithmetic xᵀr = 0 and xᵀb would do; with a condition number of 1e7 it is wrong by a thousandth."""
    q, _ = torch.linalg.qr(double(20, 20, seed=20))
    a = q @ torch.diag(torch.logspace(0, 7, 20, dtype=torch.float64)) @ q.T
    found = conjugate_gradient(lambda v: (a @ v.double()).float(), double(20).float(), iterations, tolerance=0.0)
    x = found.x.double()
    assert found.curvature == pytest.approx((x @ a @ x).item(), rel=2e-5)


def test_the_first_step_is_steepest_descent():
    a, b = positive(5), double(5)
    found = conjugate_gradient(lambda v: a @ v, b, iterations=1, tolerance=0.0)
    torch.testing.assert_close(found.x, (b @ b) / (b @ a @ b) * b, rtol=1e-13, atol=0)


def test_distinct_eigenvalues_are_the_number_of_steps():
    """Three eigenvalues in ten dimensions take three products."""
    diagonal = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).repeat(4)[:10]
    found = conjugate_gradient(lambda v: diagonal * v, double(10), iterations=10, tolerance=1e-12)
    assert found.products == 3


@pytest.mark.parametrize("tolerance", [0.5, 1e-2, 1e-6])
def test_stops_at_the_tolerance(tolerance):
    a, b = positive(20), double(20)
    found = conjugate_gradient(lambda v: a @ v, b, 100, tolerance)
    before = conjugate_gradient(lambda v: a @ v, b, found.products - 1, 0.0)
    assert found.residual <= tolerance < before.residual


def test_counts_the_products():
    calls, a = [], positive(20)
    found = conjugate_gradient(lambda v: calls.append(v) or a @ v, double(20), iterations=7, tolerance=0.0)
    assert found.products == len(calls) == 7


def test_a_right_side_of_zero_is_solved_by_zero():
    """No 0/0, and no product."""
    found = conjugate_gradient(lambda v: v, torch.zeros(4), 10, 1e-10)
    assert torch.equal(found.x, torch.zeros(4))
    assert found[1:] == (0.0, 0.0, 0, 0)


@pytest.mark.parametrize("eigenvalue", [0.0, -1.0])
def test_non_positive_curvature_at_once_gives_zero_and_is_counted(eigenvalue):
    """Trap 8: neither NaN nor a step uphill."""
    found = conjugate_gradient(lambda v: eigenvalue * v, torch.ones(3), 10, 1e-10)
    assert torch.equal(found.x, torch.zeros(3))
    assert (found.curvature, found.residual, found.products, found.nonpositive) == (0.0, 1.0, 1, 1)


def test_non_positive_curvature_later_keeps_what_was_found():
    """Trap 8: one negative eigenvalue among ten; the solution so far is a descent direction."""
    a = torch.diag(torch.cat([torch.linspace(1, 9, 9), torch.tensor([-0.5])])).double()
    b = torch.ones(10, dtype=torch.float64)
    found = conjugate_gradient(lambda v: a @ v, b, 100, 1e-12)
    assert found.nonpositive == 1
    assert 1 < found.products < 100
    assert found.x.isfinite().all()
    assert found.curvature == pytest.approx((found.x @ a @ found.x).item(), rel=1e-10)
    assert found.curvature > 0
    assert found.x @ b > 0


def test_dot_is_summed_in_float64():
    """Trap 23: float32 products, 1e8 + 1 − 1e8 without loss."""
    a = torch.tensor([1e8, 1.0, -1e8])
    assert dot(a, torch.ones(3)) == 1.0
