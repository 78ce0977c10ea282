"""Action distributions against `torch.distributions`, closed forms and their own definitions."""

import math

import pytest
import torch
from torch import distributions as td

from metarl_exp.maths.distributions import Categorical, DiagonalGaussian, bounded_log_std

SHAPE = (2, 3, 5)  # [N, M, T]


def gaussian(size, generator):
    mean, log_std = torch.randn(2, *SHAPE, size, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, log_std), td.Independent(td.Normal(mean, log_std.exp()), 1)


def categorical(size, generator):
    logits = 2 * torch.randn(*SHAPE, size, generator=generator, dtype=torch.float64)
    return Categorical(logits), td.Categorical(logits=logits)


KINDS = [(gaussian, 1), (gaussian, 2), (gaussian, 3), (categorical, 2), (categorical, 4)]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0].__name__}-{kind[1]}")
def pair(request, generator):
    """((p, q), the oracle's (p, q)) of every kind and size."""
    draw, size = request.param
    return tuple(zip(*(draw(size, generator) for _ in range(2)), strict=True))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_log_probability_is_summed_over_dimensions(size):
    """Trap 4, in closed form: one deviation from the mean in each of A dimensions of deviation e."""
    p = DiagonalGaussian(torch.zeros(size, dtype=torch.float64), torch.ones(size, dtype=torch.float64))
    expected = size * (-0.5 - 1 - 0.5 * math.log(2 * math.pi))
    assert p.log_prob(p.mean + math.e).item() == pytest.approx(expected, rel=1e-14)


def test_log_probability_is_torch_s(pair, generator):
    (p, _), (oracle, _) = pair
    action = p.sample(p.noise(SHAPE, p[0].shape[-1], generator).double())
    torch.testing.assert_close(p.log_prob(action), oracle.log_prob(action), rtol=1e-12, atol=1e-12)
    assert p.log_prob(action).shape == SHAPE


def test_kl_is_torch_s_and_never_negative(pair):
    (p, q), (oracle_p, oracle_q) = pair
    torch.testing.assert_close(p.kl(q), td.kl_divergence(oracle_p, oracle_q), rtol=1e-11, atol=1e-12)
    assert (p.kl(q) > 0).all()


def test_kl_of_a_distribution_to_itself_is_exactly_zero(pair):
    """Trap 8: no rounding turns it into a bug report."""
    (p, _), _ = pair
    assert torch.equal(p.kl(p), torch.zeros(SHAPE, dtype=torch.float64))


def test_entropy_is_torch_s(pair):
    (p, _), (oracle, _) = pair
    torch.testing.assert_close(p.entropy(), oracle.entropy(), rtol=1e-12, atol=1e-12)


def test_mode_has_the_highest_probability(pair, generator):
    (p, _), (oracle, _) = pair
    noise = p.noise((1000, *SHAPE), p[0].shape[-1], generator).double()
    assert (oracle.log_prob(p.mode()) >= oracle.log_prob(p.sample(noise))).all()


def test_fisher_product_is_the_hessian_of_the_kl(pair, generator):
    """∇²_x KL(p ‖ p_x) at x = the outputs of p, applied to a tangent."""
    (p, _), _ = pair
    row = type(p)(*(x[0, 0, 0] for x in p))
    tangent = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in row]
    _, expected = torch.autograd.functional.hvp(lambda *x: row.kl(type(row)(*x)), tuple(row), tuple(tangent))
    found = row.fisher_product(type(row)(*tangent))
    torch.testing.assert_close(tuple(found), tuple(expected), rtol=1e-11, atol=1e-12)


def test_fisher_product_is_the_covariance_of_the_score():
    """The other definition, enumerated: E[s sᵀ] v with s = ∇ log p."""
    logits = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)
    scores = torch.eye(len(logits), dtype=logits.dtype) - logits.softmax(-1)
    v = torch.arange(len(logits), dtype=logits.dtype)
    expected = torch.einsum("a,ai,aj,j->i", logits.softmax(-1), scores, scores, v)
    (found,) = Categorical(logits).fisher_product(Categorical(v))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


