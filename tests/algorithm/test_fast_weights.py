"""What adapts: who is selected, who stays, and that what stays is still learned."""

import pytest
import torch

from metarl_exp import wiring
from metarl_exp.algorithm.fast_weights import All, Body, Context, Head
from metarl_exp.maths.parameters import flatten, stack, unflatten
from metarl_exp.policy import CategoricalMLP, ContextMLP, GaussianHead
from metarl_exp.types import Spec

HEAD = {"layers.2.weight", "layers.2.bias", "log_std"}
KINDS = pytest.mark.parametrize(
    ("kind", "context"), [(Head, 0), (Body, 0), (Context, 2), (All, 2)], ids=["anil", "boil", "cavia", "all"]
)
POLICIES = pytest.mark.parametrize("discrete", [False, True], ids=["gaussian", "categorical"])


def test_all_selects_everything_in_order():
    assert All().select(iter({"b": 1, "a": 2, "log_std": 3})) == ["b", "a", "log_std"]


@POLICIES
def test_the_policy_says_what_is_selected(problem, discrete):
    names = list(problem(discrete=discrete, context=2).theta)
    head = [name for name in names if name in HEAD]
    assert len(head) == (2 if discrete else 3)
    for kind, expected in {
        Head: head,
        Body: [name for name in names if name not in HEAD],
        Context: ["context"],
    }.items():
        assert kind(problem(discrete=discrete, context=2).adaptation.policy).select(names) == expected


@pytest.mark.parametrize("order", ["first", "second"])
@KINDS
def test_unselected_parameters_stay_bit_for_bit_and_all_others_move(problem, optimizer, kind, context, order):
    p = problem(optimizer, 3, order=order, fast_weights=kind, context=context)
    start = stack(p.theta, 3) | ({"context": torch.zeros(3, 2, dtype=torch.float64)} if context else {})
    first, *later = p.batch.path.iterates()
    assert all(torch.equal(x, start[name]) for name, x in first.items())
    for visited in later:
        for name, x in visited.items():
            assert torch.equal(x, start[name]) != (name in p.oracle.fast), name


# ---- derivatives


def smooth(optimizer, kind):
    """Whether the oracle can be differentiated: its √v cannot at 0, where the weights of a context of 0 begin."""
    return not (optimizer == "adam" and kind is All)


@KINDS
@POLICIES
def test_the_gradient_is_the_derivative_of_the_value(problem, differences, close, optimizer, kind, context, discrete):
    """In second order, by finite differences and by plain autograd, one task at a time."""
    p = problem(optimizer, 2, fast_weights=kind, context=context, discrete=discrete, hidden=(3, 2))

    def value(theta):
        return torch.tensor(p.function.evaluate(theta).loss, dtype=torch.float64)

    gradient = p.function.gradient()
    close(gradient, differences(value, p.function.theta), 2e-9)
    if smooth(optimizer, kind):
        close(gradient, p.oracle.gradient(p.oracle.outer_loss), 1e-12)
    assert_learned(unflatten(gradient, p.theta))


@KINDS
@POLICIES
def test_the_first_order_gradient_is_that_with_the_same_inner_updates(
    problem, differences, close, inner_steps, kind, context, discrete
):
    """F with φ_K = φ_0(θ) + what was added to it at θ_old, by finite differences."""
    p = problem("sgd", inner_steps, order="first", fast_weights=kind, context=context, discrete=discrete, hidden=(3, 2))
    path = p.batch.path
    adapted = [p.oracle.adapted(task) for task in range(3)]
    added = {name: (x - path.theta[name]).detach() for name, x in path.parameters.items()}

    def value(theta):
        start, losses = unflatten(theta, p.theta), []
        if context:
            start["context"] = torch.zeros_like(start["context"])
        for task in range(3):
            phi = {name: start[name] + added[name][task] for name in start}
            losses.append(p.oracle.loss_after(phi, adapted[task], task))
        return torch.stack(losses).mean().detach()

    gradient = p.function.gradient()
    close(gradient, differences(value, p.function.theta), 2e-9)
    assert_learned(unflatten(gradient, p.theta))


def assert_learned(gradient):
    """Every parameter has a meta-gradient, whether it adapts or not; only a context has none."""
    for name, x in gradient.items():
        assert (x.norm() > 1e-4) == (name != "context"), name
    assert "context" not in gradient or torch.equal(gradient["context"], torch.zeros(2, dtype=torch.float64))


