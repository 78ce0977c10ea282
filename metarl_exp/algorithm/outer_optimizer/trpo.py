"""Trust-region policy optimisation of the meta-parameters.  [schulman2015trpo, App. C; finn2017maml, Alg. 3]"""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from metarl_exp.algorithm.adaptation import ORDERS
from metarl_exp.algorithm.objective import Evaluated, MetaFunction
from metarl_exp.algorithm.outer_optimizer.report import report
from metarl_exp.maths.conjugate_gradient import Solution, conjugate_gradient
from metarl_exp.validation import require_choice, require_integer, require_number


class TRPO:
    """Minimise F(θ) subject to KL ≤ `max_kl` (nats) between old and new *post-update* policies.

    The direction solves (∇²KL + `cg_damping`) x = ∇F by conjugate gradient; its length is the longest the quadratic
    model of the KL allows, shortened by `backtrack_ratio` until F falls and the KL holds. If none of the
    `max_backtracks` lengths will do, θ stays and the report says so. `curvature` is the order of ∇²KL: `same` as the
    adaptation's, `first` or `second`; with a `curvature_fraction` below 1 it is measured on that part of each task's
    trajectories, before and after adaptation, while F and the line search's KL are of all.  [schulman2015trpo, App. C]
    `curvature_products` are `exact`, or by `finite_difference` of the KL's gradient over a large step, as in
    [finn2017maml, code]; these have the adaptation's order.
    """

    uses_curvature, repeats = True, False

    def __init__(
        self,
        max_kl: float,
        cg_iterations: int,
        cg_damping: float,
        cg_tolerance: float,
        backtrack_ratio: float,
        max_backtracks: int,
        curvature: str,
        curvature_fraction: float = 1.0,
        curvature_products: str = "exact",
    ) -> None:
        require_number("outer_optimizer.max_kl", max_kl, above=0)
        require_integer("outer_optimizer.cg_iterations", cg_iterations, low=1)
        require_number("outer_optimizer.cg_damping", cg_damping, low=0)
        require_number("outer_optimizer.cg_tolerance", cg_tolerance, low=0)
        require_number("outer_optimizer.backtrack_ratio", backtrack_ratio, above=0, below=1)
        require_integer("outer_optimizer.max_backtracks", max_backtracks, low=1)
        require_choice("outer_optimizer.curvature", curvature, ["same", *ORDERS])
        self.max_kl, self.cg_iterations, self.cg_damping = max_kl, cg_iterations, cg_damping
        self.cg_tolerance, self.backtrack_ratio, self.max_backtracks = cg_tolerance, backtrack_ratio, max_backtracks
        require_number("outer_optimizer.curvature_fraction", curvature_fraction, above=0, high=1)
        require_choice("outer_optimizer.curvature_products", curvature_products, ["exact", "finite_difference"])
        if curvature_products == "finite_difference" and curvature != "same":
            raise ValueError(
                f"outer_optimizer.curvature={curvature} with outer_optimizer.curvature_products=finite_difference: the "
                "difference is of gradients of the adaptation's order; take curvature=same"
            )
        self.curvature, self.curvature_fraction = curvature, curvature_fraction
        self.curvature_products = curvature_products

    def step(self, function: MetaFunction) -> tuple[Tensor, dict[str, float]]:
        """The next θ [P] and the report."""
        gradient = function.gradient()
        solution = self._solve(self._curvature(function), gradient)
        theta, after, searched = self._line_search(function, solution.x, solution.curvature)
        return theta, {
            **report(function, gradient, after),
            "cg/products": float(solution.products),
            "cg/residual": solution.residual,
            "cg/nonpositive_curvature": float(solution.nonpositive),
            **searched,
        }

    def _curvature(self, function: MetaFunction) -> Callable[[Tensor], Tensor]:
        """Products with ∇²KL."""
        measured = function if self.curvature_fraction == 1 else function.part(self.curvature_fraction)
        if self.curvature_products == "finite_difference":
            return measured.finite_difference_curvature()
        return measured.curvature(function.adaptation.order if self.curvature == "same" else self.curvature)

    def _solve(self, curvature: Callable[[Tensor], Tensor], gradient: Tensor) -> Solution:
        """The direction. What the products keep is free again when this is done."""

        def damped(vector: Tensor) -> Tensor:
            return curvature(vector) + self.cg_damping * vector

        return conjugate_gradient(damped, gradient, self.cg_iterations, self.cg_tolerance)

    def _line_search(
        self, function: MetaFunction, direction: Tensor, curvature: float
    ) -> tuple[Tensor, Evaluated, dict[str, float]]:
        """The first of the shrinking steps against `direction` that lowers F inside the trust region, or none."""
        longest = math.sqrt(2 * self.max_kl / curvature) if curvature > 0 else 0.0
        for backtracks in range(self.max_backtracks if longest else 0):
            length = longest * self.backtrack_ratio**backtracks
            theta = function.theta - length * direction
            after = function.evaluate(theta)
            if after.loss < function.loss and after.kl <= self.max_kl:
                return theta, after, {"line_search/accepted": 1.0, "line_search/backtracks": float(backtracks)}
        backtracks = float(self.max_backtracks if longest else 0)
        stayed = Evaluated(function.losses.detach(), 0.0)
        return function.theta, stayed, {"line_search/accepted": 0.0, "line_search/backtracks": backtracks}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: every step starts afresh."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
