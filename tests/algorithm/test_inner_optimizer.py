"""The differentiable update rules: equal to torch.optim forwards, to finite differences backwards."""

import higher
import pytest
import torch

from metarl_exp.algorithm.inner_optimizer import InnerOptimizer

RULES = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"betas": [0.7, 0.95], "eps": 1e-3}),
]


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def walk(rule, gradients, scales=None):
    """Five steps from fixed parameters along given gradients: [{name: [N, …]}]."""
    parameters = {"a": double(2, 3).requires_grad_(), "b": double(2, 1, 4, seed=1).requires_grad_()}
    found = []
    for k, g in enumerate(gradients):
        parameters = rule.step(parameters, g, *([] if scales is None else [scales[k]]))
        found.append({name: p.detach().clone() for name, p in parameters.items()})
    return found


GRADIENTS = [{"a": double(2, 3, seed=10 + k), "b": double(2, 1, 4, seed=20 + k)} for k in range(5)]
SCALES = [1.0, 0.5, 0.5, 2.0, 0.0]


@pytest.mark.parametrize(("name", "settings"), RULES)
def test_steps_as_torch_does(name, settings):
    """Five steps with changing step sizes; torch's own optimizer is the oracle."""
    original = {"a": double(2, 3).requires_grad_(), "b": double(2, 1, 4, seed=1).requires_grad_()}
    oracle = getattr(torch.optim, name)(original.values(), lr=0.1, **settings)
    found = walk(InnerOptimizer(name, 0.1, settings).start(["a", "b"]), GRADIENTS, SCALES)
    for gradients, scale, parameters in zip(GRADIENTS, SCALES, found, strict=True):
        oracle.param_groups[0]["lr"] = 0.1 * scale
        for key, p in original.items():
            p.grad = gradients[key].clone()
        oracle.step()
        torch.testing.assert_close(parameters, {k: p.detach() for k, p in original.items()}, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "settings"), RULES)
def test_every_start_has_fresh_state(name, settings):
    optimizer = InnerOptimizer(name, 0.1, settings)
    first, second = (walk(optimizer.start(["a", "b"]), GRADIENTS) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "settings"), RULES)
def test_tasks_do_not_mix(name, settings):
    """The rules are elementwise: stepping the stack equals stepping each task."""
    optimizer = InnerOptimizer(name, 0.1, settings)
    gradients = [double(2, 3, seed=k) for k in range(3)]

    def last(rows):
        rule, p = optimizer.start(["p"]), {"p": double(2, 3)[rows].requires_grad_()}
        for g in gradients:
            p = rule.step(p, {"p": g[rows]})
        return p["p"]

    torch.testing.assert_close(last([0, 1]), torch.cat([last([0]), last([1])]), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "settings"), RULES)
def test_is_differentiable_twice(name, settings):
    """Three steps as a function of parameters and gradients, against finite differences of both orders."""
    optimizer = InnerOptimizer(name, 0.1, settings)

    def last(parameters, *gradients):
        rule, p = optimizer.start(["p"]), {"p": parameters}
        for g in gradients:
            p = rule.step(p, {"p": g})
        return p["p"]

    inputs = [double(2, 2, seed=k).requires_grad_() for k in range(4)]
    assert torch.autograd.gradcheck(last, inputs, atol=1e-7)
    assert torch.autograd.gradgradcheck(last, inputs, atol=1e-7)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_gradient_that_depends_on_the_parameters_is_not_differentiated_by_the_rule(scale):
    """The update is p − α g(p), not p − α ∂⟨g(p), p⟩/∂p; with g = p³ the second would be four times as large."""
    p = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    step = InnerOptimizer("SGD", 0.1, {}).start(["p"]).step({"p": p}, {"p": p**3}, scale)["p"]
    assert step.item() == pytest.approx(2 - 0.1 * scale * 8)
    assert torch.autograd.grad(step, p)[0].item() == pytest.approx(1 - 0.1 * scale * 12)


# ---- zero gradients


