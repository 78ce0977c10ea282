"""Actor and critic: value losses outside and inside against an oracle and finite differences, and what is refused.

The oracle goes through one task after the other with plain autograd and `torch.distributions`.
"""

from copy import copy

import pytest
import torch
from torch import distributions as td

from metarl_exp import wiring
from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.fast_weights import All, Body, Head
from metarl_exp.algorithm.inner_optimizer import InnerOptimizer, LearnedStepSizes
from metarl_exp.algorithm.objective import (
    EMAML,
    LVC,
    MAML,
    DiCE,
    LoadedDiCE,
    MetaBatch,
    MetaFunction,
    ProMP,
    Reptile,
)
from metarl_exp.algorithm.outer_optimizer import TRPO, TorchOptimizer
from metarl_exp.maths.parameters import detach, unflatten
from metarl_exp.policy import MLP, RNN, CategoricalHead, CriticMLP, CriticRNN, GaussianHead
from metarl_exp.process.streams import stream
from metarl_exp.types import Critic, Experience, Spec

ALPHA, WEIGHT = 0.1, 0.7  # the inner step size, and the weight of the value loss outside
LENGTHS = torch.tensor([[4, 2], [3, 4], [1, 4]])  # of the episodes: N = 3 tasks, M = 2 trajectories, T = 4
MASK = torch.arange(4) < LENGTHS.unsqueeze(-1)
CONTINUOUS, DISCRETE = Spec(3, 2, False, 4), Spec(3, 2, True, 4)
INSIDE = pytest.mark.parametrize("inside", [None, 0.3], ids=["outside", "inside"])
STEPS = pytest.mark.parametrize("steps", [1, 2])
RULES = {
    "sgd": InnerOptimizer("SGD", ALPHA, {}),
    "momentum": InnerOptimizer("SGD", ALPHA, {"momentum": 0.9}),
    "adam": InnerOptimizer("Adam", ALPHA, {"eps": 0.01}),
}


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def gaussian(hidden=(3,), kind=CriticMLP, seed=0):
    return kind(
        hidden, "tanh", GaussianHead(1.0, 1e-6, 1e3, CONTINUOUS), torch.Generator().manual_seed(seed), torch.float64
    )


def problem(steps=1, inside=None, order="second", objective=None, rule="sgd", fast=All):
    """K + 1 random batches with targets, and F on them."""
    generator, policy = torch.Generator().manual_seed(7), gaussian()
    objective = MAML(value_weight=WEIGHT) if objective is None else objective
    chosen = fast() if fast is All else fast(policy)
    adaptation = Adaptation(steps, order, policy, RULES[rule], chosen, objective.inner_loss, inside)
    theta = {n: p.detach() + 0.2 * normal(generator, *p.shape) for n, p in policy.named_parameters()}
    path, experiences = adaptation.start(theta, 3, order), []
    for k in range(steps + 1):
        # Padding holds what would be seen in every loss.
        fields = [normal(generator, 3, 2, 4, *size) for size in ((3,), (2,), ())]
        targets = (2 + normal(generator, 3, 2, 4)).masked_fill(~MASK, 1e6)
        experiences.append(Experience(*fields, MASK, detach(path.parameters), normal(generator, 3, 2, 4), targets))
        if k < steps:
            path.step(experiences[k])
    batch = MetaBatch(torch.zeros(3, 1), tuple(experiences), torch.zeros(3, steps + 1), path)
    return MetaFunction(objective, batch, theta, adaptation, Mean())


def network(phi, prefix, x):
    hidden = torch.tanh(x @ phi[f"{prefix}layers.0.weight"].T + phi[f"{prefix}layers.0.bias"])
    return hidden @ phi[f"{prefix}layers.1.weight"].T + phi[f"{prefix}layers.1.bias"]


def valid(experience, task):
    """Observations, actions, advantages and targets of the steps of a task that happened."""
    fields = experience.observations, experience.actions, experience.advantages, experience.targets
    return [x[task][experience.mask[task]] for x in fields]


def log_prob(phi, x, actions):
    return td.Independent(td.Normal(network(phi, "", x), phi["log_std"].exp()), 1).log_prob(actions)


def value_error(phi, experience, task):
    x, _, _, targets = valid(experience, task)
    return 0.5 * ((network(phi, "critic.", x)[:, 0] - targets) ** 2).mean()


def inner_gradients(phi, experience, task, inside):
    x, actions, advantages, _ = valid(experience, task)
    loss = -(log_prob(phi, x, actions) * advantages).mean() + (inside or 0.0) * value_error(phi, experience, task)
    return torch.autograd.grad(loss, list(phi.values()), create_graph=True, materialize_grads=True)


