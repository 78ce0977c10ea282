"""Written-out products against autograd, in float64: it differentiates the policy's own forward pass."""

import pytest
import torch

from metarl_exp.adaptation import Adaptation, constant
from metarl_exp.fast_weights import All, Body, Head
from metarl_exp.inner_gradient import WrittenOut, generic, local_derivatives, once
from metarl_exp.inner_optimizer import InnerOptimizer, LearnedStepSizes
from metarl_exp.maths.parameters import Parameters, stack
from metarl_exp.objective import EMAML, LVC, MAML, DiCE, LoadedDiCE, ProMP
from metarl_exp.policy import CategoricalContextMLP, CategoricalMLP, GaussianConv, GaussianMLP
from metarl_exp.policy.products import CACHE, tasks_at_once
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


LOCAL = [MAML(), LVC(), ProMP(0.2, 0.1), EMAML("log_likelihood", "sum")]


@pytest.mark.parametrize("objective", LOCAL, ids=lambda o: type(o).__name__)
def test_the_hessian_is_autograd_s(case, close, objective):
    policy, parameters, experience, tangent = case
    leaves = {n: p.requires_grad_() for n, p in parameters.items()}
    distribution = policy(leaves, experience.observations)
    acted = constant(distribution)
    expected = generic(objective.inner_loss(distribution, acted, experience).sum(), leaves).hessian(tangent)
    local = local_derivatives(objective.inner_loss, distribution, acted, experience)
    product = policy.products(parameters, experience.observations).hessian(experience.actions, *local)
    found = product(tangent)
    assert list(found) == list(expected)
    for name in expected:
        close(found[name], expected[name], 1e-11)
    for name, again in product(tangent).items():  # nothing that is kept was overwritten
        assert torch.equal(again, found[name])


def test_the_fisher_product_is_the_second_derivative_of_the_kl(case, close):
    policy, parameters, experience, tangent = case
    weights = torch.rand(TASKS, TRAJECTORIES, STEPS, dtype=torch.float64) * experience.mask
    leaves = {n: p.requires_grad_() for n, p in parameters.items()}
    distribution = policy(leaves, experience.observations)
    divergence = (weights * constant(distribution).kl(distribution)).sum()
    expected = generic(divergence, leaves).hessian(tangent)
    found = policy.products(parameters, experience.observations).fisher(weights)(tangent)
    for name in expected:
        close(found[name], expected[name], 1e-11)


def test_gradients_are_autograd_s(case, close):
    policy, parameters, experience, _ = case
    found = []
    for evaluated in (once, lambda policy, *given: policy(*given)):
        leaves = {n: p.detach().requires_grad_() for n, p in parameters.items()}
        distribution = evaluated(policy, leaves, experience.observations)
        losses = DiCE().inner_loss(distribution, constant(distribution), experience)
        found.append([*distribution, *torch.autograd.grad(losses.sum(), list(leaves.values()))])
    for ours, theirs in zip(*found, strict=True):
        close(ours.detach(), theirs.detach(), 1e-11)


def test_blocks_of_tasks_change_nothing(case, close, monkeypatch):
    """3 tasks in one block, and in blocks of 2 and 1."""
    policy, parameters, experience, tangent = case
    found = []
    for size in (None, 2):
        monkeypatch.setattr("metarl_exp.policy.products.tasks_at_once", lambda *_, size=size: size)
        products = policy.products(parameters, experience.observations)
        slopes = experience.advantages
        found.append([
            *products.distribution(),
            *products.gradient(list(products.distribution())).values(),
            *products.fisher(slopes)(tangent).values(),
            *products.hessian(experience.actions, slopes, slopes.square())(tangent).values(),
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


@pytest.mark.parametrize("objective", [DiCE(), LoadedDiCE()], ids=lambda o: type(o).__name__)
def test_a_loss_that_ties_steps_together_is_found_out(case, objective):
    policy, parameters, experience, _ = case
    distribution = policy(parameters, experience.observations)
    assert local_derivatives(objective.inner_loss, distribution, constant(distribution), experience) is None


def test_so_is_one_that_asks_for_more_than_log_probabilities(case):
    def with_entropy(distribution, acted, experience):
        return -(distribution.log_prob(experience.actions) + distribution.entropy()).mean((1, 2))

    policy, parameters, experience, _ = case
    distribution = policy(parameters, experience.observations)
    assert local_derivatives(with_entropy, distribution, constant(distribution), experience) is None


def test_policies_whose_first_layer_has_a_moving_input_have_none():
    spec = Spec(4, 2, False, STEPS)
    convolutional = GaussianConv([1, 2, 2], [2], 2, 1, [3], "relu", 1.0, 1e-6, 10.0, spec)
    contextual = CategoricalContextMLP([3], "tanh", 2, Spec(SIZE, 4, True, STEPS))
    assert not isinstance(convolutional, WrittenOut)
    assert not isinstance(contextual, WrittenOut)
    assert isinstance(gaussian(), WrittenOut)


RULES = {
    "SGD": InnerOptimizer("SGD", 0.1, {"momentum": 0.5}), "Adam": InnerOptimizer("Adam", 0.05, {}),
    "learned": LearnedStepSizes("SGD", 0.1, {}, "entry"),
}  # fmt: skip


@pytest.mark.parametrize("fast", ["All", "Head", "Body"])
@pytest.mark.parametrize("rule", RULES)
def test_paths_of_two_steps_have_the_same_derivatives_both_ways(case, close, monkeypatch, rule, fast):
    """J v and Jᵀ u through any update rule, with what adapts and what does not."""
    policy, _, experience, _ = case
    if fast == "Body" and len(policy.layers) == 1:
        pytest.skip("a linear policy has no body")
    chosen = {"All": lambda _: All(), "Head": Head, "Body": Body}[fast](policy)
    generator, found = torch.Generator(), []
    for protocol in (WrittenOut, type("Nothing", (), {})):
        for module in ("adaptation", "inner_gradient"):
            monkeypatch.setattr(f"metarl_exp.{module}.WrittenOut", protocol)
        adaptation = Adaptation(2, "second", policy, RULES[rule], chosen, MAML().inner_loss)
        path = adaptation.start({n: p.detach() for n, p in adaptation.meta_parameters().items()}, TASKS, "second")
        for _ in range(2):
            path.step(experience)
        generator.manual_seed(2)
        direction = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in path.theta.items()}
        pushed = path.jacobian()(direction)
        found.append((path.parameters, pushed, path.pull({-1: pushed, 1: path.parameters})))
    for ours, theirs in zip(*found, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            close(ours[name].detach(), theirs[name].detach(), 1e-10)
