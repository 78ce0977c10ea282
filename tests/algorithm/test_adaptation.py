"""The path θ → φ_K: its values, its derivatives in both directions, and what it keeps in memory."""

import weakref

import pytest
import torch

from metarl_exp.algorithm.adaptation import Adaptation, require_schedule, scale_at
from metarl_exp.algorithm.derivatives.autograd import Autograd
from metarl_exp.maths.parameters import flatten, stack, unflatten
from metarl_exp.process.failures import NonFiniteError

ORDERS = pytest.mark.parametrize("order", ["first", "second"])


def flat_per_task(stacked):
    """{name: [N, …]} → [N, P]."""
    return torch.cat([x.detach().flatten(1) for x in stacked.values()], dim=1)


def random_like(parameters, generator):
    return {n: torch.randn(x.shape, generator=generator, dtype=x.dtype) for n, x in parameters.items()}


def phi(p, order="first"):
    """θ [P] ↦ φ_K [N, P] on the samples of the problem's batch."""

    def adapt(theta):
        path = p.adaptation.start(unflatten(theta, p.theta), p.oracle.num_tasks, order)
        for experience in p.batch.experiences[:-1]:
            path.step(experience)
        return flat_per_task(path.parameters)

    return adapt


# ---- values


@ORDERS
@pytest.mark.parametrize("discrete", [False, True], ids=["gaussian", "categorical"])
def test_adapts_each_task_as_if_it_were_alone(problem, close, optimizer, inner_steps, order, discrete):
    """Traps 2, 4 and 5: sums over action dimensions, means over the steps that happened, K gradient steps."""
    p = problem(optimizer, inner_steps, order=order, discrete=discrete)
    expected = torch.stack([flatten(p.oracle.adapted(task)) for task in range(p.oracle.num_tasks)])
    close(flat_per_task(p.batch.path.parameters), expected, 1e-13)


def test_a_step_size_of_zero_leaves_theta(problem, optimizer):
    p = problem(optimizer, 3, lr=0.0)
    assert torch.equal(flat_per_task(p.batch.path.parameters), flat_per_task(stack(p.theta, 3)))


def test_scale_multiplies_the_step_size(problem, optimizer):
    """Trap 11: the published test halves every step but the first."""
    whole, half = problem(optimizer), problem(optimizer, lr=0.05)
    path = whole.adaptation.start(whole.theta, 3, "first")
    path.step(whole.batch.experiences[0], scale=0.5)
    torch.testing.assert_close(path.parameters, half.batch.path.parameters, rtol=1e-15, atol=1e-15)
    assert path.steps[0].scale == 0.5


def test_the_last_number_of_a_schedule_holds_from_there_on():
    assert [scale_at([1.0, 0.5, 0.25], k) for k in range(5)] == [1.0, 0.5, 0.25, 0.25, 0.25]


@pytest.mark.parametrize("schedule", [[], (), "0.5", 0.5, None, [1.0, -0.5], [1.0, float("nan")], [1.0, "half"]])
def test_a_schedule_that_is_none_is_refused(schedule):
    with pytest.raises(ValueError, match=r"^step_size_schedule="):
        require_schedule("step_size_schedule", schedule)


def test_a_schedule_passes():
    require_schedule("step_size_schedule", [1, 0.5, 0.0])