def outer(function, inside, constants=None):
    """F of a flat θ; with `constants`, {task: the inner gradients of each step}, these are not computed again."""
    batch, like = function.batch, function.like

    def loss(theta, task):
        phi = {n: p if p.requires_grad else p.requires_grad_() for n, p in unflatten(theta, like).items()}
        for k, experience in enumerate(batch.experiences[:-1]):
            found = constants[task][k] if constants else inner_gradients(phi, experience, task, inside)
            phi = {n: p - ALPHA * g for (n, p), g in zip(phi.items(), found, strict=True)}
        last = batch.experiences[-1]
        x, actions, advantages, _ = valid(last, task)
        acted = {n: p[task] for n, p in last.parameters.items()}
        ratio = (log_prob(phi, x, actions) - log_prob(acted, x, actions)).exp()
        return -(ratio * advantages).mean() + WEIGHT * value_error(phi, last, task)

    return lambda theta: torch.stack([loss(theta, task) for task in range(3)]).mean().detach()


@INSIDE
@STEPS
def test_value_and_second_order_gradient_are_those_of_the_oracle(differences, close, steps, inside):
    """∇F by five-point differences of the oracle's F, away from where the batch was sampled too."""
    function = problem(steps, inside)
    expected = outer(function, inside)
    for theta in (
        function.theta,
        function.theta + 0.05 * normal(torch.Generator().manual_seed(5), len(function.theta)),
    ):
        here = function.at(theta)
        assert here.loss == pytest.approx(expected(theta).item(), rel=1e-12)
        assert function.evaluate(theta).loss == pytest.approx(here.loss, rel=1e-12)
        close(here.gradient(), differences(expected, theta), 2e-8)


@INSIDE
@STEPS
def test_the_first_order_gradient_counts_inner_gradients_as_constants(differences, close, steps, inside):
    function = problem(steps, inside, order="first")
    constants = {}
    for task in range(3):
        phi, constants[task] = unflatten(function.theta.clone().requires_grad_(), function.like), []
        for experience in function.batch.experiences[:-1]:
            found = [g.detach() for g in inner_gradients(phi, experience, task, inside)]
            phi = {n: p - ALPHA * g for (n, p), g in zip(phi.items(), found, strict=True)}
            constants[task].append(found)
    close(function.gradient(), differences(outer(function, inside, constants), function.theta), 2e-8)
    if inside:  # the orders differ in the critic as well
        second = unflatten(problem(steps, inside).gradient(), function.like)
        first = unflatten(function.gradient(), function.like)
        assert (first["critic.layers.0.weight"] - second["critic.layers.0.weight"]).norm() > 1e-3


@pytest.mark.parametrize(
    ("objective", "weights"),
    [
        (MAML(value_weight=WEIGHT), [0, 0, 1]),
        (MAML([0.5, 0.0, 2.0], value_weight=WEIGHT), [0.5, 0, 2]),
        (MAML(clip=0.2, value_weight=WEIGHT), [0, 0, 1]),
        (EMAML("sum", value_weight=WEIGHT), [0, 0, 1]),
        (LVC(value_weight=WEIGHT), [0, 0, 1]),
        (DiCE(value_weight=WEIGHT), [0, 0, 1]),
        (LoadedDiCE(value_weight=WEIGHT), [0, 0, 1]),
        (ProMP(0.3, 0.7, value_weight=WEIGHT), [0, 0, 1]),
    ],
    ids=["maml", "multi_step", "clip", "e_maml", "lvc", "dice", "loaded_dice", "promp"],
)
def test_every_objective_has_the_value_loss_and_its_own_gradient_beside_it(objective, weights, close):
    """The critic does not adapt here: its gradient is that of its errors at θ, the rest is as without a value loss."""
    function = problem(2, objective=objective)
    theta = unflatten(function.theta.clone().requires_grad_(), function.like)
    errors = [
        torch.stack([value_error(theta, e, task) for task in range(3)]).mean() for e in function.batch.experiences
    ]
    loss = WEIGHT * sum(w * e for w, e in zip(weights, errors, strict=True))
    expected = torch.autograd.grad(loss, list(theta.values()), materialize_grads=True)
    alone = copy(objective)
    alone.value_weight = None
    without = unflatten(problem(2, objective=alone).gradient(), function.like)
    for (name, found), error in zip(unflatten(function.gradient(), function.like).items(), expected, strict=True):
        close(found, without[name] + error, 1e-12)
        assert name.startswith("critic.") == bool(error.any())


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("fast", [All, Head, Body])
@pytest.mark.parametrize("rule", RULES)
def test_a_critic_adapts_by_its_own_loss_or_not_at_all(rule, fast, order):
    """Whatever adapts beside it, and whatever the rule: Adam too leaves it alone, value and derivative."""
    without, inside = (problem(2, weight, order, rule=rule, fast=fast) for weight in (None, 0.3))
    alone, both = without.batch.path.parameters, inside.batch.path.parameters
    body, head = {"layers.0.weight", "layers.0.bias"}, {"layers.1.weight", "layers.1.bias", "log_std"}
    adapts = {All: body | head, Head: head, Body: body}[fast]
    critic = {name for name in alone if name.startswith("critic.")}
    for found, expected in ((alone, adapts), (both, adapts | critic)):
        assert {n for n, p in without.like.items() if not torch.equal(found[n], p.expand_as(found[n]))} == expected
    cotangent = {name: torch.ones_like(alone[name]) for name in critic}
    for name, pulled in without.batch.path.vjp({-1: cotangent}).items():
        assert torch.equal(pulled, cotangent.get(name, torch.zeros_like(pulled)))


