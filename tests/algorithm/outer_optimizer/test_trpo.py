"""TRPO on functions whose every step is known, and on the real one."""

from types import SimpleNamespace

import pytest
import torch

from metarl_exp.algorithm.objective import Evaluated
from metarl_exp.algorithm.outer_optimizer import TRPO

SETTINGS = {
    "max_kl": 0.01,
    "cg_iterations": 20,
    "cg_damping": 0.0,
    "cg_tolerance": 1e-12,
    "backtrack_ratio": 0.5,
    "max_backtracks": 10,
    "curvature": "same",
}


def trpo(**settings):
    return TRPO(**SETTINGS | settings)


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Quadratic:
    """F(θ) = ⟨g, θ − θ_old⟩ · slope and KL = stretch · ½ (θ − θ_old)ᵀ A (θ − θ_old), of which A is the model.

    With the default stretch the model is a little too careful, so that the longest step is inside by more than
    rounding; `slope` is what F really does along the gradient that it reports.
    """

    adaptation = SimpleNamespace(order="second")

    def __init__(self, stretch=1 - 1e-9, slope=1.0, gradient=None):
        self.theta, self.loss = double(6), 3.0
        self.losses = torch.tensor([3.0], dtype=torch.float64)
        self.g = double(6, seed=1) if gradient is None else gradient
        root = double(6, 6, seed=2)
        self.a = root @ root.T + torch.eye(6, dtype=torch.float64)
        self.stretch, self.slope, self.orders, self.evaluations = stretch, slope, [], 0

    def gradient(self):
        return self.g

    def curvature(self, order):
        self.orders.append(order)
        return lambda v: self.a @ v

    def evaluate(self, theta):
        self.evaluations += 1
        moved = theta - self.theta
        return Evaluated(
            self.losses + self.slope * (self.g @ moved), self.stretch * 0.5 * (moved @ self.a @ moved).item()
        )

    def natural_step(self, max_kl, damping=0.0):
        """−√(2δ / xᵀBx) x for B x = g, B = A + damping."""
        b = self.a + damping * torch.eye(6, dtype=torch.float64)
        x = torch.linalg.solve(b, self.g)
        return -((2 * max_kl / (x @ b @ x)) ** 0.5) * x


@pytest.mark.parametrize("max_kl", [1e-4, 0.01, 1.0])
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_the_step_is_the_natural_gradient_s_up_to_the_trust_region(max_kl, damping):
    function = Quadratic()
    theta, report = trpo(max_kl=max_kl, cg_damping=damping).step(function)
    step = function.natural_step(max_kl, damping)
    torch.testing.assert_close(theta - function.theta, step, rtol=1e-9, atol=1e-12)
    assert report["line_search/accepted"] == 1
    assert report["line_search/backtracks"] == 0
    assert report["outer/kl"] <= max_kl
    if not damping:
        assert report["outer/kl"] == pytest.approx(max_kl, rel=1e-8)


@pytest.mark.parametrize(("stretch", "backtracks"), [(0.9, 0), (1.1, 1), (3.9, 1), (4.1, 2), (16.1, 3)])
def test_backtracks_until_the_kl_holds(stretch, backtracks):
    """At half the length the KL is a quarter: stretched by s it holds after ⌈log₄ s⌉ halvings."""
    function = Quadratic(stretch)
    theta, report = trpo().step(function)
    expected = 0.5**backtracks * function.natural_step(0.01)
    torch.testing.assert_close(theta - function.theta, expected, rtol=1e-9, atol=1e-12)
    assert report["line_search/backtracks"] == backtracks
    assert report["outer/kl"] == pytest.approx(stretch * 0.01 * 0.25**backtracks, rel=1e-8)
    assert report["outer/kl"] <= 0.01


def test_the_report_says_what_happened():
    function = Quadratic()
    theta, report = trpo().step(function)
    assert report["outer/gradient_norm"] == pytest.approx(function.g.norm().item(), rel=1e-14)
    assert report["outer/loss_before"] == 3.0
    assert report["outer/loss_after"] == function.evaluate(theta).loss < 3.0
    assert report["outer/kl"] == function.evaluate(theta).kl
    assert report["cg/products"] == 6
    assert report["cg/residual"] < 1e-10
    assert report["cg/nonpositive_curvature"] == 0


def rejected(function, backtracks, **settings):
    """Trap 8: θ is where it was, to the bit, and the report says so."""
    theta, report = trpo(**settings).step(function)
    assert torch.equal(theta, function.theta)
    assert report["line_search/accepted"] == 0
    assert report["line_search/backtracks"] == function.evaluations == backtracks
    assert report["outer/loss_after"] == report["outer/loss_before"] == function.loss
    assert report["outer/kl"] == 0
    return report


@pytest.mark.parametrize("slope", [0.0, -1.0, float("nan")])
def test_a_loss_that_never_falls_leaves_theta_and_is_reported(slope):
    rejected(Quadratic(slope=slope), backtracks=10)


@pytest.mark.parametrize("stretch", [1e9, float("nan")])
def test_a_kl_that_never_holds_leaves_theta_and_is_reported(stretch):
    rejected(Quadratic(stretch=stretch), backtracks=10)


