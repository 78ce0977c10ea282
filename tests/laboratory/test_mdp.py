"""Enumeration and dynamic programming agree, with each other and with the environment that policies are trained on."""

import pytest
import torch

from metarl_exp.algorithm.sampler import Sampler
from metarl_exp.laboratory import TabularSoftmax, TinyMDP, exact, random_mdp
from metarl_exp.maths.parameters import stack
from metarl_exp.tasks import TabularMDP


def by_enumeration(case, theta):
    """V(θ) = Σ_τ p(τ; θ) R(τ)."""
    probabilities = case.mdp.log_probabilities(theta.unsqueeze(0)).exp().squeeze(0)
    return probabilities @ case.mdp.trajectories.discounted_rewards.sum(-1)


def test_the_value_its_gradient_and_hessian_by_enumeration_and_by_dynamic_programming(case, close):
    assert len(case.mdp.trajectories.states) == 144
    assert case.mdp.log_probabilities(case.theta.unsqueeze(0)).exp().sum().item() == pytest.approx(1, abs=1e-14)
    close(by_enumeration(case, case.theta), case.value(case.theta), 1e-14)
    close(exact.gradient(lambda x: by_enumeration(case, x), case.theta), exact.gradient(case.value, case.theta), 1e-14)
    close(exact.hessian(lambda x: by_enumeration(case, x), case.theta), case.hessian(), 1e-13)


def test_derivatives_of_the_value_are_those_of_differences(case, differences, close):
    theta = case.theta.flatten()
    close(exact.gradient(case.value, case.theta), differences(lambda x: case.value(x.view(3, 2)), theta), 1e-9)


def test_occupancies_and_action_values_by_enumeration(case, close):
    """P(s_t = s), and E[G_t | s_t, a_t] = γ^t Q_t."""
    logits, trajectories = case.theta.unsqueeze(0), case.mdp.trajectories
    probabilities = case.mdp.log_probabilities(logits).exp().T  # [L, 1]
    at = torch.nn.functional.one_hot(trajectories.states, 3).double()  # [L, T, S]
    close((probabilities.unsqueeze(-1) * at).sum(0), case.mdp.occupancies(logits)[0], 1e-14)
    took = at.unsqueeze(-1) * torch.nn.functional.one_hot(trajectories.actions, 2).unsqueeze(-2)  # [L, T, S, A]
    weighted = took * probabilities.view(-1, 1, 1, 1)
    mean = (weighted * trajectories.to_go[..., None, None]).sum(0) / weighted.sum(0)
    expected = case.mdp.action_values(logits)[0] * torch.tensor([1, 0.9, 0.81], dtype=torch.float64).view(-1, 1, 1)
    close(mean[1:], expected[1:], 1e-13)
    close(mean[0, :2], expected[0, :2], 1e-13)  # no episode starts in the third state


def test_reinforce_is_the_gradient_of_the_value_in_expectation(case, close):
    """E Σ_t ∇ log π G_t = ∇V, and no state's value as a baseline changes that."""
    one = torch.arange(144).unsqueeze(-1)
    theta = case.theta.expand(144, 3, 2)
    probabilities = case.mdp.log_probabilities(theta[:1]).exp().squeeze(0)
    for credit in exact.CREDITS:
        step = exact.credited_scores(case.mdp, theta, one, exact.advantages(case.mdp, theta, one, credit))
        close(probabilities @ step.flatten(1), exact.gradient(case.value, case.theta), 1e-14)


def test_the_value_of_a_tiny_mdp_is_the_mean_return_of_the_environment(generator):
    """That of `tabular_mdp`, played by the package's sampler: the same tables, with noise on the rewards."""
    mdp, theta = random_mdp(11, 3, 2, 4, 1.0), torch.randn(3, 2, generator=generator, dtype=torch.float64)
    policy, tasks = TabularSoftmax(3, 2, 4), torch.tensor([[11.0]], dtype=torch.float64)
    play = Sampler(policy, TabularMDP(3, 2, 4), 20_000, torch.device("cpu"))
    returns = play(stack({"logits": theta}, 1), tasks, generator, generator).returns()
    error = returns.std().item() / 20_000**0.5
    assert returns.mean().item() == pytest.approx(mdp.value(theta.unsqueeze(0)).item(), abs=4 * error)


@pytest.mark.parametrize(
    ("horizon", "discount", "says"),
    [(0, 0.9, "horizon=0"), (2, 1.1, "discount=1.1"), (9, 0.9, "number of trajectories=262144")],
)
def test_mdps_too_large_to_enumerate_are_refused(tiny, horizon, discount, says):
    with pytest.raises(ValueError, match=says):
        TinyMDP(tiny.mdp.start, tiny.mdp.tables, horizon, discount)
