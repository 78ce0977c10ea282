"""Inner step sizes that are learned: part of θ with all its derivatives, and of nothing that a policy sees."""

import pytest
import torch

from metarl_exp import wiring
from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.fast_weights import All, Context, Head
from metarl_exp.algorithm.inner_optimizer import LearnedStepSizes
from metarl_exp.algorithm.objective import MetaFunction
from metarl_exp.maths.parameters import flatten, unflatten
from metarl_exp.runs import checkpoint

GRANULARITY = pytest.mark.parametrize("granularity", ["entry", "tensor", "step"])


def step_size_at(learned, granularity, k):
    """α of one task's tensor at the k-th step, from its entry of θ."""
    return learned[min(k, len(learned) - 1)] if granularity == "step" else learned


def numbers(iterations):
    return [{name: x for name, x in i.metrics.items() if not name.startswith("perf/")} for i in iterations]


# ---- second order


@GRANULARITY
def test_the_gradient_is_the_derivative_of_the_value(problem, differences, close, inner_steps, granularity):
    """With respect to parameters and step sizes; by finite differences and by plain autograd."""
    p = problem("sgd", inner_steps, granularity=granularity, hidden=(3,))

    def value(theta):
        return torch.tensor(p.function.evaluate(theta).loss, dtype=torch.float64)

    gradient = p.function.gradient()
    close(gradient, differences(value, p.function.theta), 2e-9)
    close(gradient, p.oracle.gradient(p.oracle.outer_loss), 1e-12)
    assert all(x.norm() > 1e-4 for x in unflatten(gradient, p.theta).values())


