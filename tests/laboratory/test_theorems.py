"""What each meta-gradient estimates, by enumeration of everything that can be sampled, in float64."""

import itertools
import math

import pytest
import torch

from metarl_exp.laboratory import Estimator, estimators, exact
from metarl_exp.laboratory.estimators import OBJECTIVES, inner_hessians, meta_gradients, outcomes

ALPHA = 0.7


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def expected_update(case, steps=1):
    return exact.gradient(lambda x: exact.expected_update_value(case.mdp, x, ALPHA, steps), case.theta)


def sampled_update(case, size, steps=1, credit="to_go"):
    def value(theta):
        return exact.sampled_update_value(case.mdp, theta, ALPHA, size, steps, credit)

    return exact.gradient(value, case.theta)


# ---- closed forms: Hessians of the inner surrogates, in expectation and over the number of steps, of −L · T


def log_likelihood_hessian(mdp, theta, credit="to_go"):
    """E Σ_t ∇² log π(a_t | s_t) Â_t, [P, P].

    For a table of logits ∇² log π(a | s) is −F(s) = −(diag π − π πᵀ) whatever a is, so that what is left of Â is its
    mean: −Σ_t Σ_s P(s_t = s) γ^t V_t(s) F(s). With the value as a baseline it is zero.
    """
    logits = theta.unsqueeze(0)
    if credit == "baseline":
        return torch.zeros(theta.numel(), theta.numel(), dtype=theta.dtype)
    weights = (discounted_occupancies(mdp, logits) * mdp.values(logits)).sum((0, 1))  # [S]
    policy = theta.softmax(-1)
    fisher = torch.diag_embed(policy) - policy.unsqueeze(-1) * policy.unsqueeze(-2)  # [S, A, A]
    return -torch.block_diag(*(weights.view(-1, 1, 1) * fisher))


def low_variance_hessian(mdp, theta):
    """E Σ_t (∇² log π + ∇ log π ∇ log πᵀ) Â_t = Σ_t Σ_s P(s_t = s) γ^t Σ_a ∇²π(a | s) Q_t(s, a): [P, P].

    The part of ∇²V in which one step's choice is differentiated twice; a baseline drops out, as Σ_a ∇²π = 0.
    """
    logits = theta.unsqueeze(0)
    occupied = discounted_occupancies(mdp, logits).unsqueeze(-1)
    weights = (occupied * mdp.action_values(logits)).sum((0, 1))  # [S, A]
    return exact.hessian(lambda x: (x.softmax(-1) * weights).sum(), theta)


def discounted_occupancies(mdp, logits):
    """γ^t P(s_t = s), [N, T, S]."""
    return mdp.occupancies(logits) * mdp.powers.unsqueeze(-1)


# ---- the meta-objectives


def test_batches_are_all_sequences(tiny, close):
    """As multisets with their numbers of orders, against every sequence by itself."""
    batches = exact.all_batches(tiny.mdp, 3)
    assert len(batches.members) == exact.number_of_batches(tiny.mdp, 3) == 120
    assert batches.log_orders.exp().sum().item() == pytest.approx(8**3)
    logits = tiny.theta.unsqueeze(0)
    probabilities = exact.log_probabilities(tiny.mdp, logits, batches).exp().squeeze(0)
    single = tiny.mdp.log_probabilities(logits).exp().squeeze(0)
    for members, probability in zip(batches.members.tolist(), probabilities, strict=True):
        each = [math.prod(single[i].item() for i in order) for order in set(itertools.permutations(members))]
        assert probability.item() == pytest.approx(sum(each), rel=1e-12)


def test_the_sampled_update_by_walking_through_all_sequences(tiny, close):
    """J_II(2) for K = 2 with autograd's own inner gradients, one sequence of batches after the other."""
    log_prob, to_go = tiny.mdp.log_probabilities, tiny.mdp.trajectories.to_go

    def adapted(theta, pair):
        taken = theta.log_softmax(-1)[tiny.mdp.trajectories.states[pair], tiny.mdp.trajectories.actions[pair]]
        surrogate = (taken * to_go[pair]).sum() / 2
        return theta + ALPHA * torch.autograd.grad(surrogate, theta)[0]

    theta, total = tiny.theta.clone().requires_grad_(), 0.0
    pairs = [list(pair) for pair in itertools.product(range(8), repeat=2)]
    for first in pairs:
        phi = adapted(theta, first)
        for second in pairs:
            chance = log_prob(theta.unsqueeze(0))[0, first].sum() + log_prob(phi.unsqueeze(0))[0, second].sum()
            total += (chance.exp() * tiny.value(adapted(phi, second))).item()
    found = exact.sampled_update_value(tiny.mdp, tiny.theta, ALPHA, 2, steps=2)
    assert found.item() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2])
