"""The algorithm as a whole, on small tasks: the laws it obeys."""

import copy
import inspect

import pytest
import torch
from torch import distributions as td

from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.advantage import GAE
from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.fast_weights import All
from metarl_exp.algorithm.inner_optimizer import InnerOptimizer
from metarl_exp.algorithm.meta_learner import MetaLearner
from metarl_exp.algorithm.objective import LVC, MAML, MetaFunction
from metarl_exp.algorithm.outer_optimizer import TRPO, TorchOptimizer
from metarl_exp.maths.parameters import flatten
from metarl_exp.policy import CategoricalMLP, GaussianMLP
from metarl_exp.process.failures import NonFiniteError
from metarl_exp.process.streams import streams
from metarl_exp.tasks import CartPole, Navigation2D
from metarl_exp.tasks.cartpole import NOMINAL

NAVIGATION = Navigation2D(6, "scaled", False)


def trust_region():
    return TRPO(0.01, 10, 1e-5, 1e-10, 0.8, 15, "same")


def learner(inner_steps=1, order="second", *, seed=0, lr=0.1, optimizer=("SGD", {}), outer=None, tasks=NAVIGATION):
    """A tiny learner in float64, reproducible from its seed."""
    random, objective = streams(seed), MAML()
    policy = GaussianMLP([5], "tanh", 1.0, 1e-6, 100.0, tasks.spec, random.initialisation, torch.float64)
    rule = InnerOptimizer(optimizer[0], lr, optimizer[1])
    return MetaLearner.compose(
        task_distribution=tasks,
        policy=policy,
        advantage=GAE(0.99, 1.0, 1e-5, standardise=True, bootstrap_time_limit=False),
        adaptation=Adaptation(inner_steps, order, policy, rule, All(), objective.inner_loss),
        objective=objective,
        outer_optimizer=outer or TorchOptimizer("SGD", 0.1, {}),
        aggregator=Mean(),
        meta_batch_size=3,
        trajectories=2,
        streams=random,
    )


def numbers(iterations):
    """The metrics that a seed decides."""
    return [{name: x for name, x in i.metrics.items() if not name.startswith("perf/")} for i in iterations]


# ---- the two doors


def essay(**given):
    policy = GaussianMLP([5], "tanh", 1.0, 1e-6, 100.0, NAVIGATION.spec, streams(0).initialisation, torch.float64)
    return MetaLearner(NAVIGATION, policy, 0.1, given.pop("outer_lr", 0.01), 1, 3, trajectories=2, **given)


def test_the_call_of_the_essay_takes_an_order_an_objective_and_an_outer_optimizer():
    first = essay(order="first", objective=LVC(), outer_optimizer=trust_region(), outer_lr=None)
    assert first.adaptation.order == "first"
    assert isinstance(first.objective, LVC)
    assert first.adaptation.inner_loss == first.objective.inner_loss
    assert isinstance(first.outer_optimizer, TRPO)
    orders = [essay(order=order).train(2)[-1].parameters for order in ("first", "second")]
    assert not torch.equal(flatten(orders[0]), flatten(orders[1]))


@pytest.mark.parametrize("given", [{"outer_lr": None}, {"outer_optimizer": trust_region()}])
def test_an_outer_step_size_goes_with_adam_alone(given):
    with pytest.raises(ValueError, match="outer_lr=.* with outer_optimizer=.*: pass a step size for Adam"):
        essay(**given)


def test_both_doors_say_what_they_take():
    """An editor shows every argument with its type, and none is swallowed."""
    for door in (MetaLearner, MetaLearner.compose):
        parameters = inspect.signature(door).parameters.values()
        assert all(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.annotation is not p.empty for p in parameters)
    with pytest.raises(TypeError, match="unexpected keyword argument 'inner_lr'"):
        MetaLearner.compose(inner_lr=0.1)


# ---- inner_update


