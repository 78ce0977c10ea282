"""Analytic derivatives against autograd's, in float64: those differentiate the policy's own forward pass."""

from typing import NamedTuple

import pytest
import torch

from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.derivatives.analytic import Analytic, log_prob_derivatives
from metarl_exp.algorithm.derivatives.autograd import Autograd, double_backward
from metarl_exp.algorithm.derivatives.base import is_sum_over_steps
from metarl_exp.algorithm.derivatives.products import CACHE, tasks_at_once
from metarl_exp.algorithm.fast_weights import All, Body, Head
from metarl_exp.algorithm.inner_optimizer import InnerOptimizer, LearnedStepSizes
from metarl_exp.algorithm.objective import EMAML, LVC, MAML, DiCE, LoadedDiCE, ProMP
from metarl_exp.maths.distributions import constant
from metarl_exp.maths.parameters import Parameters, stack
from metarl_exp.policy import CategoricalMLP, GaussianMLP
from metarl_exp.types import Experience, Spec

TASKS, TRAJECTORIES, STEPS, SIZE = 3, 4, 5, 3


def gaussian(activation="tanh", hidden=(7, 6), init_std=0.05) -> GaussianMLP:
    """Its log-std starts where the bound bends it."""
    spec = Spec(SIZE, 2, False, STEPS)
    generator = torch.Generator().manual_seed(0)
    return GaussianMLP(hidden, activation, init_std, 0.01, 1.0, spec, generator, torch.float64)


def categorical(activation="tanh", hidden=(7, 6)) -> CategoricalMLP:
    spec = Spec(SIZE, 4, True, STEPS)
    return CategoricalMLP(hidden, activation, spec, torch.Generator().manual_seed(0), torch.float64)


POLICIES = {
    "gaussian tanh": gaussian, "gaussian relu": lambda: gaussian("relu"),
    "gaussian linear": lambda: gaussian(hidden=()),
    "categorical tanh": categorical, "categorical relu": lambda: categorical("relu", (8,)),
}  # fmt: skip


def some(policy, generator) -> Parameters:
    """Parameters [N, ...] that differ between tasks; log-stds from far outside of the bounds to far inside."""
    stacked = stack(dict(policy.named_parameters()), TASKS)
    noise = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in stacked.items()}
    return {n: p + noise[n] * (1.0 if n == "log_std" else 0.3) for n, p in stacked.items()}


def episodes(policy, parameters, generator) -> Experience:
    shape = TASKS, TRAJECTORIES, STEPS
    observations = torch.randn(*shape, SIZE, generator=generator, dtype=torch.float64)
    noise = policy.distribution.noise(shape, policy.spec.action_size, generator).double()
    with torch.no_grad():
        actions = policy(parameters, observations).sample(noise)
    mask = torch.arange(STEPS) < torch.randint(1, STEPS + 1, (TASKS, TRAJECTORIES, 1), generator=generator)
    advantages, rewards = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return Experience(observations, actions, advantages, mask, parameters, rewards)


@pytest.fixture(params=POLICIES)
def case(request, generator):
    policy = POLICIES[request.param]()
    parameters = some(policy, generator)
    return policy, parameters, episodes(policy, parameters, generator), some(policy, generator)


SUMS = [MAML(), LVC(), ProMP(0.2, 0.1), EMAML("sum")]
TIED = [DiCE(), LoadedDiCE()]


def named(objective) -> str:
    return type(objective).__name__


def differentiated(derivatives, loss_of, parameters, experience, tangent):
    """Distribution, gradient and Hessian product, as a list of tensors."""
    leaves = {n: p.detach().requires_grad_() for n, p in parameters.items()}
    distribution = derivatives.distribution(leaves, experience.observations)
    behaviour = constant(distribution)
    found = derivatives.gradient(
        lambda policy: loss_of(policy, behaviour, experience), leaves, distribution, experience
    )
    products = [found.hessian(tangent), found.hessian(tangent)]
    for name, again in products[1].items():  # nothing that is kept was overwritten
        assert torch.equal(again, products[0][name])
    assert list(found.gradients) == list(products[0]) == list(parameters)
    return [x.detach() for x in (*distribution, *found.gradients.values(), *products[0].values())]


@pytest.mark.parametrize("objective", [*SUMS, *TIED], ids=named)
def test_gradient_and_hessian_are_autograd_s(case, close, objective):
    policy, *given = case
    ways = Analytic(policy, is_sum_over_steps(objective.inner_loss)), Autograd(policy)
    for ours, theirs in zip(*(differentiated(way, objective.inner_loss, *given) for way in ways), strict=True):
        close(ours, theirs, 1e-11)