def test_gradients_of_both_are_those_of_differences(tiny, differences, close, steps):
    theta = tiny.theta.flatten()

    def expected(x):
        return exact.expected_update_value(tiny.mdp, x.view(2, 2), ALPHA, steps).detach()

    def sampled(x):
        return exact.sampled_update_value(tiny.mdp, x.view(2, 2), ALPHA, 2, steps)

    close(expected_update(tiny, steps), differences(expected, theta), 1e-8)
    close(sampled_update(tiny, 2, steps), differences(sampled, theta), 1e-8)


def test_the_sampled_update_tends_to_the_expected_one_like_1_over_m(tiny):
    def j(size):
        return exact.sampled_update_value(tiny.mdp, tiny.theta, ALPHA, size).item()

    limit = exact.expected_update_value(tiny.mdp, tiny.theta, ALPHA).item()
    gaps = {size: size * (j(size) - limit) for size in (2, 4, 6)}
    assert gaps[6] == pytest.approx(gaps[4], rel=0.15)
    assert abs(gaps[6] - gaps[4]) < abs(gaps[4] - gaps[2])


# ---- E-MAML


@pytest.mark.parametrize(("size", "steps"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)])
def test_e_maml_with_sums_is_without_bias_for_the_sampled_update(tiny, size, steps):
    found = outcomes(tiny.mdp, tiny.theta, Estimator("e_maml_sum", "second", "to_go"), ALPHA, size, steps)
    assert found.weights.sum().item() == pytest.approx(1, abs=1e-13)
    assert relative(found.mean(), sampled_update(tiny, size, steps)) < 1e-12


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("credit", exact.CREDITS)
def test_e_maml_is_unbiased_in_a_larger_mdp_with_or_without_a_baseline(case, size, credit):
    found = outcomes(case.mdp, case.theta, Estimator("e_maml_sum", "second", credit), ALPHA, size)
    assert relative(found.mean(), sampled_update(case, size, credit=credit)) < 1e-12


def test_e_maml_is_unbiased_outcome_by_outcome_without_any_baseline(tiny):
    """With one task there are no others: the baseline is 0."""
    batches = exact.all_batches(tiny.mdp, 2)
    weights = exact.log_probabilities(tiny.mdp, tiny.theta.unsqueeze(0), batches).exp().squeeze(0)
    estimator = Estimator("e_maml_sum", "second", "to_go")
    each = [
        meta_gradients(tiny.mdp, tiny.theta, estimator, ALPHA, 1, [lambda _, m=members: m.unsqueeze(0)], None)
        for members in batches.members
    ]
    assert relative(weights @ torch.cat(each), sampled_update(tiny, 2)) < 1e-12


def test_the_batch_after_adaptation_in_expectation_is_the_mean_over_all_of_them(tiny, close):
    """A batch of one trajectory drawn after adaptation, enumerated, gives what `expected_experience` gives at once."""
    estimator = Estimator("e_maml_sum", "second", "to_go")
    members = torch.tensor([[1, 6]])
    (phi,) = exact.updates(tiny.mdp, tiny.theta.unsqueeze(0), members, ALPHA, "to_go")
    chance = tiny.mdp.log_probabilities(phi.unsqueeze(0)).exp().squeeze(0)

    def given(after):
        return meta_gradients(tiny.mdp, tiny.theta, estimator, ALPHA, 1, [lambda _: members], after)

    each = torch.cat([given(lambda _, i=i: torch.tensor([[i]])) for i in range(8)])
    close(chance @ each, given(None).squeeze(0), 1e-13)


@pytest.mark.parametrize("estimator", [
    Estimator("e_maml_mean", "second", "to_go"), Estimator("e_maml_sum", "first", "to_go"),
    *[Estimator(name, "second", "to_go") for name in ("maml", "lvc", "dice", "loaded_dice")],
], ids=str)  # fmt: skip
def test_all_others_are_biased_for_it(tiny, estimator):
    assert relative(outcomes(tiny.mdp, tiny.theta, estimator, ALPHA, 2).mean(), sampled_update(tiny, 2)) > 0.05


# ---- Hessians


@pytest.mark.parametrize(("objective", "credit"), [("dice", "to_go"), ("loaded_dice", "to_go"),
                                                   ("loaded_dice", "baseline")])  # fmt: skip
