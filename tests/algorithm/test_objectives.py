"""The family of objectives: gradients against finite differences, theorems that tie them to each other, refusals."""

import math

import pytest
import torch

from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.objective import EMAML, LVC, MAML, DiCE, Joint, LoadedDiCE, MetaFunction, ProMP, Reptile
from metarl_exp.algorithm.outer_optimizer import TRPO, TorchOptimizer
from metarl_exp.maths.parameters import flatten, unflatten
from metarl_exp.maths.surrogate import box, clipped_ratio_loss, dice_loss, log_likelihood_loss, ratio_loss

FAMILY = {
    "maml": MAML(),
    "multi_step": MAML([0.5, 0.0, 2.0]),
    "e_maml_sum": EMAML("sum"),
    "e_maml_mean": EMAML("mean"),
    "lvc": LVC(),
    "dice": DiCE(),
    "loaded_dice": LoadedDiCE(),
    "promp": ProMP(clip=0.3, kl_penalty=0.7),
}
OBJECTIVES = pytest.mark.parametrize("objective", FAMILY.values(), ids=FAMILY)
POLICIES = pytest.mark.parametrize("discrete", [False, True], ids=["gaussian", "categorical"])


def value(function):
    """F as a function of θ alone."""
    return lambda theta: torch.tensor(function.evaluate(theta).loss, dtype=torch.float64)


def elsewhere(function, generator, size=0.05):
    return function.theta + size * torch.randn(len(function.theta), generator=generator, dtype=torch.float64)


# ---- gradients


@OBJECTIVES
@POLICIES
def test_the_gradient_is_the_derivative_of_the_value(problem, differences, close, objective, discrete):
    function = problem(inner_steps=2, lr=0.03, discrete=discrete, objective=objective).function
    close(function.gradient(), differences(value(function), function.theta), 2e-8)


@OBJECTIVES
@POLICIES
def test_derivatives_agree_at_another_theta_than_the_batch_was_sampled_with(
    problem, differences, close, objective, discrete, generator
):
    """Where ratios are no longer 1, the KL penalty no longer 0, and the clip has taken hold of some steps."""
    function = problem(inner_steps=2, lr=0.03, discrete=discrete, objective=objective).function
    moved = function.at(elsewhere(function, generator))
    assert moved.loss == pytest.approx(function.evaluate(moved.theta).loss, rel=1e-12)
    close(moved.gradient(), differences(value(function), moved.theta), 2e-8)


@pytest.mark.parametrize("objective", [MAML(), LVC(), DiCE(), ProMP(0.3, 0.7)], ids=["maml", "lvc", "dice", "promp"])
def test_curvature_is_the_hessian_of_the_kl_whatever_adapts(problem, differences, close, objective, generator):
    function = problem(inner_steps=2, lr=0.01, hidden=(3,), objective=objective).function

    def slope(theta):
        return differences(lambda x: torch.tensor(function.evaluate(x).kl, dtype=torch.float64), theta, 1e-3)

    v = torch.randn(len(function.theta), generator=generator, dtype=torch.float64)
    along = differences(lambda t: slope(function.theta + t * v), torch.zeros(1, dtype=torch.float64), 1e-3)
    close(function.curvature("second")(v), along.squeeze(-1), 1e-5)


# ---- theorems


@POLICIES
def test_the_ratio_is_1_before_any_update_and_inner_gradients_are_the_log_likelihood_s(problem, close, discrete):
    """First order is one method: at θ_old, log-likelihood, ratio and loaded DiCE take the same step, for all K."""
    functions = [
        problem(inner_steps=3, order="first", discrete=discrete, objective=o).function
        for o in (MAML(), LVC(), LoadedDiCE())
    ]
    for other in functions[1:]:
        close(flatten(other.batch.path.parameters), flatten(functions[0].batch.path.parameters), 1e-13)
        close(other.gradient(), functions[0].gradient(), 1e-12)