def test_the_critic_s_inner_step_leaves_the_actor_s_as_it_was(close):
    without, inside = problem(1), problem(1, 0.3)
    for name, p in without.batch.path.parameters.items():
        if not name.startswith("critic."):
            close(inside.batch.path.parameters[name], p, 1e-14)


def test_a_critic_that_does_not_adapt_has_no_step_size_to_learn():
    policy = gaussian()
    rule = LearnedStepSizes("SGD", ALPHA, {}, "tensor")
    names = [Adaptation(1, "first", policy, rule, All(), MAML().inner_loss, w).step_sizes for w in (None, 0.3)]
    assert not [name for name in names[0] if "critic" in name]
    assert {f"inner_lr.{name}" for name in policy.critic_names} <= set(names[1])


# ---- policies


@pytest.mark.parametrize(
    ("kind", "plain", "arguments"),
    [
        (CriticMLP, MLP, ([5, 4], "tanh", GaussianHead(0.7, 1e-6, 1e3, CONTINUOUS))),
        (CriticMLP, MLP, ([5, 4], "relu", CategoricalHead(DISCRETE))),
        (CriticRNN, RNN, ("gru", 4, GaussianHead(0.7, 1e-6, 1e3, CONTINUOUS))),
        (CriticRNN, RNN, ("lstm", 4, CategoricalHead(DISCRETE))),
    ],
)
def test_a_critic_leaves_the_policy_as_it_is(kind, plain, arguments, close):
    """The same numbers from the same generator, the same distribution, the same head; values of each task's own φ."""
    both, alone = (k(*arguments, torch.Generator().manual_seed(0), torch.float64) for k in (kind, plain))
    theta, names = {n: p.detach() for n, p in both.named_parameters()}, dict(alone.named_parameters())
    assert set(theta) - set(names) == both.critic_names
    assert both.critic_names
    assert both.head_names == alone.head_names
    assert all(torch.equal(theta[name], p) for name, p in names.items())
    x = normal(torch.Generator().manual_seed(1), 2, 3, 5, 3)
    for one, other in zip(both(theta, x), alone(names, x), strict=True):
        assert torch.equal(one, other)
    generator = torch.Generator().manual_seed(2)
    stacked = {n: p + 0.3 * normal(generator, 2, *p.shape) for n, p in theta.items()}
    together = both.values(stacked, x)
    assert together.shape == (2, 3, 5)
    assert (together - both.values(theta, x)).abs().max() > 1e-2
    for task in range(2):
        close(both.values({n: p[task] for n, p in stacked.items()}, x[task : task + 1])[0], together[task], 1e-13)
    assert isinstance(both, Critic)
    assert not isinstance(alone, Critic)


# ---- refusals


ADAM, TRUST = TorchOptimizer("Adam", 1e-3, {}), TRPO(0.01, 10, 1e-5, 1e-10, 0.8, 15, "same")


