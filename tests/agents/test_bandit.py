"""Bandit agents: choices against hand counts, integrals of posteriors, and optimal play."""

import itertools
import math
from functools import cache

import pytest
import torch
from scipy import integrate, stats

from metarl_exp import agents
from metarl_exp.maths.gittins import gittins_indices
from metarl_exp.tasks import Bandit

NOTHING = torch.ones(1, 1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bernoulli(arms, horizon=10):
    return Bandit(arms, horizon, "bernoulli")


def taught(agent, history, arms, instances=1):
    """The agent in many instances of one history of (arm, reward)."""
    agent.start(torch.zeros(instances, arms), bernoulli(arms), 1, seeded(3))
    observation = NOTHING.expand(instances, 1)
    for arm, reward in history:
        agent.learn(
            observation, torch.full((instances,), arm), torch.full((instances,), float(reward)), observation, False
        )
    return agent


def choices(agent, history, arms, instances=40_000):
    """Share of each arm among the choices that follow a history."""
    actions = taught(agent, history, arms, instances).act(NOTHING.expand(instances, 1))
    return torch.bincount(actions, minlength=arms) / instances


def within_errors(share, probability, instances=40_000):
    return abs(share - probability) < 4.5 * math.sqrt(probability * (1 - probability) / instances)


# ---- greedy, ε-greedy, UCB1


def test_greedy_counts_from_one_success_and_one_failure_and_takes_the_first_of_equals():
    for history, arm in [([], 0), ([(0, 0)], 1), ([(0, 1)], 0), ([(0, 1), (0, 0), (0, 0)], 1), ([(0, 0), (1, 0)], 2)]:
        assert taught(agents.Greedy(), history, 3).act(NOTHING).tolist() == [arm]
    # 3/5 against 2/3
    assert taught(agents.Greedy(), [(0, 1), (0, 1), (0, 0), (2, 1)], 3).act(NOTHING).tolist() == [2]


def test_instances_learn_from_their_own_rewards_only():
    agent = agents.Greedy()
    agent.start(torch.zeros(3, 2), bernoulli(2), 1, seeded())
    agent.learn(NOTHING.expand(3, 1), torch.tensor([0, 0, 1]), torch.tensor([0.0, 1.0, 1.0]), NOTHING, False)
    assert agent.act(NOTHING.expand(3, 1)).tolist() == [1, 0, 1]
    assert agent.arms.mean().tolist() == [[1 / 3, 1 / 2], [2 / 3, 1 / 2], [1 / 2, 2 / 3]]


def test_epsilon_is_the_share_of_uniform_choices():
    share = choices(agents.EpsilonGreedy(0.3), [(1, 1)], 3)
    assert within_errors(share[1].item(), 0.7 + 0.1)
    assert within_errors(share[0].item(), 0.1)
    assert choices(agents.EpsilonGreedy(0.0), [(1, 1)], 3).tolist() == [0, 1, 0]
    assert (choices(agents.EpsilonGreedy(1.0), [(1, 1)], 3) - 1 / 3).abs().max() < 0.012


def test_the_bound_of_ucb1():
    history = [(0, 1), (0, 1), (0, 0), (1, 0)]
    agent = taught(agents.UCB1(0.5), history, 3)
    expected = [
        3 / 5 + 0.5 * math.sqrt(2 * math.log(4) / 5),
        1 / 3 + 0.5 * math.sqrt(2 * math.log(4) / 3),
        1 / 2 + 0.5 * math.sqrt(2 * math.log(4) / 2),
    ]
    torch.testing.assert_close(agent.scores(), torch.tensor([expected], dtype=torch.float64))
    assert agent.act(NOTHING).tolist() == [2]
    assert taught(agents.UCB1(0.0), history, 3).act(NOTHING).tolist() == [0]
    assert taught(agents.UCB1(1.0), [], 3).act(NOTHING).tolist() == [0]


# ---- Thompson sampling and its optimistic relatives

HISTORY = [(0, 1), (0, 1), (0, 0), (1, 0), (1, 1), (1, 0), (1, 1), (1, 1)]  # Beta(3, 2) and Beta(4, 3)
FIRST, SECOND = stats.beta(3, 2), stats.beta(4, 3)


def test_thompson_sampling_chooses_with_the_probability_of_being_best():
    probability, _ = integrate.quad(lambda x: FIRST.pdf(x) * SECOND.cdf(x), 0, 1)
    assert within_errors(choices(agents.ThompsonSampling(), HISTORY, 2)[0].item(), probability)


def test_thompson_sampling_of_fresh_arms_is_uniform():
    share = choices(agents.ThompsonSampling(), [], 4)
    assert all(within_errors(x, 0.25) for x in share.tolist())


def test_optimism_is_a_draw_but_at_least_the_mean():
    """The arm of the smaller mean (4/7 < 3/5) wins if its draw is above the larger mean and the other draw."""
    probability, _ = integrate.quad(lambda y: SECOND.pdf(y) * FIRST.cdf(y), FIRST.mean(), 1)
    share = choices(agents.OptimisticThompsonSampling(), HISTORY, 2)
    assert within_errors(share[1].item(), probability)
    assert not within_errors(share[1].item(), choices(agents.ThompsonSampling(), HISTORY, 2)[1].item())


@pytest.mark.parametrize("samples", [1, 2, 10])
def test_the_likeliest_of_several_draws(samples):
    """The largest density of m draws: a cell is chosen with the m-th power of the mass up to it, minus that below."""
    cells = 400
    x = (torch.arange(cells).double() + 0.5) / cells
    density = torch.outer(torch.tensor(FIRST.pdf(x)), torch.tensor(SECOND.pdf(x)))
    order = density.flatten().argsort()
    cumulative = density.flatten()[order].cumsum(0) / density.sum()
    chosen = cumulative.pow(samples).diff(prepend=torch.zeros(1))
    first = (x[:, None] > x[None, :]).double() + 0.5 * torch.eye(cells)
    probability = (chosen * first.flatten()[order]).sum().item()
    assert choices(agents.LikeliestSample(samples), HISTORY, 2)[0].item() == pytest.approx(probability, abs=0.011)


def test_many_draws_end_at_the_mode():
    """Modes 2/3 of Beta(3, 2) and 3/5 of Beta(4, 3), and 1 of Beta(2, 1), where a draw's 1 − p must not be lost."""
    assert choices(agents.LikeliestSample(2000), HISTORY, 2, instances=400)[0] > 0.7
    share = choices(agents.LikeliestSample(500), [*HISTORY, (2, 1)], 3, instances=400)
    assert share[2] > 0.9
    agent = taught(agents.LikeliestSample(4), [(0, 1)] * 400, 2, instances=200)
    assert agent.scores().isfinite().all()


# ---- Gittins


def test_the_larger_index_is_pulled():
    index = gittins_indices(0.9, 30, 201)
    agent = taught(agents.Gittins(0.9, 30, 201), HISTORY, 3)
    expected = [index[2, 1], index[3, 2], index[0, 0]]
    assert agent.scores().tolist() == [expected]
    assert agent.act(NOTHING).item() == torch.stack(expected).argmax().item()


def test_more_pulls_than_the_indices_are_for_are_refused():
    with pytest.raises(ValueError, match=r"agent\.depth=30: must be ≥ 36, all pulls"):
        agents.Gittins(0.9, 30, 11).start(torch.zeros(1, 2), bernoulli(2, 12), 3, seeded())


def bayesian_value(agent, pulls):
    """Exact expected total of a deterministic agent over the uniform prior of two arms: all its histories at once."""
    scripts = torch.tensor(list(itertools.product([0.0, 1.0], repeat=pulls)))
    agent.start(torch.zeros(len(scripts), 2), bernoulli(2), 1, seeded())
    observation, weight = NOTHING.expand(len(scripts), 1), torch.ones(len(scripts), dtype=torch.float64)
    wins, losses = torch.ones(len(scripts), 2), torch.ones(len(scripts), 2)
    everyone = torch.arange(len(scripts))
    for reward in scripts.T:
        arm = agent.act(observation)
        p = wins[everyone, arm] / (wins + losses)[everyone, arm]
        weight *= torch.where(reward == 1, p, 1 - p)
        agent.learn(observation, arm, reward, observation, False)
        wins[everyone, arm] += reward
        losses[everyone, arm] += 1 - reward
    assert weight.sum().item() == pytest.approx(1)
    return (weight * scripts.sum(1)).sum().item()


@cache
def optimal_value(s1, f1, s2, f2, left):
    """Expected total of optimal play of two arms, by dynamic programming over all counts."""
    if not left:
        return 0.0
    p, q = s1 / (s1 + f1), s2 / (s2 + f2)
    rest = left - 1
    return max(
        p * (1 + optimal_value(s1 + 1, f1, s2, f2, rest)) + (1 - p) * optimal_value(s1, f1 + 1, s2, f2, rest),
        q * (1 + optimal_value(s1, f1, s2 + 1, f2, rest)) + (1 - q) * optimal_value(s1, f1, s2, f2 + 1, rest),
    )


def test_gittins_is_nearly_optimal_for_a_known_horizon_and_greedy_is_not():
    """Ten pulls of two arms, exactly: discount 0.9 has a horizon of ten pulls."""
    optimum = optimal_value(1, 1, 1, 1, 10)
    gittins, greedy = bayesian_value(agents.Gittins(0.9, 60, 501), 10), bayesian_value(agents.Greedy(), 10)
    assert 0.998 * optimum < gittins <= optimum + 1e-9
    assert greedy < gittins
    assert bayesian_value(agents.Greedy(), 1) == optimal_value(1, 1, 1, 1, 1) == 0.5


# ---- playing


def test_random_is_uniform_and_the_oracle_takes_the_best():
    tasks = torch.tensor([[0.1, 0.7, 0.3, 0.5]]).double().expand(4000, 4)
    random, best = (
        agents.play(agent, bernoulli(4), tasks, 2, seeded(1), seeded(2)).sum(1)
        for agent in (agents.Random(), agents.BestArm())
    )
    assert abs(random.mean().item() - 20 * 0.4) < 4 * (20 * 0.25 / 4000) ** 0.5
    assert abs(best.mean().item() - 20 * 0.7) < 4 * (20 * 0.21 / 4000) ** 0.5
    agent = agents.Random()
    agent.start(tasks, bernoulli(4), 1, seeded())
    share = torch.bincount(agent.act(torch.ones(40_000, 1)), minlength=4) / 40_000
    assert all(within_errors(x, 0.25) for x in share.tolist())


AGENTS = [
    agents.Random(),
    agents.Greedy(),
    agents.EpsilonGreedy(0.2),
    agents.UCB1(0.3),
    agents.ThompsonSampling(),
    agents.OptimisticThompsonSampling(),
    agents.LikeliestSample(3),
    agents.Gittins(0.9, 40, 101),
]


@pytest.mark.parametrize("agent", AGENTS, ids=lambda a: type(a).__name__)
def test_a_new_start_forgets_and_the_same_seeds_give_the_same_numbers(agent):
    bandit = bernoulli(4)
    tasks = bandit.sample(50, seeded())
    first, second = (agents.play(agent, bandit, tasks, 2, seeded(1), seeded(2)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, agents.play(agent, bandit, tasks, 2, seeded(1), seeded(3)))


@pytest.mark.parametrize("agent", AGENTS[1:], ids=lambda a: type(a).__name__)
def test_rewards_that_are_no_successes_are_refused(agent):
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        agents.play(agent, Bandit(2, 3, "gaussian"), torch.zeros(5, 2), 1, seeded(), seeded())


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("epsilon", lambda: agents.EpsilonGreedy(1.1)),
        ("c", lambda: agents.UCB1(-0.1)),
        ("samples", lambda: agents.LikeliestSample(0)),
        ("discount", lambda: agents.Gittins(1.0, 10, 11)),
        ("depth", lambda: agents.Gittins(0.9, 0, 11)),
        ("resolution", lambda: agents.Gittins(0.9, 10, 1)),
    ],
)
def test_settings_that_mean_nothing_are_refused(field, make):
    with pytest.raises(ValueError, match=rf"agent\.{field}="):
        make()