def test_dice_has_the_hessian_of_the_value(case, close, objective, credit):
    found = inner_hessians(case.mdp, case.theta, Estimator(objective, "second", credit))
    close(found.mean().view(6, 6), case.hessian(), 1e-12)


def test_loaded_dice_has_it_with_exact_advantages_too(case, close, monkeypatch):
    """Â = γ^t (Q − V), which the actions determine."""

    def exactly(mdp, logits, members, credit):
        trajectories, t = mdp.trajectories, torch.arange(3)
        action_values, values = mdp.action_values(logits[:1]).detach()[0], mdp.values(logits[:1]).detach()[0]
        states, actions = trajectories.states[members], trajectories.actions[members]
        return torch.tensor([1, 0.9, 0.81], dtype=torch.float64) * (
            action_values[t, states, actions] - values[t, states]
        )

    monkeypatch.setattr(estimators, "advantages", exactly)
    found = inner_hessians(case.mdp, case.theta, Estimator("loaded_dice", "second", "baseline"))
    close(found.mean().view(6, 6), case.hessian(), 1e-12)


@pytest.mark.parametrize("credit", exact.CREDITS)
def test_the_hessians_of_the_other_surrogates_are_their_closed_forms(case, close, credit):
    likelihood = log_likelihood_hessian(case.mdp, case.theta, credit)
    low_variance = low_variance_hessian(case.mdp, case.theta)
    for objective, closed in (("maml", likelihood), ("e_maml_sum", likelihood), ("lvc", low_variance)):
        found = inner_hessians(case.mdp, case.theta, Estimator(objective, "second", credit))
        close(found.mean().view(6, 6), closed, 1e-13)
        assert relative(closed, case.hessian()) > 0.05


def test_lvc_lacks_exactly_the_terms_of_pairs_of_steps(case, close):
    """∇²V − E[LVC] = E Σ_t Â_t Σ_{t' < t} (s_t s_t'ᵀ + s_t' s_tᵀ), with scores s of single steps."""
    trajectories = case.mdp.trajectories
    at = torch.nn.functional.one_hot(trajectories.states, 3).double().unsqueeze(-1)
    chosen = torch.nn.functional.one_hot(trajectories.actions, 2).unsqueeze(-2)
    scores = (at * (chosen - case.theta.softmax(-1))).flatten(2)  # [L, T, P]
    before = scores.cumsum(1) - scores
    pairs = torch.einsum("ltp,ltq,lt->lpq", scores, before, trajectories.to_go)
    probabilities = case.mdp.log_probabilities(case.theta.unsqueeze(0)).exp().squeeze(0)
    lacking = torch.einsum("l,lpq->pq", probabilities, pairs + pairs.mT)
    close(low_variance_hessian(case.mdp, case.theta) + lacking, case.hessian(), 1e-13)


def test_the_batch_s_hessian_is_symmetric_for_every_trajectory(case, close):
    for name in OBJECTIVES:
        found = inner_hessians(case.mdp, case.theta, Estimator(name, "second", "to_go")).gradients.view(-1, 6, 6)
        close(found, found.mT, 1e-13)


# ---- which estimates what


SIZES = (1, 2, 4, 8)


def expectations(case, name):
    """Of the second-order estimator for M = 1, 2, 4 and 8."""
    estimator = Estimator(name, "second", "to_go")
    return [outcomes(case.mdp, case.theta, estimator, ALPHA, size).mean() for size in SIZES]


def extrapolated(values):
    """The limit of a series in 1/M, from values at M = 1, 2, 4, …: Richardson's."""
    order = 1
    while len(values) > 1:
        values = [(2**order * finer - coarser) / (2**order - 1) for coarser, finer in itertools.pairwise(values)]
        order += 1
    return values[0]


def test_dice_tends_to_the_expected_update_like_1_over_m(tiny):
    expected, found = expected_update(tiny), expectations(tiny, "dice")
    assert relative(extrapolated(found), expected) < 0.005
    scaled = [size * (mean - expected) for size, mean in zip(SIZES, found, strict=True)]
    assert relative(scaled[3], scaled[2]) < 0.15
    assert relative(scaled[3], scaled[2]) < relative(scaled[2], scaled[1])


@pytest.mark.parametrize(("name", "closed"), [("maml", log_likelihood_hessian),
                                              ("lvc", low_variance_hessian)])  # fmt: skip
def test_log_likelihood_and_lvc_tend_to_their_own_hessian_s(tiny, name, closed):
    """(1 + α E[H]) ∇V(θ + α ∇V(θ)), which is far from ∇J_I."""
    slope = expected_limit(tiny)
    limit = slope + ALPHA * closed(tiny.mdp, tiny.theta) @ slope
    assert relative(extrapolated(expectations(tiny, name)), limit) < 0.01
    assert relative(limit, expected_update(tiny)) > 0.1


