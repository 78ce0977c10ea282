"""Policies that take their parameters as a value, one for all tasks or one for each."""

import math

import pytest
import torch
from torch import nn

from metarl_exp.maths.parameters import stack
from metarl_exp.policy import CategoricalMLP, GaussianMLP
from metarl_exp.types import Spec
from tests.policy.stacked import assert_tasks_apart, double, perturbed

CONTINUOUS, DISCRETE = Spec(3, 2, False, 5), Spec(3, 4, True, 5)


def make(kind, hidden=(5, 4), activation="tanh", seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    if kind is CategoricalMLP:
        return kind(hidden, activation, DISCRETE, generator, torch.float64)
    stds = {"init_std": 0.7, "min_std": 1e-6, "max_std": 100.0} | settings
    return kind(hidden, activation, **stds, spec=CONTINUOUS, generator=generator, dtype=torch.float64)


KINDS = pytest.mark.parametrize("kind", [GaussianMLP, CategoricalMLP])


@KINDS
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_is_torch_s_own_network(kind, activation, hidden):
    """nn.Sequential on the same weights, batched like a rollout and like a batch of trajectories."""
    policy = make(kind, hidden, activation)
    modules = []
    for layer in policy.layers:
        modules += [layer, {"tanh": nn.Tanh(), "relu": nn.ReLU()}[activation]]
    oracle = nn.Sequential(*modules[:-1])
    for shape in [(2, 3, 3), (2, 3, 4, 3)]:
        x = double(*shape)
        torch.testing.assert_close(policy(dict(policy.named_parameters()), x)[0], oracle(x), rtol=1e-13, atol=1e-14)


@KINDS
@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 2, 4, 3)])
def test_each_task_uses_its_own_parameters(kind, shape):
    assert_tasks_apart(make(kind), double(*shape))


@KINDS
def test_the_modules_own_parameters_do_not_matter_to_a_call(kind):
    """Parameters are a value: nothing stale is used, for acting or for learning."""
    policy = make(kind)
    parameters, x = perturbed(policy, 2), double(2, 3, 3)
    expected = policy(parameters, x)
    with torch.no_grad():
        for p in policy.parameters():
            p.fill_(torch.nan)
    assert all(torch.equal(a, b) for a, b in zip(policy(parameters, x), expected, strict=True))


def test_starts_with_xavier_weights_zero_biases_and_the_given_deviation():
    policy = make(GaussianMLP, (200, 300))
    weight = policy.layers[1].weight
    bound = math.sqrt(6 / 500)
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert all((layer.bias == 0).all() for layer in policy.layers)
    assert policy.log_std.exp().tolist() == pytest.approx([0.7, 0.7], rel=1e-14)


@KINDS
def test_the_generator_alone_decides_the_initialisation(kind):
    first, again, other = (torch.cat([p.flatten() for p in make(kind, seed=s).parameters()]) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@KINDS
def test_torch_s_global_generator_is_left_alone(kind):
    """`nn.Linear` would draw an initialisation of its own from it."""
    state = torch.random.get_rng_state()
    make(kind)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_deviation_does_not_depend_on_the_state_and_is_of_each_task():
    policy = make(GaussianMLP)
    parameters = stack(dict(policy.named_parameters()), 2)
    parameters["log_std"] = torch.tensor([[0.0, 1.0], [2.0, -3.0]], dtype=torch.float64)
    for shape in [(2, 5, 3), (2, 5, 4, 3)]:
        log_std = policy(parameters, double(*shape)).log_std
        assert torch.equal(log_std, parameters["log_std"].view(2, *[1] * (len(shape) - 2), 2).expand(*shape[:-1], 2))


@pytest.mark.parametrize("raw", [-1e6, 1e6])
def test_the_deviation_is_bounded_on_both_sides_and_its_gradient_lives(raw):
    """Trap 7."""
    policy = make(GaussianMLP)
    parameters = stack(dict(policy.named_parameters()), 2)
    parameters["log_std"] = torch.full((2, 2), raw, dtype=torch.float64, requires_grad=True)
    std = policy(parameters, double(2, 5, 3)).log_std.exp()
    assert ((std > 1e-6) & (std < 100)).all()
    assert (torch.autograd.grad(std.log().sum(), parameters["log_std"])[0] > 0).all()


@KINDS
def test_the_derivative_is_right(kind):
    policy = make(kind, (3,))
    names, values = zip(*perturbed(policy, 2).items(), strict=True)
    x = double(2, 2, 3)

    def outputs(*values):
        return tuple(policy(dict(zip(names, values, strict=True)), x))

    assert torch.autograd.gradcheck(outputs, [v.requires_grad_() for v in values])


# ---- guards


def test_each_policy_refuses_the_actions_of_the_other():
    with pytest.raises(ValueError, match=r"needs continuous actions.*in Python CategoricalMLP"):
        GaussianMLP([4], "tanh", 1.0, 1e-6, 100.0, DISCRETE)
    with pytest.raises(ValueError, match=r"needs discrete actions.*in Python GaussianMLP"):
        CategoricalMLP([4], "tanh", CONTINUOUS)


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("activation", {"activation": "tahn"}),
        ("hidden_sizes", {"hidden": (5, 0)}),
        ("hidden_sizes", {"hidden": (5.0,)}),
        ("min_std", {"min_std": 0.0}),
        ("max_std", {"max_std": 1e-6}),
        ("init_std", {"init_std": 1e-6}),  # outside the range where the bound is the identity
        ("init_std", {"init_std": 99.0}),
    ],
)
def test_settings_that_mean_nothing_are_refused(field, settings):
    with pytest.raises(ValueError, match=rf"policy\.{field}="):
        make(GaussianMLP, **settings)


def test_a_mistyped_activation_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean 'tanh'"):
        make(CategoricalMLP, activation="tahn")