def derivatives(update):
    """φ, ∂Σφ/∂p and ∂²Σφ/∂p² of one step of p = (a, b, c) on ½ (b relu(a) + c)², whose unit a is dead."""
    p = torch.tensor([-1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    a, b, c = p
    (gradient,) = torch.autograd.grad(0.5 * (b * a.relu() + c).square(), p, create_graph=True)
    assert gradient.tolist() == [0, 0, 3]
    updated = update(p, gradient)
    (first,) = torch.autograd.grad(updated.sum(), p, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), p)
    return updated.detach(), first.detach(), second


def test_adam_stands_still_with_all_its_derivatives_where_the_gradient_is_zero():
    """Trap 21. c in closed form, its gradient being c: φ = c − α c / (c + eps)."""
    rule = InnerOptimizer("Adam", 0.1, {"eps": 0.5}).start(["p"])
    found = derivatives(lambda p, g: rule.step({"p": p}, {"p": g})["p"])
    expected = [[-1, 2, 3 - 0.1 * 3 / 3.5], [1, 1, 1 - 0.1 * 0.5 / 3.5**2], [0, 0, 0.1 * 2 * 0.5 / 3.5**3]]
    torch.testing.assert_close(torch.stack(found), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-14)


def test_higher_s_own_adam_has_no_second_derivative_there():
    """Trap 21, the reason for our version: once this fails, higher has been mended."""
    placeholder = [torch.zeros(3, dtype=torch.float64, requires_grad=True)]
    rule = higher.get_diff_optim(torch.optim.Adam(placeholder, lr=0.1, eps=0.5), placeholder)
    updated, first, second = derivatives(lambda p, g: rule.step((g * p.view_as(p)).sum(), params=[p])[0])
    assert updated.isfinite().all()
    assert first.isfinite().all()
    assert second.isnan().any()


def test_adam_s_slope_at_a_zero_gradient_is_one_over_eps():
    """α g / (|g| + eps) has the derivative α / eps at g = 0: a gradient that is zero by chance is not a dead one."""
    g = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    p = torch.ones(1, dtype=torch.float64, requires_grad=True)
    updated = InnerOptimizer("Adam", 0.1, {"eps": 0.5}).start(["p"]).step({"p": p}, {"p": g})["p"]
    assert torch.autograd.grad(updated, g)[0].item() == pytest.approx(-0.1 / 0.5, rel=1e-12)


# ---- what is refused


@pytest.mark.parametrize("name", ["RMSprop", "AdamW", "NAdam", "RAdam"])
def test_optimizers_that_higher_gets_wrong_are_refused_with_the_reason(name):
    with pytest.raises(ValueError, match=rf"optimizer='{name}' is refused: higher.*allowed are SGD, Adam"):
        InnerOptimizer(name, 0.1, {})


@pytest.mark.parametrize(("name", "nearest"), [("adam", "Adam"), ("sgd", "SGD"), ("Adma", "Adam")])
def test_a_mistyped_optimizer_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=rf"inner_optimizer.optimizer='{name}'.*did you mean '{nearest}'"):
        InnerOptimizer(name, 0.1, {})


@pytest.mark.parametrize("name", ["Adagrad", "LBFGS", "Rprop"])
def test_optimizers_that_were_never_checked_are_refused(name):
    with pytest.raises(ValueError, match=r"allowed are SGD, Adam"):
        InnerOptimizer(name, 0.1, {})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("SGD", {"maximize": True}),  # higher ignores it
        ("SGD", {"weight_decay": 0.1}),
        ("SGD", {"betas": [0.9, 0.99]}),
        ("Adam", {"amsgrad": True}),
        ("Adam", {"maximize": True}),
        ("Adam", {"momentum": 0.9}),
        ("Adam", {"lr": 0.1}),
    ],
)
def test_settings_outside_the_checked_ones_are_refused(name, settings):
    with pytest.raises(ValueError, match=rf"settings \(of {name}\)='{next(iter(settings))}'.*allowed are"):
        InnerOptimizer(name, 0.1, settings)


def test_a_mistyped_setting_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean 'momentum'"):
        InnerOptimizer("SGD", 0.1, {"momentun": 0.9})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("SGD", {"momentum": -0.1}),
        ("SGD", {"momentum": "much"}),
        ("SGD", {"momentum": float("nan")}),
        ("SGD", {"momentum": True}),
        ("SGD", {"momentum": 0.9, "dampening": "much"}),
        ("SGD", {"nesterov": True}),  # without momentum
        ("SGD", {"momentum": 0.9, "nesterov": "no"}),
        ("Adam", {"betas": [0.9]}),
        ("Adam", {"betas": [0.9, 0.99, 0.999]}),
        ("Adam", {"betas": [0.9, 1.0]}),
        ("Adam", {"betas": [False, 0.9]}),
        ("Adam", {"betas": 0.9}),
        ("Adam", {"eps": -1e-8}),
        ("Adam", {"eps": 0}),  # 0/0 where a gradient is zero
        ("Adam", {"eps": "1e-8"}),
    ],
)
def test_settings_with_values_of_no_use_are_refused(name, settings):
    with pytest.raises(ValueError, match=r"inner_optimizer\.settings"):
        InnerOptimizer(name, 0.1, settings)


@pytest.mark.parametrize("lr", [-0.1, float("nan"), float("inf"), "0.1", None, True])
def test_a_step_size_that_is_none_is_refused(lr):
    with pytest.raises(ValueError, match=r"inner_optimizer\.lr=.*must be a number ≥ 0"):
        InnerOptimizer("SGD", lr, {})