@pytest.mark.parametrize(
    ("objective", "critic", "optimizer", "says"),
    [
        (MAML(), True, ADAM, "objective.value_weight=null with policy=CriticMLP, whose critic would never"),
        (
            MAML(value_weight=0.5),
            False,
            ADAM,
            "objective.value_weight=0.5 with policy=MLP, which has no critic",
        ),
        (MAML(value_weight=0.5), True, TRUST, "objective.value_weight=0.5 with outer_optimizer=TRPO: a trust region"),
        (Reptile(), True, ADAM, "objective=reptile with policy=CriticMLP: its loss has no value loss"),
    ],
)
def test_nonsense_with_a_critic_is_refused(objective, critic, optimizer, says):
    policy = gaussian(kind=CriticMLP if critic else MLP)
    adaptation = Adaptation(1, "first", policy, RULES["sgd"], All(), MAML().inner_loss)
    with pytest.raises(ValueError, match=says):
        objective.check_compatible(adaptation, optimizer)


def test_adapting_a_critic_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"adaptation.value_weight=0.3: the policy, MLP, has no critic"):
        Adaptation(1, "first", gaussian(kind=MLP), RULES["sgd"], All(), MAML().inner_loss, 0.3)


@pytest.mark.parametrize("weight", [0, -1.0, "1", float("nan")])
def test_weights_that_are_none_are_refused(weight):
    with pytest.raises(ValueError, match=r"objective\.value_weight="):
        MAML(value_weight=weight)
    with pytest.raises(ValueError, match=r"adaptation\.value_weight="):
        Adaptation(1, "first", gaussian(), RULES["sgd"], All(), MAML().inner_loss, weight)


def test_the_linear_baseline_beside_a_critic_is_refused():
    chosen = ["policy=mlp_critic", "objective.value_weight=0.5", "outer_optimizer=adam", "tracker=none"]
    with pytest.raises(ValueError, match="advantage=gae with policy=CriticMLP: the linear baseline would replace"):
        wiring.assemble(wiring.compose(chosen))
    wiring.assemble(wiring.compose([*chosen, "advantage=critic"]))


def test_body_of_a_policy_that_is_all_head_is_refused_whatever_its_critic():
    with pytest.raises(ValueError, match="fast_weights=body: the policy has a head only"):
        Body(gaussian(hidden=()))


def test_a_value_loss_without_targets_is_refused():
    function = problem()
    path = function.adaptation.start(function.like, 3, "second")
    untaught = [e._replace(targets=None) for e in function.batch.experiences]
    path.step(untaught[0])
    batch = function.batch._replace(experiences=tuple(untaught), path=path)
    with pytest.raises(ValueError, match="a value loss needs a policy with a critic and value targets"):
        MetaFunction(function.objective, batch, function.like, function.adaptation, Mean())


# ---- learning


def trained(iterations, *overrides):
    """An actor-critic with PPO on CartPole of 60 steps at most, and its records."""
    learner = wiring.assemble(
        wiring.compose(
            [
                "tasks=cartpole", "tasks.horizon=60", "policy=mlp_critic", "policy.hidden_sizes=[16]",
                "policy.activation=tanh", "advantage=critic", "advantage.discount=0.95", "advantage.gae_lambda=0.9",
                "objective.value_weight=0.5", "objective.clip=0.2", "outer_optimizer=ppo", "outer_optimizer.lr=0.02",
                "meta_batch_size=6", "trajectories=6", "tracker=none", *overrides,
            ]
        )
    ).learner  # fmt: skip
    return learner, learner.train(iterations)


def explained(learner):
    """Share of the variance of targets that the critic explains on fresh tasks after adaptation."""
    after = learner.inner_update(learner.task_distribution.sample(20, stream(1, "held out"))).experiences[-1]
    values = learner.policy.values(after.parameters, after.observations)
    return 1 - ((after.targets - values)[after.mask].var() / after.targets[after.mask].var()).item()


@pytest.mark.parametrize(
    "overrides",
    [["adaptation=none", "objective=joint"], ["adaptation.value_weight=0.3", "inner_optimizer.lr=0.05"]],
    ids=["ppo", "adapting"],
)
def test_an_actor_critic_learns_to_balance_and_its_critic_what_that_is_worth(overrides):
    learner, records = trained(20, *overrides)
    first, last = records[0], records[-1]
    assert first.returns[:, -1].mean() < 30
    assert last.returns[:, -1].mean() > 50
    assert explained(trained(0, *overrides)[0]) < 0.1
    assert explained(learner) > 0.3
    assert last.metrics["critic/error"] < 0.6 * first.metrics["critic/error"]


def test_the_logged_error_is_the_root_of_the_mean_square():
    function = problem()
    phi, last = function.policies[-1].parameters, function.batch.experiences[-1]
    tasks = [value_error({name: p[task] for name, p in phi.items()}, last, task) for task in range(3)]
    expected = (2 * torch.stack(tasks).mean()).sqrt().item()
    assert function.critic() == {"critic/error": pytest.approx(expected, rel=1e-12)}