def test_k_steps_on_a_quadratic_by_hand(problem):
    """Traps 3 and 11: L(φ) = |φ|² / 2 shrinks φ by (1 − scale · α) a step, and the derivative by the same."""
    p = problem()

    class Own(tuple):
        """In place of a distribution, the parameters themselves."""

        _make = classmethod(lambda cls, values: cls(values))

    class OwnParameters:
        context_names = frozenset()

        def named_parameters(self):
            return p.theta.items()

        def __call__(self, parameters, observations):
            return Own(parameters.values())

    def quadratic(own, acted, experience):
        return 0.5 * sum(x.square().flatten(1).sum(1) for x in own)

    rule, everything = p.adaptation.inner_optimizer, p.adaptation.fast_weights
    adaptation = Adaptation(3, "second", OwnParameters(), rule, everything, quadratic)
    path = adaptation.start(p.theta, 2, "second")
    for scale in (1.0, 0.5, 0.5):
        path.step(p.batch.experiences[0], scale)
    factor = (1 - 0.1) * (1 - 0.05) ** 2
    expected = {name: factor * x for name, x in stack(p.theta, 2).items()}
    torch.testing.assert_close(path.parameters, expected, rtol=1e-14, atol=0)
    tangent = stack(p.theta, 2)
    torch.testing.assert_close(path.jvp()(tangent), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(path.vjp({-1: tangent}), expected, rtol=1e-14, atol=0)


def test_theta_is_copied_not_aliased(problem):
    p = problem(inner_steps=1)
    before = flatten(p.theta).clone()
    with torch.no_grad():
        for x in p.adaptation.start(p.theta, 3, "first").parameters.values():
            x.zero_()
    assert torch.equal(flatten(p.theta), before)


def test_each_path_starts_with_fresh_state(problem):
    """Momentum left over from one adaptation would show in the next."""
    p = problem("momentum", 2)
    again = phi(p)(p.function.theta)
    assert torch.equal(again, phi(p)(p.function.theta))
    assert torch.equal(again, flat_per_task(p.batch.path.parameters))


# ---- derivatives


@pytest.fixture
def moved(differences):
    """d φ_K(θ + s v) / ds at s = 0 by finite differences, [N, P]."""

    def along(p, v):
        start = torch.zeros(1, dtype=torch.float64)
        return differences(lambda s: phi(p)(p.function.theta + s * v), start, 1e-5)[..., 0]

    return along


@pytest.mark.parametrize("discrete", [False, True], ids=["gaussian", "categorical"])
def test_push_is_the_derivative_of_phi(problem, moved, close, optimizer, inner_steps, discrete, generator):
    p = problem(optimizer, inner_steps, discrete=discrete)
    for v in torch.randn(4, len(p.function.theta), generator=generator, dtype=torch.float64):
        pushed = p.batch.path.jvp()(stack(unflatten(v, p.theta), 3))
        close(flat_per_task(pushed), moved(p, v), 3e-9)


@ORDERS
@pytest.mark.parametrize("discrete", [False, True], ids=["gaussian", "categorical"])
def test_pull_is_the_transpose_of_push(problem, optimizer, inner_steps, order, discrete, generator):
    """⟨u, J v⟩ = ⟨Jᵀ u, v⟩ for every task."""
    p = problem(optimizer, inner_steps, order=order, discrete=discrete)
    u, v = (random_like(p.batch.path.parameters, generator) for _ in range(2))
    forward = (flat_per_task(u) * flat_per_task(p.batch.path.jvp()(v))).sum(1)
    backward = (flat_per_task(p.batch.path.vjp({-1: u})) * flat_per_task(v)).sum(1)
    torch.testing.assert_close(forward, backward, rtol=1e-11, atol=1e-12)


def test_the_first_order_derivative_is_that_of_the_rule_alone(problem, optimizer, inner_steps, generator):
    """The gradients count as constants: for these rules J = I."""
    path = problem(optimizer, inner_steps, order="first").batch.path
    v = random_like(path.parameters, generator)
    torch.testing.assert_close(path.jvp()(v), v, rtol=0, atol=0)
    torch.testing.assert_close(path.vjp({-1: v}), v, rtol=0, atol=0)


def test_without_steps_phi_is_theta(problem, generator):
    path = problem(inner_steps=0).batch.path
    v = random_like(path.parameters, generator)
    torch.testing.assert_close(path.jvp()(v), v, rtol=0, atol=0)
    torch.testing.assert_close(path.vjp({-1: v}), v, rtol=0, atol=0)


@pytest.mark.parametrize("inner_steps", [1, 3])
@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_adam_with_a_dead_relu_unit(problem, moved, close, inner_steps, eps, generator):
    """Trap 21: where a gradient is exactly zero, both products stay finite and right."""
    p = problem("adam", inner_steps, activation="relu", hidden=(5,), dead=True, settings={"eps": eps})
    v = torch.randn(len(p.function.theta), generator=generator, dtype=torch.float64)
    u = random_like(p.batch.path.parameters, generator)
    pushed, pulled = p.batch.path.jvp()(stack(unflatten(v, p.theta), 3)), p.batch.path.vjp({-1: u})
    close(flat_per_task(pushed), moved(p, v), 2e-7)
    forward, backward = (flat_per_task(u) * flat_per_task(pushed)).sum(1), flat_per_task(pulled) @ v
    torch.testing.assert_close(forward, backward, rtol=1e-11, atol=1e-12)
    assert all(x.isfinite().all() for product in (pushed, pulled) for x in product.values())


class OnlyTheHead:
    """A selection of what adapts: the last layer."""

    def select(self, names):
        return [name for name in names if name.startswith("layers.2")]


def test_unselected_parameters_stay(problem, moved, close, optimizer, generator):
    p = problem(optimizer, 2, fast_weights=OnlyTheHead)
    for name, x in p.batch.path.parameters.items():
        assert torch.equal(x, stack(p.theta, 3)[name]) != name.startswith("layers.2")
    v = torch.randn(len(p.function.theta), generator=generator, dtype=torch.float64)
    pushed = p.batch.path.jvp()(stack(unflatten(v, p.theta), 3))
    close(flat_per_task(pushed), moved(p, v), 3e-9)


# ---- memory


class Saved:
    """What autograd keeps for a backward pass, in place of the tensor itself."""

    def __init__(self, tensor):
        self.tensor = tensor


def retained(p, order):
    """Tensors that autograd has saved and still keeps alive once the path has been walked."""
    alive = weakref.WeakSet()

    def pack(tensor):
        saved = Saved(tensor.detach())
        alive.add(saved)
        return saved

    path = p.adaptation.start(p.theta, p.oracle.num_tasks, order)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
        for experience in p.batch.experiences[:-1]:
            path.step(experience)
    assert path.parameters is not p.theta  # the path is alive while its memory is counted
    return [saved.tensor for saved in alive]


def size(tensors):
    return sum(x.numel() * x.element_size() for x in tensors)


@pytest.fixture
def by_autograd(monkeypatch):
    """Second order by the graph of the inner gradient, as for policies without analytic derivatives."""
    monkeypatch.setattr("metarl_exp.algorithm.adaptation.derivatives_of", lambda policy, *_, **__: Autograd(policy))


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_first_order_keeps_no_graph_of_the_loss(by_autograd, problem, optimizer, inner_steps):
    """Trap 1: the switch changes the bytes that are kept, not only the numbers."""
    small, large = (problem(optimizer, inner_steps, repeat=repeat) for repeat in (1, 16))
    assert size(retained(large, "first")) == size(retained(small, "first"))
    largest = max(x.numel() for x in stack(small.theta, 3).values())
    assert all(x.numel() <= largest for x in retained(large, "first"))
    assert size(retained(large, "second")) > 4 * size(retained(small, "second"))
    assert size(retained(small, "second")) > 2 * size(retained(small, "first"))


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_analytic_second_order_keeps_no_graph_of_the_loss(problem, optimizer, inner_steps):
    """It keeps activations of its own."""
    small, large = (problem(optimizer, inner_steps, repeat=repeat) for repeat in (1, 16))
    assert size(retained(large, "second")) == size(retained(small, "second"))


def test_walking_in_first_order_saves_less_than_half(by_autograd, problem, optimizer):
    """All that is saved on the way, kept or not."""

    def saved_bytes(order):
        p, count = problem(optimizer, 2, order=order, repeat=16), []
        path = p.adaptation.start(p.theta, p.oracle.num_tasks, order)
        with torch.autograd.graph.saved_tensors_hooks(lambda x: count.append(x) or x, lambda x: x):
            for experience in p.batch.experiences[:-1]:
                path.step(experience)
        return size(count)

    assert saved_bytes("second") > 2 * saved_bytes("first")


# ---- guards


@pytest.mark.parametrize("order", ["First", "none", None])
def test_an_order_that_does_not_exist_is_refused(problem, order):
    p = problem()
    arguments = p.adaptation.policy, p.adaptation.inner_optimizer, p.adaptation.fast_weights, p.adaptation.inner_loss
    with pytest.raises(ValueError, match=r"order=.*allowed are first, second"):
        Adaptation(1, order, *arguments)
    with pytest.raises(ValueError, match=r"order=.*allowed are first, second"):
        p.adaptation.start(p.theta, 1, order)


@pytest.mark.parametrize("inner_steps", [-1, 1.0, True, None])
def test_a_number_of_steps_that_is_none_is_refused(problem, inner_steps):
    p = problem()
    arguments = p.adaptation.policy, p.adaptation.inner_optimizer, p.adaptation.fast_weights, p.adaptation.inner_loss
    with pytest.raises(ValueError, match=r"adaptation.inner_steps=.*integer ≥ 0"):
        Adaptation(inner_steps, "first", *arguments)


def test_an_inner_loss_that_is_not_finite_names_its_task(problem):
    p = problem()
    experience = p.batch.experiences[0]
    advantages = experience.advantages.clone()
    advantages[2, 1, 0] = torch.inf
    broken = experience._replace(advantages=advantages)
    with pytest.raises(NonFiniteError, match=r"inner loss.*first at \[2\]") as caught:
        p.adaptation.start(p.theta, 3, "first").step(broken)
    assert caught.value.batch is broken


def test_an_inner_gradient_that_is_not_finite_names_its_parameter(problem):
    """√x at 0: a finite loss with an infinite slope."""
    p = problem()

    def root(distribution, acted, experience):
        return (distribution.log_std * 0).sqrt().sum((1, 2, 3))

    adaptation = Adaptation(
        1, "first", p.adaptation.policy, p.adaptation.inner_optimizer, p.adaptation.fast_weights, root
    )
    with pytest.raises(NonFiniteError, match="inner gradient of log_std"):
        adaptation.start(p.theta, 3, "first").step(p.batch.experiences[0])