@pytest.mark.parametrize(("kind", "context"), [(Head, 0), (Context, 2), (All, 0)], ids=["anil", "cavia", "all"])
@GRANULARITY
def test_with_any_rule_and_whatever_adapts_it_is_the_oracle_s(problem, close, optimizer, kind, context, granularity):
    """And the curvature product the Hessian of the KL, with respect to all of θ."""
    p = problem(optimizer, 2, fast_weights=kind, context=context, granularity=granularity, hidden=(3, 2))
    assert {name for name in p.theta if name.startswith("inner_lr.")} == {f"inner_lr.{name}" for name in p.oracle.fast}
    close(p.function.gradient(), p.oracle.gradient(p.oracle.outer_loss), 1e-12)
    hessian, product = p.oracle.hessian(p.oracle.kl), p.function.curvature("second")
    v = torch.randn(len(p.function.theta), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    close(product(v), hessian @ v, 1e-11)


@pytest.mark.parametrize("order", ["first", "second"])
@GRANULARITY
def test_pull_is_the_transpose_of_push(problem, optimizer, granularity, order, generator):
    """From all of θ to the policy's parameters, and back."""
    p = problem(optimizer, 3, order=order, granularity=granularity)
    path = p.batch.path
    u, v = (
        {n: torch.randn(x.shape, generator=generator, dtype=x.dtype) for n, x in of.items()}
        for of in (path.parameters, path.theta)
    )
    pushed, pulled = path.jvp()(v), path.vjp({-1: u})
    assert list(pushed) == list(path.parameters)
    assert list(pulled) == list(p.theta)
    forward, backward = flatten(u) @ flatten(pushed), flatten(pulled) @ flatten(v)
    assert forward.item() == pytest.approx(backward.item(), rel=1e-11)


# ---- first order


def outer_gradients(p):
    """∇L of each task at φ_K, by the oracle."""
    for task in range(p.oracle.num_tasks):
        phi = {name: x.requires_grad_() for name, x in p.oracle.adapted(task).items()}
        observations, actions, advantages = p.oracle.steps(task, -1)
        loss = -(p.oracle.distribution(phi, observations).log_prob(actions) * advantages).mean()
        yield dict(zip(phi, torch.autograd.grad(loss, list(phi.values())), strict=True))


@GRANULARITY
def test_one_step_in_first_order_in_closed_form(problem, close, granularity):
    """∂F/∂α = −∇L(φ) g, entry by entry, or summed over the entries that share a step size."""
    p = problem("sgd", 1, order="first", granularity=granularity)
    found = unflatten(p.function.gradient(), p.theta)
    expected = {name: torch.zeros_like(x) for name, x in found.items()}
    for task, outer in enumerate(outer_gradients(p)):
        for name, x in outer.items():
            product = -x * p.batch.path.steps[0].gradients[name][task] / 3
            expected[name] += x / 3
            expected[f"inner_lr.{name}"] += product if granularity == "entry" else product.sum()
    close(flatten(found), flatten(expected), 1e-13)


@GRANULARITY
def test_several_steps_in_first_order_are_linear_in_the_step_sizes(
    problem, differences, close, inner_steps, granularity
):
    """With the inner gradients held fixed, F(θ) = L(θ − Σ_k α_k g_k): by finite differences."""
    p = problem("sgd", inner_steps, order="first", granularity=granularity, hidden=(3,))
    adapted = [p.oracle.adapted(task) for task in range(3)]

    def value(theta):
        given, losses = unflatten(theta, p.theta), []
        for task in range(3):
            phi = {}
            for name in p.batch.path.parameters:
                taken = (
                    step_size_at(given[f"inner_lr.{name}"], granularity, k) * step.gradients[name][task]
                    for k, step in enumerate(p.batch.path.steps)
                )
                phi[name] = given[name] - sum(taken)
            losses.append(p.oracle.loss_after(phi, adapted[task], task))
        return torch.stack(losses).mean()

    close(p.function.gradient(), differences(value, p.function.theta), 2e-9)


# ---- values


@pytest.mark.parametrize("order", ["first", "second"])
@GRANULARITY
def test_equal_step_sizes_are_those_of_the_fixed_rule(problem, close, optimizer, order, granularity):
    """The same φ_K bit for bit, and the same meta-gradient of the policy's parameters."""
    fixed, learned = problem(optimizer, 2, order=order), problem(optimizer, 2, order=order, granularity=granularity)
    theta = learned.theta | learned.adaptation.step_sizes
    path = learned.adaptation.start(theta, 3, order)
    for experience in learned.batch.experiences[:-1]:
        path.step(experience)
    assert all(torch.equal(path.parameters[name], x) for name, x in fixed.batch.path.parameters.items())
    batch = learned.batch._replace(path=path)
    function = MetaFunction(learned.function.objective, batch, theta, learned.adaptation, Mean())
    mine = unflatten(function.gradient(), theta)
    close(flatten({name: mine[name] for name in fixed.theta}), fixed.function.gradient(), 1e-13)


@GRANULARITY
def test_steps_beyond_those_of_training_take_the_last_step_size_and_a_scale_multiplies_it(problem, close, granularity):
    p = problem("sgd", 2, order="first", granularity=granularity)
    path = p.adaptation.start(p.theta, 3, "first")
    scales = [1.0, 0.5, 0.5, 2.0]
    for scale in scales:
        path.step(p.batch.experiences[0], scale)
    for k, (step, after) in enumerate(zip(path.steps, path.iterates()[1:], strict=True)):
        for name, x in step.parameters.items():
            alpha = step_size_at(p.theta[f"inner_lr.{name}"], granularity, k)
            close(after[name].detach(), x.detach() - scales[k] * alpha * step.gradients[name], 1e-14)


@GRANULARITY
def test_a_policy_sees_its_own_parameters_alone(problem, granularity):
    p = problem("sgd", 2, granularity=granularity)
    own = [name for name, _ in p.adaptation.policy.named_parameters()]
    assert all(list(phi) == own for phi in p.batch.path.iterates())
    assert all(list(policy.parameters) == own for policy in p.function.policies)
    assert list(p.theta) == own + [f"inner_lr.{name}" for name in own]


# ---- the learner


@pytest.fixture
def learner(tiny):
    """A tiny learner with step sizes that are learned, from its overrides."""

    def make(*overrides):
        return wiring.assemble(wiring.compose([*tiny, "inner_optimizer=meta_sgd", *overrides])).learner

    return make


@pytest.mark.parametrize("outer", ["trpo", "adam"])
@pytest.mark.parametrize("order", ["first", "second"])
@GRANULARITY
def test_a_learner_learns_them_and_goes_on_bit_for_bit_from_a_file(learner, tmp_path, outer, order, granularity):
    chosen = [
        f"inner_optimizer.granularity={granularity}", f"outer_optimizer={outer}", f"adaptation.order={order}",
        "adaptation=three_steps", "inner_optimizer.lr=0.05",
    ]  # fmt: skip
    meta = learner(*chosen)
    start = meta.theta
    shape = {"entry": (6, 2), "tensor": (), "step": (3,)}[granularity]
    assert torch.equal(start["inner_lr.layers.0.weight"], torch.full(shape, 0.05))
    meta.train(2)
    assert all(not torch.equal(x, start[name]) for name, x in meta.theta.items())
    checkpoint.save_latest(tmp_path, {**meta.state(), "fingerprint": "f", "seed": 0})
    expected, other = meta.train(2), learner(*chosen, "seed=5")
    other.train(1)
    other.restore(checkpoint.read_latest(tmp_path, "f", 0)[0])
    assert numbers(other.train(2)) == numbers(expected)
    assert torch.equal(flatten(other.theta), flatten(meta.theta))


def test_evaluation_adapts_with_the_step_sizes_of_the_theta_it_is_given(learner, tiny):
    meta = learner()
    protocol = wiring.assemble(wiring.compose(tiny)).evaluation
    still = {name: torch.zeros_like(x) if name.startswith("inner_lr.") else x for name, x in meta.theta.items()}
    fixed = wiring.assemble(wiring.compose(tiny)).learner
    assert torch.equal(protocol(meta, meta.theta, "test"), protocol(fixed, fixed.theta, "test"))
    assert not torch.equal(protocol(meta, still, "test"), protocol(meta, meta.theta, "test"))


def test_theta_of_a_fixed_step_size_is_another_policy(learner, tiny, tmp_path):
    fixed = wiring.assemble(wiring.compose(tiny)).learner
    checkpoint.save(tmp_path / "checkpoints" / "best.pt", {"theta": fixed.theta})
    with pytest.raises(checkpoint.CheckpointError, match=r"another policy.*inner_lr"):
        checkpoint.load_theta(tmp_path, "best", like=learner().theta)


def test_without_inner_steps_there_is_one_for_those_of_evaluation(learner):
    meta = learner("adaptation=none", "inner_optimizer.granularity=step")
    meta.train(1)
    assert torch.equal(meta.theta["inner_lr.log_std"], torch.full((1,), 0.5))


# ---- guards


def test_nonsensical_step_sizes_are_refused(learner):
    with pytest.raises(ValueError, match=r"inner_optimizer\.granularity='entrys'.*did you mean 'entry'"):
        LearnedStepSizes("SGD", 0.1, {}, "entrys")
    with pytest.raises(ValueError, match=r"inner_optimizer\.lr=-1"):
        LearnedStepSizes("SGD", -1, {}, "entry")
    with pytest.raises(ValueError, match=r"objective=reptile with inner_optimizer=LearnedStepSizes: .*fixed"):
        learner("objective=reptile", "adaptation.order=first", "outer_optimizer=adam")
