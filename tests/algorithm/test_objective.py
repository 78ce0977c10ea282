"""The meta-objective: its value, its gradient and its curvature, against finite differences and three oracles."""

import higher
import pytest
import torch
from torch import distributions as td
from torch import nn

from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.objective import MetaFunction
from metarl_exp.maths.parameters import flatten, unflatten
from metarl_exp.process.failures import NonFiniteError

POLICIES = pytest.mark.parametrize("discrete", [False, True], ids=["gaussian", "categorical"])


# ---- value


@POLICIES
def test_the_value_is_the_oracle_s_wherever_it_is_asked_for(problem, optimizer, inner_steps, discrete, generator):
    p = problem(optimizer, inner_steps, discrete=discrete)
    theta = p.function.theta + 0.02 * torch.randn(len(p.function.theta), generator=generator, dtype=torch.float64)
    evaluated = p.function.evaluate(theta)
    assert evaluated.loss == pytest.approx(p.oracle.outer_loss(theta.requires_grad_()).item(), rel=1e-11)
    assert evaluated.kl == pytest.approx(p.oracle.kl(theta).item(), rel=1e-11)


@POLICIES
@pytest.mark.parametrize("order", ["first", "second"])
def test_where_the_batch_was_sampled_the_kl_is_exactly_zero_and_the_loss_minus_the_mean_advantage(
    problem, optimizer, order, discrete
):
    """Trap 8: a KL of zero at θ_old is the truth; the likelihood ratio there is 1, so F = −mean Â."""
    function = problem(optimizer, 2, order=order, discrete=discrete).function
    evaluated = function.evaluate(function.theta)
    post = function.policies[-1].experience
    per_task = [advantages[mask].mean() for advantages, mask in zip(post.advantages, post.mask, strict=True)]
    assert evaluated.kl == 0.0
    assert evaluated.loss == function.loss == pytest.approx(-torch.stack(per_task).mean().item(), abs=1e-15)


# ---- gradient


def value(function):
    """F as a function of θ alone."""
    return lambda theta: torch.tensor(function.evaluate(theta).loss, dtype=torch.float64)


@POLICIES
def test_second_order_is_the_derivative_of_the_value(problem, differences, close, optimizer, inner_steps, discrete):
    """Traps 1 and 3: finite differences of F on fixed samples, for one, two and three inner steps."""
    function = problem(optimizer, inner_steps, discrete=discrete).function
    close(function.gradient(), differences(value(function), function.theta), 2e-9)


@POLICIES
def test_second_order_equals_plain_autograd(problem, close, optimizer, inner_steps, discrete):
    p = problem(optimizer, inner_steps, discrete=discrete)
    close(p.function.gradient(), p.oracle.gradient(p.oracle.outer_loss), 1e-12)


class PlainGaussian(nn.Module):
    """What `higher.innerloop_ctx` patches: a module that knows nothing of task axes."""

    def __init__(self, theta):
        super().__init__()
        layers = [nn.Linear(*theta[f"layers.{i}.weight"].shape[::-1], dtype=torch.float64) for i in range(3)]
        self.layers = nn.ModuleList(layers)
        self.log_std = nn.Parameter(torch.empty_like(theta["log_std"]))
        self.load_state_dict(theta)

    def forward(self, x):
        x = self.layers[1](self.layers[0](x).tanh()).tanh()
        return td.Independent(td.Normal(self.layers[2](x), self.log_std.exp()), 1)


def test_second_order_equals_task_at_a_time_higher(problem, close, optimizer, inner_steps):
    """higher adds Adam's eps before the bias correction, torch after: eps·√(1 − β₂ᵗ) makes the two one formula."""
    p = problem(optimizer, inner_steps)
    theta = {name: p.theta[name] for name in p.theta}
    total = {name: torch.zeros_like(x) for name, x in theta.items()}
    for task in range(p.oracle.num_tasks):
        model = PlainGaussian(theta)
        rule = getattr(torch.optim, p.oracle.optimizer)(model.parameters(), lr=p.oracle.lr, **p.oracle.settings)
        with higher.innerloop_ctx(model, rule, copy_initial_weights=False) as (patched, differentiable):
            for k in range(inner_steps):
                observations, actions, advantages = p.oracle.steps(task, k)
                loss = -(patched(observations).log_prob(actions) * advantages).mean()
                eps = p.oracle.settings.get("eps", 0.0) * (1 - 0.999 ** (k + 1)) ** 0.5
                differentiable.step(loss, override={"eps": [eps]})
            observations, actions, advantages = p.oracle.steps(task, -1)
            log_prob = patched(observations).log_prob(actions)
            loss = -(torch.exp(log_prob - log_prob.detach()) * advantages).mean()
            for (name, _), g in zip(
                model.named_parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
            ):
                total[name] += g / p.oracle.num_tasks
    close(p.function.gradient(), flatten(total), 1e-12)