def test_the_fisher_product_is_the_second_derivative_of_the_kl(case, close):
    policy, parameters, experience, tangent = case
    weights = torch.rand(TASKS, TRAJECTORIES, STEPS, dtype=torch.float64) * experience.mask
    leaves = {n: p.requires_grad_() for n, p in parameters.items()}
    distribution = policy(leaves, experience.observations)
    divergence = (weights * constant(distribution).kl(distribution)).sum()
    expected = double_backward(divergence, leaves).hessian(tangent)
    for way in (Analytic(policy, True), Autograd(policy)):
        found = way.fisher(parameters, experience.observations, weights)(tangent)
        for name in expected:
            close(found[name], expected[name], 1e-11)


def test_blocks_of_tasks_change_nothing(case, close, monkeypatch):
    """3 tasks in one block, and in blocks of 2 and 1."""
    policy, parameters, experience, tangent = case
    found = []
    for size in (None, 2):
        monkeypatch.setattr("metarl_exp.algorithm.derivatives.products.tasks_at_once", lambda *_, size=size: size)
        analytic = Analytic(policy, True)
        found.append([
            *differentiated(analytic, LVC().inner_loss, parameters, experience, tangent),
            *analytic.fisher(parameters, experience.observations, experience.advantages)(tangent).values(),
        ])  # fmt: skip
    for whole, parts in zip(*found, strict=True):
        close(parts, whole, 1e-12)


def test_a_block_has_what_the_cache_of_its_threads_holds():
    like = torch.zeros(1)
    threads = torch.get_num_threads()
    assert tasks_at_once(like, CACHE // 4) == threads
    assert tasks_at_once(like, CACHE) == threads  # one task at least
    assert tasks_at_once(like, CACHE // 4 // 5) == 5 * threads
    assert tasks_at_once(torch.zeros(1, device="meta"), 1) is None


def hessian_in_log_probs(objective, experience, log_prob) -> torch.Tensor:
    """Second derivatives of an inner loss in the log-probabilities of all steps of the batch, [R, R]."""

    class Known(NamedTuple):
        value: torch.Tensor

        def log_prob(self, action):
            return self.value

    def loss(flat):
        return objective.inner_loss(Known(flat.view_as(log_prob)), Known(log_prob), experience).sum()

    return torch.autograd.functional.hessian(loss, log_prob.flatten() + 0.1)


@pytest.mark.parametrize("objective", [*SUMS, *TIED], ids=named)
def test_an_objective_declares_a_sum_over_steps_if_it_is_one(case, objective):
    policy, parameters, experience, _ = case
    log_prob = policy(parameters, experience.observations).log_prob(experience.actions)
    hessian = hessian_in_log_probs(objective, experience, log_prob)
    diagonal = torch.equal(hessian, hessian.diag().diag())
    assert is_sum_over_steps(objective.inner_loss) == diagonal == (objective in SUMS)


def test_the_derivatives_in_log_probabilities_are_right_step_by_step(case, close):
    policy, parameters, experience, _ = case
    log_prob = policy(parameters, experience.observations).log_prob(experience.actions)
    behaviour = constant(policy(parameters, experience.observations))
    first, second = log_prob_derivatives(lambda p: LVC().inner_loss(p, behaviour, experience), log_prob + 0.1)
    ratio = torch.full_like(log_prob, 0.1).exp()
    expected = -ratio * experience.advantages * experience.mask / experience.mask.sum((1, 2), keepdim=True)
    close(first, expected, 1e-12)
    close(second, expected, 1e-12)  # an exponential is its own derivative


RULES = {
    "SGD": InnerOptimizer("SGD", 0.1, {"momentum": 0.5}), "Adam": InnerOptimizer("Adam", 0.05, {}),
    "learned": LearnedStepSizes("SGD", 0.1, {}, "entry"),
}  # fmt: skip


@pytest.mark.parametrize("fast", ["All", "Head", "Body"])
@pytest.mark.parametrize("rule", RULES)
def test_paths_of_two_steps_have_the_same_derivatives_both_ways(case, close, rule, fast):
    """J v and Jᵀ u through any update rule, with what adapts and what does not."""
    policy, _, experience, _ = case
    if fast == "Body" and len(policy.layers) == 1:
        pytest.skip("a linear policy has no body")
    chosen = {"All": lambda _: All(), "Head": Head, "Body": Body}[fast](policy)
    generator, found = torch.Generator(), []
    for way in (Analytic(policy, True), Autograd(policy)):
        adaptation = Adaptation(2, "second", policy, RULES[rule], chosen, MAML().inner_loss)
        adaptation.derivatives = way
        path = adaptation.start({n: p.detach() for n, p in adaptation.meta_parameters().items()}, TASKS, "second")
        for _ in range(2):
            path.step(experience)
        generator.manual_seed(2)
        direction = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in path.theta.items()}
        pushed = path.jvp()(direction)
        found.append((path.parameters, pushed, path.vjp({-1: pushed, 1: path.parameters})))
    for ours, theirs in zip(*found, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            close(ours[name].detach(), theirs[name].detach(), 1e-10)