def expected_limit(case):
    """∇V(θ + α ∇V(θ)), [P]."""
    theta = case.theta + ALPHA * exact.gradient(case.value, case.theta).view_as(case.theta)
    return exact.gradient(case.value, theta)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_no_estimator_is_without_bias_for_the_expected_update(tiny, size):
    expected = expected_update(tiny)
    for name, order in itertools.product(OBJECTIVES, ("first", "second")):
        found = outcomes(tiny.mdp, tiny.theta, Estimator(name, order, "to_go"), ALPHA, size).mean()
        assert relative(found, expected) > 0.01, name


def test_first_order_is_one_method(tiny, close):
    """Of log-likelihood, ratio and DiCE with rewards to go, outcome by outcome, with two inner steps."""
    one, *others = (
        outcomes(tiny.mdp, tiny.theta, Estimator(name, "first", "to_go"), ALPHA, 2, 2)
        for name in ("maml", "lvc", "dice", "loaded_dice")
    )
    for other in others:
        close(other.gradients, one.gradients, 1e-13)


def test_loaded_dice_with_rewards_to_go_is_dice(tiny, close):
    """Σ_t (box_t − box_{t−1}) G_t = Σ_t box_t γ^t r_t + constant: only a baseline makes it another estimator."""
    dice, loaded = (outcomes(tiny.mdp, tiny.theta, Estimator(name, "second", "to_go"), ALPHA, 2)
                    for name in ("dice", "loaded_dice"))  # fmt: skip
    close(loaded.gradients, dice.gradients, 1e-12)


def test_promp_s_first_step_on_a_batch_is_lvc_s(tiny, close):
    """Neither the clip nor the penalty has a slope where the batch was sampled."""
    lvc, promp = (outcomes(tiny.mdp, tiny.theta, Estimator(name, "second", "to_go"), ALPHA, 2, 2)
                  for name in ("lvc", "promp"))  # fmt: skip
    close(promp.gradients, lvc.gradients, 1e-13)


@pytest.mark.parametrize("size", [1, 3])
def test_reptile_with_one_step_is_joint_training(tiny, close, size):
    found = outcomes(tiny.mdp, tiny.theta, Estimator("reptile", "first", "to_go"), ALPHA, size)
    close(found.mean(), exact.gradient(tiny.value, tiny.theta), 1e-13)


# ---- Monte Carlo


@pytest.mark.parametrize("credit", exact.CREDITS)
def test_the_sampled_gradient_is_that_of_the_sampled_update(case, generator, credit):
    """Within four standard errors."""
    found = exact.sampled_gradient(case.mdp, case.theta, ALPHA, 2, credit, 20_000, generator)
    difference = found.mean - sampled_update(case, 2, credit=credit)
    assert (difference.abs() <= 4 * found.covariance.diagonal().sqrt()).all()


def test_the_sampled_gradient_has_a_tenth_of_e_maml_s_variance_for_large_batches(case, generator):
    def draw(phi):
        return exact.sample(case.mdp, phi, 40, generator)

    estimator = Estimator("e_maml_sum", "second", "to_go")
    plain = exact.Estimate.of(meta_gradients(case.mdp, case.theta, estimator, ALPHA, 2000, [draw], None))
    found = exact.sampled_gradient(case.mdp, case.theta, ALPHA, 40, "to_go", 2000, generator)
    assert found.covariance.trace() < 0.1 * plain.covariance.trace()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_replicates_average_to_the_expectation(tiny, generator, name):
    """Sampled before and after adaptation, with the mean of the other replicates as E-MAML's baseline."""
    estimator = Estimator(name, "second", "to_go")

    def draw(phi):
        return exact.sample(tiny.mdp, phi, 2, generator)

    found = exact.Estimate.of(meta_gradients(tiny.mdp, tiny.theta, estimator, ALPHA, 10_000, [draw], draw))
    difference = found.mean - outcomes(tiny.mdp, tiny.theta, estimator, ALPHA, 2).mean()
    assert (difference.abs() <= 4 * found.covariance.diagonal().sqrt()).all()


# ---- refusals


@pytest.mark.parametrize(
    ("settings", "says"),
    [(("mamml", "second", "to_go"), "did you mean 'maml'"), (("maml", "second", "gae"), "credit='gae'"),
     (("maml", "third", "to_go"), "order='third'")],
)  # fmt: skip
def test_unknown_names_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        Estimator(*settings)