def gradient_at_adapted(p):
    """Mean over tasks of the outer loss' gradient at φ_K, J left out."""
    gradients = []
    for task in range(p.oracle.num_tasks):
        phi = {name: x.requires_grad_() for name, x in p.oracle.adapted(task).items()}
        observations, actions, advantages = p.oracle.steps(task, -1)
        loss = -(p.oracle.distribution(phi, observations).log_prob(actions) * advantages).mean()
        gradients.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(phi.values()))]))
    return torch.stack(gradients).mean(0)


@POLICIES
def test_first_order_is_the_gradient_at_the_adapted_parameters(problem, close, optimizer, inner_steps, discrete):
    """Traps 1 and 3, and the theorem that the ratio is 1: the ratio's gradient at φ_K is REINFORCE's at φ_K."""
    p = problem(optimizer, inner_steps, order="first", discrete=discrete)
    close(p.function.gradient(), gradient_at_adapted(p), 1e-12)


@POLICIES
def test_without_inner_steps_both_orders_are_reinforce(problem, close, discrete):
    """Theorem: before any update the likelihood ratio is 1 and the surrogate's gradient the policy gradient."""
    first, second = (problem(inner_steps=0, order=order, discrete=discrete) for order in ("first", "second"))
    close(first.function.gradient(), gradient_at_adapted(first), 1e-13)
    assert torch.equal(first.function.gradient(), second.function.gradient())


def test_a_step_size_of_zero_makes_the_orders_equal(problem, optimizer, inner_steps):
    first, second = (problem(optimizer, inner_steps, lr=0.0, order=order).function for order in ("first", "second"))
    assert torch.equal(first.gradient(), second.gradient())


def test_the_orders_differ_as_soon_as_something_is_learned(problem, optimizer, inner_steps):
    """Trap 1: a switch that reaches nothing would make them equal."""
    first, second = (problem(optimizer, inner_steps, order=order).function.gradient() for order in ("first", "second"))
    assert (first - second).norm() > 0.05 * second.norm()


def test_task_gradients_are_those_of_the_tasks_alone(problem, close):
    """No task leaks into another's gradient although all share one graph."""
    p = problem(inner_steps=2)
    gradients = p.function.task_gradients()

    def loss_of_task(task):
        def loss(theta):
            observations, actions, advantages = p.oracle.steps(task, -1)
            new = p.oracle.distribution(p.oracle.adapt(theta, task), observations).log_prob(actions)
            return -(torch.exp(new - new.detach()) * advantages).mean()

        return loss

    for task in range(p.oracle.num_tasks):
        mine = flatten({name: g[task] for name, g in gradients.items()})
        close(mine, p.oracle.gradient(loss_of_task(task)), 1e-12)


class OnlyTheHead:
    """A selection of what adapts: the last layer."""

    def select(self, names):
        return [name for name in names if name.startswith("layers.2")]


def test_parameters_that_do_not_adapt_still_meta_learn(problem, differences, close, optimizer):
    function = problem(optimizer, 2, fast_weights=OnlyTheHead).function
    close(function.gradient(), differences(value(function), function.theta), 2e-9)


# ---- curvature


def probes(function, generator, number=4):
    return torch.randn(number, len(function.theta), generator=generator, dtype=torch.float64)


@POLICIES
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_second_order_curvature_is_the_hessian_of_the_kl(problem, close, optimizer, inner_steps, discrete, generator):
    """∇²KL = Jᵀ F J at θ_old; the oracle differentiates twice through everything."""
    p = problem(optimizer, inner_steps, discrete=discrete, hidden=(3,))
    hessian, product = p.oracle.hessian(p.oracle.kl), p.function.curvature("second")
    for v in probes(p.function, generator):
        close(product(v), hessian @ v, 1e-11)


@POLICIES
def test_first_order_curvature_is_the_fisher_matrix_after_adaptation(problem, close, optimizer, discrete, generator):
    """First order: J is the derivative of the update rule alone, for these rules the identity."""
    p = problem(optimizer, 2, discrete=discrete, hidden=(3,))

    def kl_of_moved(delta):
        """KL between π_φ_K and π_(φ_K + δ), the same δ in all tasks."""
        divergences = []
        for task in range(p.oracle.num_tasks):
            phi, observations = p.oracle.adapted(task), p.oracle.steps(task, -1)[0]
            moved = {name: x + d for (name, x), d in zip(phi.items(), unflatten(delta, p.theta).values(), strict=True)}
            old, new = (p.oracle.distribution(parameters, observations) for parameters in (phi, moved))
            divergences.append(td.kl_divergence(old, new).mean())
        return torch.stack(divergences).mean()

    fisher = torch.autograd.functional.hessian(kl_of_moved, torch.zeros_like(p.function.theta))
    product = p.function.curvature("first")
    for v in probes(p.function, generator):
        close(product(v), fisher @ v, 1e-11)


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("asked", ["first", "second"])
def test_the_order_of_the_curvature_is_free_of_the_order_of_the_gradient(problem, generator, order, asked):
    """Either batch gives either curvature: the path is taken again where the other order is asked for."""
    mine, other = problem(inner_steps=2, order=order).function, problem(inner_steps=2, order=asked).function
    for v in probes(mine, generator, 2):
        torch.testing.assert_close(mine.curvature(asked)(v), other.curvature(asked)(v), rtol=1e-13, atol=0)


