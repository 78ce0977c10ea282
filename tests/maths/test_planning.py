"""Planning against the enumeration of every policy and every path, and against linear programming."""

import itertools

import pytest
import torch
from scipy.optimize import linprog

from metarl_exp.maths.planning import (
    MDPs,
    optimal_action_values,
    optimistic_action_values,
    optimistic_expectation,
    policy_values,
)

N, T, S, A = 3, 3, 2, 2


def draw(generator, instances=N, states=S, actions=A):
    rewards = torch.randn(instances, states, actions, generator=generator, dtype=torch.float64)
    weights = torch.rand(instances, states, actions, states, generator=generator, dtype=torch.float64) + 0.01
    return MDPs(rewards, weights / weights.sum(-1, keepdim=True))


def value_by_paths(mdps, instance, policy, start, discount):
    """Expected return of a deterministic policy {(t, s): a} from state `start`: a sum over all paths of states."""
    rewards, transitions = mdps.rewards[instance].tolist(), mdps.transitions[instance].tolist()
    total = 0.0
    for path in itertools.product(range(S), repeat=T):
        if path[0] != start:
            continue
        actions = [policy[t, s] for t, s in enumerate(path)]
        chance = 1.0
        for t in range(T - 1):
            chance *= transitions[path[t]][actions[t]][path[t + 1]]
        total += chance * sum(discount**t * rewards[path[t]][actions[t]] for t in range(T))
    return total


def every_policy():
    situations = list(itertools.product(range(T), range(S)))
    for actions in itertools.product(range(A), repeat=len(situations)):
        yield dict(zip(situations, actions, strict=True))


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_the_optimum_is_the_best_of_all_policies(generator, discount):
    mdps = draw(generator)
    values = optimal_action_values(mdps, T, discount)
    assert values.shape == (N, T, S, A)
    for i, s in itertools.product(range(N), range(S)):
        best = max(value_by_paths(mdps, i, policy, s, discount) for policy in every_policy())
        assert values[i, 0, s].max().item() == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_a_policy_is_worth_the_sum_over_its_paths(generator, discount):
    mdps = draw(generator)
    for policy in itertools.islice(every_policy(), 5, None, 13):
        probabilities = torch.zeros(N, T, S, A, dtype=torch.float64)
        for (t, s), a in policy.items():
            probabilities[:, t, s, a] = 1
        values = policy_values(mdps, probabilities, discount)
        for i, s in itertools.product(range(N), range(S)):
            assert values[i, 0, s].item() == pytest.approx(value_by_paths(mdps, i, policy, s, discount), abs=1e-12)


def test_a_random_policy_is_worth_the_mean_over_deterministic_ones(generator):
    """In the first step: of π = Σ_a π_0(a) [a first], the value is linear in π_0."""
    mdps = draw(generator)
    probabilities = torch.rand(N, T, S, A, generator=generator, dtype=torch.float64)
    probabilities /= probabilities.sum(-1, keepdim=True)
    by_action = []
    for a in range(A):
        certain = probabilities.clone()
        certain[:, 0] = torch.eye(A, dtype=torch.float64)[a]
        by_action.append(policy_values(mdps, certain)[:, 0])
    expected = (probabilities[:, 0] * torch.stack(by_action, dim=-1)).sum(-1)
    torch.testing.assert_close(policy_values(mdps, probabilities)[:, 0], expected)


def test_the_greedy_policy_of_the_optimum_is_worth_the_optimum(generator):
    mdps = draw(generator, 20, 5, 3)
    values = optimal_action_values(mdps, 6, 0.95)
    policy = torch.nn.functional.one_hot(values.argmax(-1), 3).double()
    torch.testing.assert_close(policy_values(mdps, policy, 0.95), values.amax(-1))


# ---- optimism


def best_in_the_ball(p, radius, values):
    """max ⟨q, V⟩ over q ≥ 0, Σ q = 1, ‖q − p‖₁ ≤ radius, as a linear program in (q, d) with d ≥ |q − p|."""
    n = len(p)
    eye = torch.eye(n, dtype=torch.float64)
    above = torch.cat([torch.cat([eye, -eye], 1), torch.cat([-eye, -eye], 1)])
    distance = torch.cat([torch.zeros(n), torch.ones(n)])[None].double()
    solved = linprog(
        c=torch.cat([-values, torch.zeros(n)]).numpy(),
        A_ub=torch.cat([above, distance]).numpy(),
        b_ub=torch.cat([p, -p, radius[None]]).numpy(),
        A_eq=torch.cat([torch.ones(n), torch.zeros(n)])[None].numpy(),
        b_eq=[1.0],
        bounds=(0, None),
    )
    assert solved.success
    return -solved.fun


def test_the_optimistic_expectation_is_the_largest_in_the_ball(generator):
    mdps = draw(generator, 4, 5, 3)
    values = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    values[0, 1] = values[0, 3]  # equal values must not matter
    radius = torch.rand(4, 5, 3, generator=generator, dtype=torch.float64) * 2.2
    found = optimistic_expectation(mdps.transitions, radius, values)
    for i, s, a in itertools.product(range(4), range(5), range(3)):
        expected = best_in_the_ball(mdps.transitions[i, s, a], radius[i, s, a], values[i])
        assert found[i, s, a].item() == pytest.approx(expected, abs=1e-9)


def test_a_ball_of_radius_nought_is_the_distribution_and_one_of_two_is_every_distribution(generator):
    mdps = draw(generator, 4, 5, 3)
    values = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    none = torch.zeros_like(mdps.rewards)
    expected = torch.einsum("isaz,iz->isa", mdps.transitions, values)
    torch.testing.assert_close(optimistic_expectation(mdps.transitions, none, values), expected)
    everything = optimistic_expectation(mdps.transitions, none + 2, values)
    torch.testing.assert_close(everything, values.amax(-1)[:, None, None].expand(4, 5, 3))


def test_optimism_is_never_below_the_truth_that_its_set_contains(generator):
    """And it is the optimum itself if the set has nothing else."""
    truth, guess = draw(generator, 30, 5, 3), draw(generator, 30, 5, 3)
    slack = (truth.rewards - guess.rewards).clamp_min(0)
    radius = (truth.transitions - guess.transitions).abs().sum(-1)
    optimum = optimal_action_values(truth, 6)
    assert (optimistic_action_values(guess, slack, radius, 6) >= optimum - 1e-12).all()
    assert (optimistic_action_values(guess, slack * 0, radius * 0, 6) < optimum).any()
    torch.testing.assert_close(optimistic_action_values(truth, slack * 0, radius * 0, 6), optimum)