def test_dice_takes_the_same_step_where_advantages_are_rewards_to_go(problem, close):
    p = problem(inner_steps=1, order="first", objective=DiCE())
    first = p.batch.experiences[0]
    to_go = first.discounted_rewards.flip(-1).cumsum(-1).flip(-1).masked_fill(~first.mask, 0)
    path = Adaptation(
        1, "first", p.adaptation.policy, p.adaptation.inner_optimizer, p.adaptation.fast_weights, MAML().inner_loss
    ).start(p.theta, 3, "first")
    path.step(first._replace(advantages=to_go))
    close(flatten(path.parameters), flatten(p.batch.path.parameters), 1e-13)


def test_the_surrogates_differ_in_second_order(problem):
    gradients = {name: problem(inner_steps=1, objective=o).function.gradient() for name, o in FAMILY.items()
                 if name in ("maml", "lvc", "loaded_dice")}  # fmt: skip
    for one, other in (("maml", "lvc"), ("maml", "loaded_dice"), ("lvc", "loaded_dice")):
        assert (gradients[one] - gradients[other]).norm() > 0.01 * gradients[one].norm()


def test_the_box_has_value_1_and_the_score_as_gradient():
    x = torch.tensor([-0.7, 0.3], dtype=torch.float64, requires_grad=True)
    score = torch.autograd.functional.jacobian(lambda x: x.sin().sum(), x)
    value = box(x.sin().sum(), x.sin().sum().detach())
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    assert value.item() == 1.0
    torch.testing.assert_close(gradient, score, rtol=1e-15, atol=0)
    # and scores of scores: ∇² box = ∇² log p + ∇ log p ∇ log pᵀ.
    hessian = torch.stack([torch.autograd.grad(g, x, retain_graph=True)[0] for g in gradient])
    torch.testing.assert_close(hessian, torch.diag(-x.sin()) + torch.outer(score, score), rtol=1e-14, atol=1e-15)


def test_dice_on_a_trajectory_by_hand():
    """Two steps: ∇L = −(s_1 (r_1 + r_2) + s_2 r_2)/2, ∇²L = −(s_1 s_1ᵀ r_1 + (s_1 + s_2)(s_1 + s_2)ᵀ r_2)/2."""
    scores = torch.tensor([[0.5, -2.0], [1.0, 3.0]], dtype=torch.float64)  # log π linear in x: constant scores
    rewards, mask = torch.tensor([[[2.0, -5.0, 9.0]]], dtype=torch.float64), torch.tensor([[[True, True, False]]])

    def loss(x):
        log_prob = torch.cat([scores @ x, torch.full((1,), torch.nan)]).view(1, 1, 3)  # after the end: anything
        return dice_loss(log_prob, log_prob.detach(), rewards.masked_fill(~mask, 0), mask).sum()

    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(x), x, create_graph=True)
    hessian = torch.stack([torch.autograd.grad(g, x, retain_graph=True)[0] for g in gradient])
    one, both = scores[0], scores.sum(0)
    torch.testing.assert_close(gradient, -(one * 2.0 + both * -5.0) / 2, rtol=1e-14, atol=0)
    expected = -(torch.outer(one, one) * 2.0 + torch.outer(both, both) * -5.0) / 2
    torch.testing.assert_close(hessian, expected, rtol=1e-14, atol=0)


def test_promp_without_clip_and_penalty_is_lvc(problem, close, generator):
    lvc = problem(inner_steps=2, objective=LVC()).function
    free = problem(inner_steps=2, objective=ProMP(clip=1e9, kl_penalty=0)).function
    theta = elsewhere(lvc, generator)
    close(free.at(theta).gradient(), lvc.at(theta).gradient(), 1e-13)
    held = problem(inner_steps=2, objective=ProMP(clip=0.05, kl_penalty=0)).function
    assert (held.at(theta).gradient() - lvc.at(theta).gradient()).norm() > 0.01 * lvc.gradient().norm()