# ---- sampling


def test_gaussian_samples_have_its_mean_and_covariance(generator):
    """200 000 draws; the bounds are five standard errors."""
    n, mean, std = 200_000, torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    noise = DiagonalGaussian.noise((n,), 2, generator)
    sample = DiagonalGaussian(mean.expand(n, 2), std.log().expand(n, 2)).sample(noise)
    assert ((sample.mean(0) - mean).abs() < 5 * std / n**0.5).all()
    covariance = torch.cov(sample.T) / torch.outer(std, std)
    assert (covariance - torch.eye(2)).abs().max() < 5 * (2 / n) ** 0.5


def test_categorical_samples_have_its_frequencies(generator):
    """200 000 draws; the bounds are five standard errors."""
    n, p = 200_000, torch.tensor([0.6, 0.3, 0.1])
    sample = Categorical(p.log().expand(n, 3)).sample(Categorical.noise((n,), 3, generator))
    assert sample.dtype == torch.int64
    frequency = sample.bincount(minlength=3) / n
    assert ((frequency - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()


def test_the_noise_has_no_infinities_even_where_the_uniform_draw_is_zero(monkeypatch):
    """A draw of exactly 0 would be −∞, and −∞ plus a logit of +∞ not a number."""
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.tensor([[0.0, 1 - 2**-53]], dtype=torch.float64))
    assert Categorical.noise((1,), 2, torch.Generator()).isfinite().all()


def test_noise_comes_from_the_generator_alone(pair):
    (p, _), _ = pair
    first, second = (p.noise((4,), 3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, p.noise((4,), 3, torch.Generator().manual_seed(2)))
    assert first.shape == (4, 3)


# ---- bounded_log_std

LOW, HIGH = math.log(1e-6), math.log(10.0)
ENDS = [side * 10.0**power for side in (-1, 1) for power in range(2, 7)]


def test_the_bounded_log_std_is_the_identity_in_the_working_range():
    raw = torch.linspace(LOW + 1, HIGH - 1, 101, dtype=torch.float64, requires_grad=True)
    bounded = bounded_log_std(raw, LOW, HIGH)
    assert torch.equal(bounded, raw)
    assert torch.equal(torch.autograd.grad(bounded.sum(), raw)[0], torch.ones(101, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("raw", [*ENDS, -1e9, 1e9])
def test_the_bounded_log_std_stays_inside_and_can_come_back(raw, dtype):
    """Trap 7, at both ends: in [low, high] with a positive slope, so that no parameter sticks."""
    x = torch.tensor(raw, dtype=dtype, requires_grad=True)
    bounded = bounded_log_std(x, LOW, HIGH)
    low, high = torch.tensor([LOW, HIGH], dtype=dtype)
    assert low <= bounded <= high
    assert torch.autograd.grad(bounded, x)[0] > 0


def test_the_bounded_log_std_rises_smoothly():
    """Strictly increasing over both joints, slope 1 / (1 + excess)² as documented."""
    raw = torch.linspace(LOW - 3, HIGH + 3, 2001, dtype=torch.float64, requires_grad=True)
    bounded = bounded_log_std(raw, LOW, HIGH)
    assert (bounded.diff() > 0).all()
    excess = (raw - raw.clamp(LOW + 1, HIGH - 1)).abs().detach()
    torch.testing.assert_close(torch.autograd.grad(bounded.sum(), raw)[0], (1 + excess) ** -2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_an_adversarial_gradient_neither_escapes_nor_sticks(direction):
    """Trap 7: a hundred large steps outwards stay in bounds; steps against the slope then lead back."""
    raw = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for _ in range(100):
        raw = (raw + direction * 10).detach().requires_grad_()
        assert LOW < bounded_log_std(raw, LOW, HIGH) < HIGH
    outside = bounded_log_std(raw, LOW, HIGH)
    (slope,) = torch.autograd.grad(outside, raw)
    back = bounded_log_std(raw.detach() - direction * 1e6 * slope, LOW, HIGH)
    assert direction * (outside - back) > 0
