"""Policies whose network a subclass changes act and learn with one network, and learn as autograd says."""

import pytest
import torch
from torch import nn

from metarl_exp import MetaLearner
from metarl_exp.algorithm.derivatives import derivatives_of
from metarl_exp.algorithm.derivatives.agreement import require_one_network
from metarl_exp.algorithm.derivatives.analytic import Analytic
from metarl_exp.algorithm.derivatives.autograd import Autograd
from metarl_exp.algorithm.derivatives.base import sum_over_steps
from metarl_exp.algorithm.objective import LVC, MAML, DiCE
from metarl_exp.maths.distributions import DiagonalGaussian
from metarl_exp.policy import (
    MLP,
    CategoricalHead,
    CategoricalMLP,
    ContextMLP,
    Conv,
    CriticMLP,
    GaussianHead,
    GaussianMLP,
)
from metarl_exp.tasks import Navigation2D
from metarl_exp.types import Spec

SPEC = Spec(4, 2, False, 5)
DISCRETE = SPEC._replace(discrete=True)
STDS = {"init_std": 1.0, "min_std": 1e-6, "max_std": 100.0}


class Normalised(GaussianMLP):
    """Scales its observations."""

    def inputs(self, parameters, observations):
        return observations * 10


class Squashed(GaussianMLP):
    """Keeps its mean in [−1, 1]."""

    def outputs(self, parameters, observations):
        return super().outputs(parameters, observations).tanh()


class LayerNormed(GaussianMLP):
    """Normalises its observations, with a gain and a bias that adapt with the rest."""

    def __init__(self, *args, spec, **kwargs):
        super().__init__(*args, spec=spec, **kwargs)
        self.gain = nn.Parameter(torch.ones(spec.observation_size))
        self.offset = nn.Parameter(torch.zeros(spec.observation_size))

    def inputs(self, parameters, observations):
        def aligned(x):
            return x.view(len(x), *[1] * (observations.dim() - 2), -1) if x.dim() == 2 else x

        normal = nn.functional.layer_norm(observations, observations.shape[-1:])
        return normal * aligned(parameters["gain"]) + aligned(parameters["offset"])


class Tied(GaussianMLP):
    """Uses its second layer twice."""

    def outputs(self, parameters, observations):
        return super().outputs(parameters | {"layers.1.weight": parameters["layers.1.weight"].mT}, observations)


class OtherForward(GaussianMLP):
    """Halves its mean where it is called."""

    def forward(self, parameters, observations):
        found = super().forward(parameters, observations)
        return DiagonalGaussian(found.mean / 2, found.log_std)


class OtherActivation(GaussianMLP):
    """Changes no method, but what they use."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

        class Softplus(type(self.activation)):
            value = staticmethod(nn.functional.softplus)

        self.activation = Softplus()


CHANGED = [Normalised, Squashed, LayerNormed, Tied, OtherForward, OtherActivation]


@pytest.mark.parametrize("kind", CHANGED)
@pytest.mark.parametrize("objective", [MAML, LVC, DiCE])
def test_a_changed_network_learns_as_autograd_says(kind, objective, generator):
    """The parameters after one inner step are those of plain autograd through `policy(parameters, observations)`."""
    tasks = Navigation2D(horizon=6, action_map="scaled", varying_start=False)
    policy = kind([8, 8], "tanh", **STDS, spec=tasks.spec, generator=generator)
    learner = MetaLearner(tasks, policy, inner_lr=0.1, outer_lr=1e-3, inner_steps=1, batch_size=4, trajectories=3)
    learner.adaptation.inner_loss = objective().inner_loss
    batch = learner.inner_update(tasks.sample(4, generator))
    first = batch.experiences[0]
    theta = {n: p.detach().expand(4, *p.shape).clone().requires_grad_() for n, p in policy.named_parameters()}
    log_prob = policy(theta, first.observations).log_prob(first.actions)
    steps = first.mask.sum((1, 2))
    if objective is DiCE:
        along = log_prob.masked_fill(~first.mask, 0).cumsum(-1)
        loss = -((along - along.detach()).exp() * first.discounted_rewards * first.mask).sum((1, 2)) / steps
    else:
        loss = -(log_prob * first.advantages * first.mask).sum((1, 2)) / steps
    gradients = torch.autograd.grad(loss.sum(), [*theta.values()])
    for (name, p), gradient in zip(theta.items(), gradients, strict=True):
        torch.testing.assert_close(batch.path.parameters[name], p - 0.1 * gradient, rtol=1e-4, atol=1e-6)
        assert gradient.any()


@pytest.mark.parametrize("kind", CHANGED)
def test_a_changed_network_is_differentiated_by_autograd(kind, generator):
    policy = kind([8, 8], "tanh", **STDS, spec=SPEC._replace(observation_size=8), generator=generator)
    assert isinstance(derivatives_of(policy, MAML().inner_loss), Autograd)


class OwnStart(GaussianMLP):
    """Starts from other parameters; the network is its parent's."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nn.init.constant_(self.layers[-1].bias, 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (8,), (100, 100)])
