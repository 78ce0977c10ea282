"""Solve A x = b for a symmetric positive semi-definite A that is only known as a product."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Solution(NamedTuple):
    """Solution and diagnostics of conjugate gradient; vectors [P]."""

    x: Tensor
    curvature: float  # xᵀ A x, from the residual, without another product
    residual: float  # |b − A x| / |b|
    products: int  # how often A was applied
    nonpositive: int  # directions p with pᵀ A p ≤ 0 that were met (the search stops at the first)


def dot(a: Tensor, b: Tensor) -> float:
    """⟨a, b⟩ in float64. Not `a @ b`, whose rounding depends on the number of threads."""
    return (a.double() * b.double()).sum().item()


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float) -> Solution:
    """At most `iterations` steps from x = 0, until |b − A x| ≤ tolerance · |b|.  [nocedal2006, Alg. 5.2]

    A direction of non-positive curvature cannot come from a true Fisher matrix; it is counted and the search stops
    with what it has.
    """
    x, r, p = torch.zeros_like(b), b.clone(), b.clone()
    b_squared = r_squared = dot(b, b)
    products = nonpositive = 0
    while products < iterations and r_squared > tolerance**2 * b_squared:
        a_p = product(p)
        products += 1
        p_a_p = dot(p, a_p)
        if p_a_p <= 0:
            nonpositive += 1
            break
        step = r_squared / p_a_p
        x = x + step * p
        r = r - step * a_p
        previous, r_squared = r_squared, dot(r, r)
        p = r + (r_squared / previous) * p
    residual = (r_squared / b_squared) ** 0.5 if b_squared > 0 else 0.0
    return Solution(x, dot(x, b) - dot(x, r), residual, products, nonpositive)
