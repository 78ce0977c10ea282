"""Convolutional policies: torch's own network for each task, with derivatives of both orders."""

import pytest
import torch
from torch import nn

from metarl_exp import wiring
from metarl_exp.maths.parameters import stack
from metarl_exp.policy import CategoricalHead, Conv, GaussianHead
from metarl_exp.policy.conv import convolution
from metarl_exp.types import Spec
from tests.policy.stacked import assert_tasks_apart, double, perturbed

IMAGE = [2, 5, 4]
KINDS = pytest.mark.parametrize("kind", [GaussianHead, CategoricalHead])


def make(kind, image=IMAGE, filters=(3, 2), kernel_size=2, stride=1, size=40, seed=0, hidden=(4,)):
    spec = Spec(size, 2, kind is CategoricalHead, 5)
    head = kind(spec) if spec.discrete else kind(0.7, 1e-6, 100.0, spec)
    generator = torch.Generator().manual_seed(seed)
    return Conv(hidden, "tanh", image, filters, kernel_size, stride, head, generator, torch.float64)


@KINDS
@pytest.mark.parametrize("shape", [(2, 3, 40), (2, 3, 4, 40)])
@pytest.mark.parametrize(("kernel_size", "stride"), [(2, 1), (2, 2)])
def test_is_torch_s_own_network(kind, shape, kernel_size, stride):
    """Shared parameters, and the same ones stacked."""
    policy = make(kind, kernel_size=kernel_size, stride=stride, filters=(3,))
    parts = [*policy.convolutions, nn.Tanh(), nn.Flatten(), policy.layers[0], nn.Tanh(), policy.layers[1]]
    x = double(*shape)
    expected = nn.Sequential(*parts)(x.reshape(-1, *IMAGE)).view(*shape[:-1], 2)
    for parameters in (dict(policy.named_parameters()), stack(dict(policy.named_parameters()), 2)):
        torch.testing.assert_close(policy(parameters, x)[0], expected, rtol=1e-12, atol=1e-13)


@KINDS
@pytest.mark.parametrize("shape", [(6, 2, 40), (6, 2, 4, 40)])
def test_each_task_uses_its_own_parameters(kind, shape):
    assert_tasks_apart(make(kind), double(*shape))


def test_both_derivatives_of_a_grouped_convolution_are_right():
    inputs = [x.requires_grad_() for x in (double(2, 2, 2, 3, 3), double(2, 2, 2, 2, 2, seed=1), double(2, 2, seed=2))]
    assert torch.autograd.gradcheck(lambda *x: convolution(*x, stride=1), inputs)
    assert torch.autograd.gradgradcheck(lambda *x: convolution(*x, stride=1), inputs)


@KINDS
def test_both_derivatives_of_the_policy_are_right(kind):
    policy = make(kind, image=[1, 3, 3], filters=(2,), size=9, hidden=())
    names, values = zip(*perturbed(policy, 2).items(), strict=True)
    x = double(2, 2, 9)

    def outputs(*values):
        return tuple(policy(dict(zip(names, values, strict=True)), x))

    values = [v.requires_grad_() for v in values]
    assert torch.autograd.gradcheck(outputs, values)
    assert torch.autograd.gradgradcheck(outputs, values)


@KINDS
def test_the_generator_alone_decides_the_initialisation_and_the_global_one_is_left_alone(kind):
    state = torch.random.get_rng_state()
    first, again, other = (torch.cat([p.flatten() for p in make(kind, seed=s).parameters()]) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all((layer.bias == 0).all() for layer in make(kind).convolutions)


@pytest.mark.parametrize("fast_weights", ["all", "head"])
def test_a_learner_with_one_takes_second_order_steps(fast_weights):
    """On a tabular MDP, whose one-hot states are looked at as an image."""
    overrides = [
        "tasks=tabular_mdp", "policy=conv", "policy.image=[1,2,5]", "policy.kernel_size=2",
        "policy.filters=[3]", "policy.hidden_sizes=[4]", "meta_batch_size=3", "trajectories=2", "tracker=none",
        f"fast_weights={fast_weights}",
    ]  # fmt: skip
    learner = wiring.assemble(wiring.compose(overrides)).learner
    assert learner.policy.spec.observation_size == 10
    (record,) = learner.train(1)
    assert record.metrics["line_search/accepted"] == 1
    assert record.metrics["cg/nonpositive_curvature"] == 0


# ---- guards


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("image", {"image": [2, 5, 5]}),  # 50 numbers, not 40
        ("image", {"image": [40]}),
        ("image", {"image": "2x5x4"}),
        ("image", {"image": [2, 5, 4.0]}),
        ("image", {"image": [-2, -5, 4]}),
        ("filters", {"filters": (3, 0)}),
        ("filters", {"filters": (3, 3, 3, 3)}),  # 4 − 1 − 1 − 1 − 1 pixels
        ("kernel_size", {"kernel_size": 0}),
        ("stride", {"stride": 1.5}),
    ],
)
def test_settings_that_mean_nothing_are_refused(field, settings):
    with pytest.raises(ValueError, match=rf"policy\.{field}="):
        make(CategoricalHead, **settings)


def test_another_size_of_observation_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"image=\[2, 5, 4\]: has 40 numbers, but these tasks' observations have 41"):
        make(GaussianHead, size=41)