@KINDS
@POLICIES
def test_the_curvature_is_the_hessian_of_the_kl(problem, close, optimizer, kind, context, discrete, generator):
    if not smooth(optimizer, kind):
        optimizer = "momentum"
    p = problem(optimizer, 2, fast_weights=kind, context=context, discrete=discrete, hidden=(3, 2))
    hessian, product = p.oracle.hessian(p.oracle.kl), p.function.curvature("second")
    u, v = torch.randn(2, len(p.function.theta), generator=generator, dtype=torch.float64)
    close(product(v), hessian @ v, 1e-11)
    assert (u @ product(v)).item() == pytest.approx((v @ product(u)).item(), rel=1e-11)


@pytest.mark.parametrize("order", ["first", "second"])
@KINDS
def test_pull_is_the_transpose_of_push(problem, optimizer, kind, context, order, generator):
    path = problem(optimizer, 3, order=order, fast_weights=kind, context=context).batch.path
    u, v = (
        {n: torch.randn(x.shape, generator=generator, dtype=x.dtype) for n, x in path.parameters.items()}
        for _ in range(2)
    )
    forward, backward = flatten(u) @ flatten(path.jvp()(v)), flatten(path.vjp({-1: u})) @ flatten(v)
    assert forward.item() == pytest.approx(backward.item(), rel=1e-11)


# ---- context


@pytest.mark.parametrize("order", ["first", "second"])
def test_the_curvature_knows_no_context(problem, order, generator):
    """Neither what comes out there nor what goes in there is anything."""
    p = problem(inner_steps=2, order=order, fast_weights=Context, context=2)
    product = p.function.curvature(order)
    v = torch.randn(len(p.function.theta), generator=generator, dtype=torch.float64)
    without = unflatten(v.clone(), p.theta)
    without["context"].zero_()
    assert torch.equal(product(v), product(flatten(without)))
    assert torch.equal(unflatten(product(v), p.theta)["context"], torch.zeros(2, dtype=torch.float64))


def test_with_a_context_of_zero_the_policy_is_one_of_the_observation_alone(problem, close):
    p = problem(inner_steps=1, discrete=True, fast_weights=Context, context=2)
    plain = {name: x for name, x in p.theta.items() if name != "context"}
    plain["layers.0.weight"] = plain["layers.0.weight"][:, :3]
    observations = p.batch.experiences[0].observations
    spec = p.adaptation.policy.spec
    assert spec.observation_size == 3
    alone = CategoricalMLP((5, 4), "tanh", spec, dtype=torch.float64)(plain, observations)
    start, adapted = p.batch.path.iterates()
    close(p.adaptation.policy(start, observations).logits, alone.logits, 1e-13)
    assert (p.adaptation.policy(adapted, observations).logits - alone.logits).abs().max() > 1e-3


@pytest.mark.parametrize("which", [Context, All])
@pytest.mark.parametrize(
    "outer",
    [
        ["outer_optimizer=trpo"],
        ["outer_optimizer=adam"],
        ["outer_optimizer=adam", "outer_optimizer.optimizer=AdamW"],
        ["outer_optimizer=adam", "adaptation.order=first", "objective=reptile"],
    ],
    ids=["trpo", "adam", "adamw", "reptile"],
)
def test_a_context_is_never_learned(tiny, which, outer):
    """It is 0 in θ, exactly, although it adapts to every task."""
    config = [*tiny, f"fast_weights={which.__name__.lower()}", "policy=mlp_context", *outer]
    learner = wiring.assemble(wiring.compose(config)).learner
    before = learner.theta
    learner.train(3)
    assert torch.equal(learner.theta["context"], torch.zeros(5))
    moved = [name for name, x in learner.theta.items() if not torch.equal(x, before[name])]
    if outer[-1] != "objective=reptile" or which is All:  # Reptile learns what adapts
        assert set(moved) == set(before) - {"context"}
    batch = learner.inner_update(learner.task_distribution.sample(3, torch.Generator().manual_seed(0)))
    assert torch.equal(batch.experiences[0].parameters["context"], torch.zeros(3, 5))
    assert (batch.path.parameters["context"].abs().sum(1) > 0).all()


# ---- guards


def test_parameters_that_a_policy_lacks_cannot_adapt():
    linear = CategoricalMLP([], "tanh", Spec(3, 2, True, 5))
    with pytest.raises(ValueError, match=r"fast_weights=context: .*take policy=mlp_context"):
        Context(linear)
    with pytest.raises(ValueError, match=r"fast_weights=body: .*needs hidden layers"):
        Body(linear)


@pytest.mark.parametrize("size", [0, -1, 2.0, None])
def test_a_context_without_a_size_is_refused(size):
    with pytest.raises(ValueError, match=r"policy\.context_size="):
        ContextMLP([4], "tanh", size, GaussianHead(1.0, 1e-6, 100.0, Spec(3, 2, False, 5)))