def by_hand(parameters, experience, task, lr):
    """One step of SGD on one task: torch.distributions, indexing and autograd."""
    phi = {name: x[task].clone().requires_grad_() for name, x in parameters.items()}
    valid = experience.mask[task]
    hidden = (experience.observations[task][valid] @ phi["layers.0.weight"].T + phi["layers.0.bias"]).tanh()
    mean = hidden @ phi["layers.1.weight"].T + phi["layers.1.bias"]
    log_prob = td.Normal(mean, phi["log_std"].exp()).log_prob(experience.actions[task][valid]).sum(-1)
    loss = -(log_prob * experience.advantages[task][valid]).mean()
    gradients = torch.autograd.grad(loss, list(phi.values()))
    return {name: (x - lr * g).detach() for (name, x), g in zip(phi.items(), gradients, strict=True)}


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("inner_steps", [0, 1, 2, 3])
def test_every_batch_carries_the_parameters_that_sampled_it(inner_steps, order):
    """Traps 2 and 3: K + 1 batches; the first of θ, each following one of the step on the one before."""
    meta = learner(inner_steps, order)
    tasks = NAVIGATION.sample(3, torch.Generator().manual_seed(1))
    batch = meta.inner_update(tasks)
    assert len(batch.experiences) == inner_steps + 1
    assert batch.returns.shape == (3, inner_steps + 1)
    for task in range(3):
        expected = {name: x.expand(3, *x.shape) for name, x in meta.theta.items()}
        for k, experience in enumerate(batch.experiences):
            found = {name: x[task] for name, x in experience.parameters.items()}
            wanted = {name: x[task] for name, x in expected.items()}
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13, msg=f"φ_{k} of task {task}")
            stepped = by_hand(experience.parameters, experience, task, lr=0.1)
            expected = {name: x.expand(3, *x.shape) for name, x in stepped.items()}
    last = batch.experiences[-1].parameters
    assert all(torch.equal(last[name], x) for name, x in batch.path.parameters.items())


def test_the_data_of_every_batch_came_from_its_parameters():
    """Trap 3: with a deviation of nearly nothing, actions are the mean of the policy that is claimed to have acted."""
    meta = learner(2, lr=1e-5)  # such a policy's gradients are large
    with torch.no_grad():
        meta.policy.log_std.fill_(-9.0)
    batch = meta.inner_update(NAVIGATION.sample(3, torch.Generator().manual_seed(1)))
    means = [[meta.policy(e.parameters, f.observations).mean for e in batch.experiences] for f in batch.experiences]
    for k, experience in enumerate(batch.experiences):
        distance = [(mean - experience.actions)[experience.mask].abs().max() for mean in means[k]]
        assert distance[k] < 1e-3
        assert min(d for j, d in enumerate(distance) if j != k) > 1e-2


def test_returns_are_the_means_of_undiscounted_episode_returns(monkeypatch):
    meta = learner(1)
    sampled, original = [], meta.sampler
    monkeypatch.setattr(meta, "sampler", lambda *arguments: sampled.append(original(*arguments)) or sampled[-1])
    batch = meta.inner_update(NAVIGATION.sample(3, torch.Generator()))
    expected = torch.stack([t.rewards.sum(2).mean(1) for t in sampled], dim=1)
    torch.testing.assert_close(batch.returns, expected, rtol=1e-14, atol=0)


def test_one_task_is_a_batch_of_one():
    row = NAVIGATION.sample(1, torch.Generator())[0]
    assert learner().inner_update(row).tasks.tolist() == [row.tolist()]


def test_adapting_leaves_theta():
    meta = learner(2)
    before = flatten(meta.theta)
    meta.inner_update(NAVIGATION.sample(3, torch.Generator()))
    assert torch.equal(flatten(meta.theta), before)


# ---- outer_update