def test_perceptrons_are_differentiated_analytically(activation, hidden, dtype, generator):
    heads = GaussianHead(**STDS, spec=SPEC), CategoricalHead(DISCRETE)
    policies = [kind(hidden, activation, head, generator, dtype) for kind in (MLP, CriticMLP) for head in heads]
    with_stds = [kind(hidden, activation, **STDS, spec=SPEC, dtype=dtype) for kind in (GaussianMLP, OwnStart)]
    for policy in (*policies, *with_stds, CategoricalMLP(hidden, activation, DISCRETE, dtype=dtype)):
        derivatives = derivatives_of(policy, MAML().inner_loss)
        assert isinstance(derivatives, Analytic)
        assert derivatives.sum_over_steps


def test_hessians_are_analytic_only_of_sums_over_steps(generator):
    policy = CriticMLP([8], "tanh", GaussianHead(**STDS, spec=SPEC), generator)
    assert not derivatives_of(policy, DiCE().inner_loss).sum_over_steps
    assert not derivatives_of(policy, MAML().inner_loss, value_loss=True).sum_over_steps
    assert not derivatives_of(policy, lambda *given: MAML().inner_loss(*given)).sum_over_steps  # not declared


def test_a_loss_that_is_wrongly_declared_is_left_to_autograd(generator):
    policy = GaussianMLP([8], "tanh", **STDS, spec=SPEC, generator=generator)
    assert isinstance(derivatives_of(policy, sum_over_steps(lambda *given: DiCE().inner_loss(*given))), Autograd)

    @sum_over_steps
    def with_entropy(distribution, acted, experience):
        return -(distribution.log_prob(experience.actions) + distribution.entropy()).mean((1, 2))

    with pytest.raises(ValueError, match="declared a sum over steps asks a policy for entropy"):
        derivatives_of(policy, with_entropy)


class OwnHead(GaussianHead):
    """Halves its mean."""

    def __call__(self, parameters):
        found = super().__call__(parameters)
        return lambda outputs: found(outputs / 2)


def test_other_architectures_and_heads_are_differentiated_by_autograd(generator):
    convolutional = Conv([3], "relu", [1, 2, 2], [2], 2, 1, GaussianHead(**STDS, spec=SPEC))
    contextual = ContextMLP([3], "tanh", 2, CategoricalHead(DISCRETE))
    for policy in (convolutional, contextual, MLP([3], "tanh", OwnHead(**STDS, spec=SPEC))):
        assert isinstance(derivatives_of(policy, MAML().inner_loss), Autograd)


class OtherActing(GaussianMLP):
    """Acts with another mean than it learns with."""

    def acting(self, parameters):
        act = super().acting(parameters)
        return lambda observations, idle=None: act(observations * 2, idle)


def test_a_policy_that_acts_with_another_network_than_it_learns_with_is_refused(generator):
    tasks = Navigation2D(horizon=6, action_map="scaled", varying_start=False)
    policy = OtherActing([8], "tanh", **STDS, spec=tasks.spec, generator=generator)
    with pytest.raises(ValueError, match=r"policy=OtherActing: `acting` and `forward` disagree"):
        MetaLearner(tasks, policy, inner_lr=0.1, outer_lr=1e-3, inner_steps=1, batch_size=4)


@pytest.mark.parametrize("kind", CHANGED)
def test_a_changed_network_acts_as_it_learns(kind, generator):
    require_one_network(kind([8, 8], "tanh", **STDS, spec=SPEC._replace(observation_size=8), generator=generator))