def test_the_penalty_is_the_kl_of_the_policies_before_the_last_update(problem, generator):
    """By the oracle, which walks through one task after the other."""
    eta = 0.7
    p = problem(inner_steps=1, objective=ProMP(clip=1e9, kl_penalty=eta))
    plain = problem(inner_steps=1, objective=ProMP(clip=1e9, kl_penalty=0)).function
    theta = elsewhere(p.function, generator)
    divergences = []
    for task in range(3):
        observations = p.oracle.steps(task, 0)[0]
        old, new = (p.oracle.distribution(unflatten(x, p.theta), observations) for x in (p.function.theta, theta))
        divergences.append(torch.distributions.kl_divergence(old, new).mean())
    expected = plain.evaluate(theta).loss + eta * torch.stack(divergences).mean().item()
    assert p.function.evaluate(theta).loss == pytest.approx(expected, rel=1e-11)


def test_a_clipped_step_has_no_gradient_where_it_has_gone_far_enough():
    old = torch.zeros(1, 1, 4, dtype=torch.float64)
    ratio = torch.tensor([[[1.5, 0.5, 1.5, 0.5]]], dtype=torch.float64)
    advantage = torch.tensor([[[1.0, 1.0, -1.0, -1.0]]], dtype=torch.float64)
    log_prob = ratio.log().requires_grad_()
    loss = clipped_ratio_loss(log_prob, old, advantage, torch.ones(1, 1, 4, dtype=torch.bool), 0.2)
    assert loss.item() == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)
    (gradient,) = torch.autograd.grad(loss.sum(), log_prob)
    torch.testing.assert_close(gradient, torch.tensor([[[0.0, -0.5, 1.5, 0.0]]], dtype=torch.float64) / 4)


@OBJECTIVES
def test_without_inner_steps_every_objective_is_joint_training(problem, close, objective):
    if objective.step_weights:
        objective = MAML([2.0])
    joint = problem(inner_steps=0, objective=Joint()).function.gradient()
    factor = 2.0 if objective.step_weights else 1.0
    close(problem(inner_steps=0, objective=objective).function.gradient(), factor * joint, 1e-13)


def test_weights_of_the_last_step_alone_are_no_weights(problem, close):
    close(problem(inner_steps=2, objective=MAML([0.0, 0.0, 1.0])).function.gradient(),
          problem(inner_steps=2).function.gradient(), 1e-14)  # fmt: skip


def test_weighted_steps_are_the_sum_of_what_shorter_adaptations_have(problem, close):
    """Of plain MAML with K = 0, 1 and 2 on the first batches of one problem."""
    p = problem(inner_steps=2, objective=MAML([0.5, 0.25, 2.0]))
    expected = torch.zeros_like(p.function.theta)
    for k, weight in enumerate((0.5, 0.25, 2.0)):
        path = p.adaptation.start(p.theta, 3, "second")
        for experience in p.batch.experiences[:k]:
            path.step(experience)
        batch = p.batch._replace(experiences=p.batch.experiences[: k + 1], path=path)
        expected += weight * MetaFunction(MAML(), batch, p.theta, p.adaptation, Mean()).gradient()
    close(p.function.gradient(), expected, 1e-12)


def test_reptile_moves_towards_the_adapted_parameters(problem, close, optimizer, inner_steps):
    p = problem(optimizer, inner_steps, order="first", objective=Reptile())
    moved = torch.stack([p.function.theta - flatten(p.oracle.adapted(task)) for task in range(3)]).mean(0)
    close(p.function.gradient(), moved, 1e-13)


def test_reptile_is_linear_in_theta(problem, generator):
    function = problem(inner_steps=2, order="first", objective=Reptile()).function
    here, direction = function.theta, torch.randn(len(function.theta), generator=generator, dtype=torch.float64)
    losses = [function.evaluate(here + t * direction).loss for t in (-1.0, 0.0, 1.0)]
    assert losses[0] + losses[2] == pytest.approx(2 * losses[1], rel=1e-12)
    assert losses[2] - losses[1] == pytest.approx((function.gradient() @ direction).item(), rel=1e-11)


def test_reptile_with_one_step_is_joint_training_on_the_inner_loss(problem, close):
    """θ − φ_1 = α ∇L: with α = 0.1, a tenth of the gradient that joint training has on the first batch."""
    p = problem(inner_steps=1, order="first", objective=Reptile())
    joint = problem(inner_steps=0, objective=Joint())
    batch = joint.batch._replace(experiences=p.batch.experiences[:1])
    close(
        p.function.gradient(), 0.1 * MetaFunction(Joint(), batch, p.theta, joint.adaptation, Mean()).gradient(), 1e-13
    )