def test_the_outer_step_follows_the_mean_of_the_task_gradients():
    """F averages over tasks, and plain gradient descent moves θ by −β ∇F."""
    meta, twin = learner(2), learner(2)
    tasks = NAVIGATION.sample(3, torch.Generator())
    function = MetaFunction(twin.objective, twin.inner_update(tasks), twin.theta, twin.adaptation, Mean())
    gradients = flatten({name: g.mean(0) for name, g in function.task_gradients().items()})
    expected = flatten(meta.theta) - 0.1 * gradients
    meta.outer_update(tasks)
    torch.testing.assert_close(flatten(meta.theta), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("outer", [lambda: TorchOptimizer("SGD", 0.1, {}), trust_region], ids=["sgd", "trpo"])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_the_order_reaches_theta(outer, inner_steps):
    """Trap 1: the same samples and another θ after one step; without inner steps, the same."""
    tasks = NAVIGATION.sample(3, torch.Generator())

    def after(inner_steps, order):
        meta = learner(inner_steps, order, outer=outer())
        meta.outer_update(tasks)
        return flatten(meta.theta)

    start = flatten(learner().theta)
    moved = (after(inner_steps, "second") - start).norm()
    assert (after(inner_steps, "second") - after(inner_steps, "first")).norm() > 0.01 * moved > 0
    assert torch.equal(after(0, "second"), after(0, "first"))


def test_theta_are_the_parameters_of_the_user_s_policy_in_place():
    meta = learner()
    kept, pointers = dict(meta.policy.named_parameters()), [p.data_ptr() for p in meta.policy.parameters()]
    before = flatten(meta.theta)
    meta.train(1)
    assert all(kept[name] is p for name, p in meta.policy.named_parameters())
    assert [p.data_ptr() for p in meta.policy.parameters()] == pointers
    assert not torch.equal(flatten(dict(meta.policy.named_parameters())), before)
    assert torch.equal(flatten(dict(meta.policy.named_parameters())), flatten(meta.theta))


def test_theta_is_a_value():
    meta = learner()
    taken = meta.theta
    for x in taken.values():
        x.zero_()
    assert flatten(meta.theta).norm() > 0
    meta.theta = taken
    assert flatten(meta.theta).norm() == 0


def test_an_iteration_is_recorded_as_it_was():
    meta = learner(2)
    before = meta.theta
    records = meta.train(2)
    assert [r.number for r in records] == [0, 1]
    assert meta.iteration == 2
    assert torch.equal(flatten(records[0].parameters), flatten(before))
    for record in records:
        means = record.returns.mean(0)
        metrics = record.metrics
        assert [metrics[f"return/step_{k}"] for k in range(3)] == pytest.approx(means.tolist(), rel=1e-12)
        assert metrics["return/gain"] == pytest.approx((means[2] - means[0]).item(), rel=1e-9)
    assert records[1].metrics["env_steps"] == meta.env_steps <= 2 * 3 * 3 * 2 * 6  # iterations · batches · N · M · T


def test_tasks_made_worse_are_counted(monkeypatch):
    """Trap 14: one of five tasks lost and two stayed, although the mean gained."""
    meta, original = learner(1), learner(1).inner_update
    returns = torch.tensor([[-10.0, -5.0], [-10.0, -12.0], [-10.0, -10.0], [-10.0, -8.0], [-10.0, -10.0]])
    monkeypatch.setattr(meta, "inner_update", lambda tasks: original(tasks)._replace(returns=returns))
    (record,) = meta.train(1)
    assert record.metrics["return/tasks_made_worse"] == pytest.approx(1 / 5)
    assert record.metrics["return/gain"] == pytest.approx(1)


def test_a_trust_region_holds_over_iterations():
    """Trap 8."""
    meta = learner(1, outer=trust_region())
    for record in meta.iterations(3):
        moved = not torch.equal(flatten(record.parameters), flatten(meta.theta))
        assert moved == bool(record.metrics["line_search/accepted"])
        assert record.metrics["outer/kl"] <= 0.01


# ---- randomness


@pytest.mark.parametrize("outer", [lambda: TorchOptimizer("Adam", 1e-2, {}), trust_region], ids=["adam", "trpo"])
def test_the_same_seed_gives_the_same_numbers(outer):
    first, again, other = (learner(seed=seed, outer=outer()).train(3) for seed in (0, 0, 1))
    assert numbers(first) == numbers(again)
    assert numbers(first)[0] != numbers(other)[0]


def test_the_number_of_inner_steps_leaves_the_tasks_and_the_first_batch():
    """Using more of one stream moves no other."""
    records = [learner(inner_steps).train(3) for inner_steps in (0, 1, 3)]
    for of_k in records[1:]:
        assert all(torch.equal(a.tasks, b.tasks) for a, b in zip(of_k, records[0], strict=True))
        assert torch.equal(of_k[0].returns[:, 0], records[0][0].returns[:, 0])


def test_torch_s_global_generator_is_left_alone():
    state = torch.random.get_rng_state()
    learner().train(1)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "outer", [lambda: TorchOptimizer("Adam", 1e-2, {}), lambda: TorchOptimizer("SGD", 0.1, {}), trust_region]
)
def test_a_restored_learner_goes_on_bit_for_bit(outer):
    """Two iterations, a state, two more; another learner restored from the state makes the same two."""
    meta = learner(outer=outer())
    meta.train(2)
    state = copy.deepcopy(meta.state())
    expected, kept = meta.train(2), learner(seed=9, outer=outer())
    kept.train(1)
    kept.restore(state)
    found = kept.train(2)
    assert numbers(found) == numbers(expected)
    assert [record.number for record in found] == [2, 3]
    assert torch.equal(flatten(kept.theta), flatten(meta.theta))