def test_the_line_search_has_as_many_tries_as_it_was_given():
    rejected(Quadratic(stretch=16.1), backtracks=3, max_backtracks=3)
    assert trpo(max_backtracks=4).step(Quadratic(stretch=16.1))[1]["line_search/accepted"] == 1


def test_a_gradient_of_zero_is_no_error():
    """Trap 8: nothing to improve: no product, no division by zero."""
    report = rejected(Quadratic(gradient=torch.zeros(6, dtype=torch.float64)), backtracks=0)
    assert report["cg/products"] == 0


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_non_positive_curvature_leaves_theta_and_is_counted(scale):
    """Trap 8: no square root of a negative number."""
    function = Quadratic()
    function.a = scale * function.a
    assert rejected(function, backtracks=0)["cg/nonpositive_curvature"] == 1


@pytest.mark.parametrize(
    ("curvature", "adaptation", "used"),
    [
        ("same", "first", "first"),
        ("same", "second", "second"),
        ("first", "second", "first"),
        ("second", "first", "second"),
    ],
)
def test_the_curvature_has_the_order_asked_for(curvature, adaptation, used):
    function = Quadratic()
    function.adaptation = SimpleNamespace(order=adaptation)
    trpo(curvature=curvature).step(function)
    assert function.orders == [used]


# ---- the real function


@pytest.mark.parametrize("discrete", [False, True], ids=["gaussian", "categorical"])
@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("max_kl", [1e-4, 0.01, 1.0])
def test_after_a_step_the_kl_holds_and_the_loss_is_lower_or_theta_is_unchanged(
    problem, optimizer, order, discrete, max_kl
):
    """Trap 8, on a meta-batch; the values reported are the oracle's."""
    p = problem(optimizer, 2, order=order, discrete=discrete)
    theta, report = trpo(max_kl=max_kl, cg_damping=1e-3, cg_iterations=10).step(p.function)
    assert theta.isfinite().all()
    if report["line_search/accepted"]:
        leaf = theta.clone().requires_grad_()
        assert p.oracle.kl(leaf).item() == pytest.approx(report["outer/kl"], rel=1e-9)
        assert p.oracle.outer_loss(leaf).item() == pytest.approx(report["outer/loss_after"], rel=1e-9)
        assert 0 < report["outer/kl"] <= max_kl
        assert report["outer/loss_after"] < report["outer/loss_before"]
    else:
        assert torch.equal(theta, p.function.theta)
    if max_kl < 1e-3:  # so close to θ_old the models are good
        assert report["line_search/accepted"]


def test_for_a_small_trust_region_the_kl_is_what_the_quadratic_model_says(problem, optimizer):
    """One try, no damping: the ratio of the KL to its bound tends to one."""
    p = problem(optimizer, 1, hidden=())
    _, report = trpo(max_kl=1e-8, cg_iterations=30, max_backtracks=2).step(p.function)
    ratio = report["outer/kl"] / 1e-8 * 4 ** report["line_search/backtracks"]
    assert ratio == pytest.approx(1, rel=0.01)


def test_has_no_state():
    optimizer = trpo()
    assert optimizer.state_dict() == {}
    optimizer.load_state_dict({})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_kl", 0.0),
        ("max_kl", float("nan")),
        ("cg_iterations", 0),
        ("cg_iterations", 10.0),
        ("cg_damping", -1e-5),
        ("cg_tolerance", -1.0),
        ("backtrack_ratio", 0.0),
        ("backtrack_ratio", 1.1),
        ("max_backtracks", 0),
        ("curvature", "third"),
        ("curvature_products", "secant"),
    ],
)
def test_settings_that_mean_nothing_are_refused(field, value):
    with pytest.raises(ValueError, match=rf"outer_optimizer\.{field}="):
        trpo(**{field: value})


def test_the_step_by_finite_differences_solves_with_their_products(problem):
    """The KL keeps to its bound, and the direction is nearly the exact one."""
    p = problem("sgd", 1, hidden=())
    settings = {"max_kl": 1e-8, "cg_iterations": 30, "max_backtracks": 2}
    exact, _ = trpo(**settings).step(p.function)
    theta, report = trpo(**settings, curvature_products="finite_difference").step(p.function)
    assert report["outer/kl"] <= 1e-8
    assert report["cg/products"] == 30
    assert torch.cosine_similarity(exact - p.function.theta, theta - p.function.theta, dim=0) > 0.5
    with pytest.raises(ValueError, match="curvature=first with outer_optimizer.curvature_products=finite_difference"):
        trpo(curvature="first", curvature_products="finite_difference")


def test_the_curvature_of_a_fraction_is_that_of_the_part():
    whole, asked = Quadratic(), []
    whole.part = lambda fraction: asked.append(fraction) or SimpleNamespace(curvature=lambda order: lambda v: 4 * v)
    theta, _ = trpo(curvature_fraction=0.25).step(whole)
    assert asked == [0.25]
    moved = theta - whole.theta
    assert torch.allclose(
        moved / moved.norm(), -whole.g / whole.g.norm()
    )  # the direction of a multiple of the identity
    with pytest.raises(ValueError, match="curvature_fraction=0"):
        trpo(curvature_fraction=0)