def test_the_credit_of_e_maml_is_the_score_times_what_adaptation_was_worth(problem, close):
    """By the oracle: scores of both batches, returns by hand, the mean of the other tasks as baseline."""
    p = problem(inner_steps=2, objective=EMAML("sum"))
    post = p.batch.experiences[-1]
    returns = post.discounted_rewards.sum(-1).mean(1)
    steps = post.mask.sum((1, 2)) / post.mask.shape[1]

    def credit(theta):
        terms = []
        for task in range(3):
            others = (returns.sum() - returns[task]) / 2
            parameters, score = unflatten(theta, p.theta), 0.0
            for k in range(2):
                observations, actions, _ = p.oracle.steps(task, k)
                score = score + p.oracle.distribution(parameters, observations).log_prob(actions).sum()
                gradients = torch.autograd.grad(
                    p.oracle.inner_loss(parameters, task, k), list(parameters.values()), create_graph=True
                )
                parameters = {n: x - 0.1 * g for (n, x), g in zip(parameters.items(), gradients, strict=True)}
            terms.append(-score * (returns[task] - others) / steps[task])
        return torch.stack(terms).mean()

    plain = problem(inner_steps=2).function.gradient()
    close(p.function.gradient(), plain + p.oracle.gradient(credit), 1e-12)


def test_some_tasks_of_a_batch_are_a_batch(problem, close, generator):
    function = problem(inner_steps=2, objective=ProMP(0.3, 0.7)).function
    theta = elsewhere(function, generator)
    whole, part = function.at(theta), function.at(theta, torch.tensor([2, 0]))
    for name, gradient in part.task_gradients().items():
        close(gradient, whole.task_gradients()[name][[2, 0]], 1e-12)


# ---- refusals


def trpo():
    return TRPO(0.01, 10, 1e-5, 1e-10, 0.8, 15, "same")


def adam():
    return TorchOptimizer("Adam", 1e-3, {})


@pytest.mark.parametrize(
    ("objective", "inner_steps", "order", "optimizer", "says"),
    [
        (Reptile(), 1, "second", adam, "adaptation.order=second: it takes no derivative"),
        (Reptile(), 1, "first", trpo, "outer_optimizer=TRPO: a trust region"),
        (Reptile(), 0, "first", adam, "adaptation.inner_steps=0: θ − φ_K is 0"),
        (Joint(), 1, "first", adam, "adaptation.inner_steps=1: joint training takes none"),
        (MAML([1.0]), 1, "first", adam, r"objective.step_weights=\[1.0\]: must be 2 numbers"),
        (MAML([0.0, 0.0]), 1, "first", adam, "not all 0"),
    ],
)
def test_a_nonsensical_composition_is_refused_with_the_reason(problem, objective, inner_steps, order, optimizer, says):
    p = problem(inner_steps=inner_steps, order=order)
    with pytest.raises(ValueError, match=says):
        objective.check_compatible(p.adaptation, optimizer())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: EMAML("some"), "objective.scores='some'"),
        (lambda: ProMP(0, 0), "objective.clip=0"),
        (lambda: ProMP(0.3, -1), "objective.kl_penalty=-1"),
        (lambda: MAML([math.nan]), "objective.step_weights=nan"),
    ],
)
def test_settings_out_of_range_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_where_episodes_are_sampled_all_losses_are_those_of_their_papers():
    """At equality: the ratio's value is −mean Â, the log-likelihood's −mean log π Â, DiCE's −mean γ^t r."""
    log_prob = torch.tensor([[[-0.5, -1.5]]], dtype=torch.float64)
    advantage, mask = torch.tensor([[[2.0, -4.0]]], dtype=torch.float64), torch.ones(1, 1, 2, dtype=torch.bool)
    assert ratio_loss(log_prob, log_prob, advantage, mask).item() == 1.0
    assert log_likelihood_loss(log_prob, advantage, mask).item() == -(-1.0 + 6.0) / 2
    assert dice_loss(log_prob, log_prob, advantage, mask).item() == 1.0