def test_iterations_are_lazy():
    meta = learner()
    iterations = meta.iterations(1000)
    assert meta.iteration == 0
    next(iterations)
    assert meta.iteration == 1


# ---- the constructor


def small_cartpole(hidden="none"):
    return CartPole(horizon=12, hidden=hidden, **NOMINAL)


def test_the_constructor_makes_plain_maml():
    tasks = small_cartpole()
    policy = CategoricalMLP([4], "tanh", tasks.spec, torch.Generator().manual_seed(0))
    meta = MetaLearner(tasks, policy, inner_lr=0.1, outer_lr=1e-3, inner_steps=1, batch_size=4, trajectories=3)
    before = flatten(meta.theta)
    records = meta.train(epochs=2)
    assert [r.returns.shape for r in records] == [(4, 2)] * 2
    assert isinstance(meta.outer_optimizer, TorchOptimizer)
    assert meta.adaptation.order == "second"
    # Adam's first steps are of the step size, whatever the gradient's.
    first = flatten(records[1].parameters) - before
    assert first.abs().max().item() == pytest.approx(1e-3, rel=1e-3)
    batch = meta.inner_update(tasks.sample(5, torch.Generator()))
    assert batch.experiences[0].actions.shape[:2] == (5, 3)


def test_the_constructor_s_seed_decides():
    def returns(seed):
        tasks = small_cartpole()
        policy = CategoricalMLP([4], "tanh", tasks.spec, torch.Generator().manual_seed(0))
        (record,) = MetaLearner(tasks, policy, 0.1, 1e-3, 1, 4, trajectories=3, seed=seed).train(1)
        return record.returns

    assert torch.equal(returns(0), returns(0))
    assert not torch.equal(returns(0), returns(1))


# ---- guards


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("adaptation.inner_steps", {"inner_steps": -1}),
        ("inner_optimizer.lr", {"inner_lr": -0.1}),
        ("outer_optimizer.lr", {"outer_lr": -1e-3}),
        ("meta_batch_size", {"batch_size": 0}),
        ("trajectories", {"trajectories": 2.0}),
    ],
)
def test_arguments_that_mean_nothing_are_refused(field, arguments):
    tasks = small_cartpole()
    policy = CategoricalMLP([4], "tanh", tasks.spec)
    given = {"inner_lr": 0.1, "outer_lr": 1e-3, "inner_steps": 1, "batch_size": 4} | arguments
    with pytest.raises(ValueError, match=rf"{field}="):
        MetaLearner(tasks, policy, **given)


@pytest.mark.parametrize("epochs", [-1, 1.5])
def test_a_number_of_epochs_that_is_none_is_refused(epochs):
    with pytest.raises(ValueError, match=r"epochs="):
        learner().train(epochs)


def test_a_number_that_is_none_stops_the_run_and_leaves_theta():
    """Before the outer step, with what was sampled kept for a look at it."""
    meta = learner(2)
    before = flatten(meta.theta)
    with pytest.raises(NonFiniteError, match=r"rewards.*first at \[1, 0, 0\]") as caught:
        meta.outer_update(torch.tensor([[0.1, 0.2], [0.1, torch.nan]]))
    assert caught.value.batch.mask.shape == (2, 2, 6)
    assert torch.equal(flatten(meta.theta), before)
    assert meta.iteration == meta.env_steps == 0