@pytest.mark.parametrize("eps", [1e-8, 1e-2])
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_curvature_with_adam_and_a_dead_relu_unit(problem, differences, close, inner_steps, eps, generator):
    """Trap 21: a unit that no input switches on has a gradient of exactly zero; Jᵀ F J stays finite, and right.

    J from finite differences of φ_K(θ), F from double backward at φ_K, where no square root is.
    """
    p = problem("adam", inner_steps, activation="relu", hidden=(5,), dead=True, settings={"eps": eps})
    dead = p.batch.path.steps[0].gradients["layers.0.weight"][:, 2]
    assert torch.equal(dead, torch.zeros_like(dead))
    expected = torch.zeros(2 * [len(p.function.theta)], dtype=torch.float64)
    for task in range(p.oracle.num_tasks):
        observations = p.oracle.steps(task, -1)[0]

        def phi(theta, task=task):
            return flatten(p.oracle.adapt(theta.clone().requires_grad_(), task)).detach()

        adapted = phi(p.function.theta)
        old = p.oracle.distribution(unflatten(adapted, p.theta), observations)

        def kl(vector, old=old, observations=observations):
            new = p.oracle.distribution(unflatten(vector, p.theta), observations)
            return td.kl_divergence(old, new).mean()

        jacobian = differences(phi, p.function.theta)
        fisher = torch.autograd.functional.hessian(kl, adapted)
        expected += jacobian.T @ fisher @ jacobian / p.oracle.num_tasks
    product = p.function.curvature("second")
    for v in probes(p.function, generator):
        close(product(v), expected @ v, 1e-6)


# ---- guards


def test_a_loss_that_is_not_finite_names_its_task_and_keeps_its_batch(problem):
    p = problem()
    post = p.batch.experiences[-1]
    advantages = post.advantages.clone()
    advantages[1, 0, 0] = torch.nan
    batch = p.batch._replace(experiences=(p.batch.experiences[0], post._replace(advantages=advantages)))
    with pytest.raises(NonFiniteError, match=r"outer loss.*first at \[1\]") as caught:
        MetaFunction(p.function.objective, batch, p.theta, p.adaptation, Mean())
    assert caught.value.batch is batch


def test_a_meta_gradient_that_is_not_finite_is_refused(problem):
    p = problem()
    p.function.own_losses = p.function.own_losses * torch.tensor([1.0, torch.inf, 1.0])
    with pytest.raises(NonFiniteError, match=r"meta-gradient of log_std.*first at \[1, "):
        p.function.gradient()


def test_the_gradient_of_the_kl_is_that_of_finite_differences(problem, differences, close, generator):
    p = problem("sgd", 1)
    theta = p.function.theta + 0.1 * torch.randn(p.function.theta.shape, generator=generator, dtype=torch.float64)
    numeric = differences(lambda x: torch.tensor(p.function.at(x).kl(), dtype=x.dtype), theta)
    close(p.function.kl_gradient(theta), numeric, 1e-6)
    assert p.function.kl_gradient(p.function.theta).abs().max() < 1e-12


def test_curvature_by_finite_differences_is_the_exact_one_for_a_small_vector_alone(problem, optimizer, generator):
    """Along v the step is v / |θ|: exact to second order in v, and another product for one as long as θ."""
    p = problem(optimizer, 2)
    v = torch.randn(p.function.theta.shape, generator=generator, dtype=torch.float64)
    exact, product = p.function.curvature("second")(v), p.function.finite_difference_curvature()
    errors = [(product(scale * v) / scale - exact).norm() / exact.norm() for scale in (1.0, 1e-3, 1e-4)]
    assert errors[0] > 1e-3
    assert errors[2] < 2e-2 * errors[1] < 1e-3


def test_a_curvature_product_that_is_not_finite_is_refused(problem):
    """Otherwise every line search would be rejected in silence, for the rest of the run."""
    function = problem().function
    with pytest.raises(NonFiniteError, match=r"curvature product"):
        function.curvature("second")(torch.full_like(function.theta, torch.inf))


def test_a_part_of_trajectories_that_come_twice_has_the_curvature_of_all(problem, optimizer, close):
    """Each batch's trajectories again, in their order: the first half of them is the whole batch."""
    p = problem(optimizer, 2)

    def twice(experience):
        parts = {n: torch.cat([x, x], 1) for n, x in experience._asdict().items() if isinstance(x, torch.Tensor)}
        return experience._replace(**parts)

    experiences = tuple(map(twice, p.batch.experiences))
    path = p.adaptation.start(p.theta, p.oracle.num_tasks, "second")
    for experience in experiences[:-1]:
        path.step(experience)
    batch = p.batch._replace(experiences=experiences, path=path)
    whole = MetaFunction(p.function.objective, batch, p.theta, p.adaptation, Mean())
    vector = torch.randn(whole.theta.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for order in ("first", "second"):
        close(whole.part(0.5).curvature(order)(vector), whole.curvature(order)(vector), 1e-11)
    assert whole.part(0.01).batch.experiences[0].mask.shape[1] == 1
