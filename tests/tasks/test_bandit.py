"""Bandits: what arms pay, in law and to the number, and that luck does not depend on what is pulled."""

import pytest
import torch
from scipy import stats

from metarl_exp.tasks import Bandit

CPU = torch.device("cpu")
LAWS = {"bernoulli": stats.uniform(), "gaussian": stats.norm()}  # of the means


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pay(bandit, tasks, actions, seed=0):
    """Rewards [T, N, M] of actions [T, N, M]."""
    env = bandit.make_env(tasks, actions.shape[2], seeded(seed), CPU)
    env.reset()
    return torch.stack([env.step(action).reward for action in actions])


# ---- payments


def test_an_arm_pays_its_own_probability():
    """Certain arms: the reward names the arm that was pulled."""
    tasks = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    actions = torch.tensor([[[0, 1], [2, 1]], [[1, 2], [0, 2]]])
    assert pay(Bandit(3, 2, "bernoulli"), tasks, actions).tolist() == [[[1, 0], [1, 0]], [[0, 1], [0, 1]]]


def test_a_bernoulli_arm_pays_one_with_its_probability():
    tasks = torch.tensor([[0.2, 0.9]], dtype=torch.float64)
    rewards = pay(Bandit(2, 1, "bernoulli"), tasks, torch.tensor([[[0] * 20_000 + [1] * 20_000]]))
    assert set(rewards.unique().tolist()) == {0.0, 1.0}
    for arm, p in enumerate([0.2, 0.9]):
        mean = rewards[0, 0, 20_000 * arm : 20_000 * (arm + 1)].mean().item()
        assert abs(mean - p) < 4 * (p * (1 - p) / 20_000) ** 0.5


def test_a_gaussian_arm_pays_with_unit_variance_around_its_mean():
    tasks = torch.tensor([[-3.0, 0.5]], dtype=torch.float64)
    rewards = pay(Bandit(2, 1, "gaussian"), tasks, torch.ones(1, 1, 5000, dtype=torch.long))
    assert stats.kstest(rewards.flatten(), stats.norm(0.5, 1).cdf).pvalue > 0.001
    assert stats.kstest(rewards.flatten(), stats.norm(0.4, 1).cdf).pvalue < 0.001  # the test can tell


@pytest.mark.parametrize("payment", LAWS)
def test_payments_are_independent_over_pulls_tasks_and_episodes(payment):
    rewards = pay(Bandit(2, 400, payment), torch.full((8, 2), 0.5), torch.zeros(400, 8, 8, dtype=torch.long))
    correlation = torch.corrcoef(rewards.flatten(1).T)
    bound = 5 / 400**0.5
    assert (correlation - torch.eye(64)).abs().max() < bound
    for lag in (1, 2):
        assert torch.corrcoef(torch.stack([rewards[lag:].flatten(), rewards[:-lag].flatten()]))[0, 1].abs() < bound


@pytest.mark.parametrize("payment", LAWS)
def test_luck_does_not_depend_on_what_is_pulled(payment):
    """Arms with equal means: the same rewards whichever is pulled, and the generator has moved by the same amount."""
    bandit, tasks = Bandit(4, 20, payment), torch.full((3, 4), 0.3, dtype=torch.float64)
    found = []
    for pulls in (torch.zeros(20, 3, 5, dtype=torch.long), torch.randint(4, (20, 3, 5), generator=seeded(1))):
        generator = seeded(7)
        env = bandit.make_env(tasks, 5, generator, CPU)
        env.reset()
        found.append((torch.stack([env.step(pull).reward for pull in pulls]), generator.get_state()))
    (rewards, state), (others, other_state) = found
    assert torch.equal(rewards, others)
    assert torch.equal(state, other_state)
    assert not torch.equal(rewards, pay(bandit, tasks, torch.zeros(20, 3, 5, dtype=torch.long), seed=8))


def test_an_episode_shows_nothing_and_never_ends_by_itself():
    env = Bandit(3, 2, "gaussian").make_env(torch.zeros(4, 3), 2, seeded(), CPU)
    assert torch.equal(env.reset(), torch.ones(4, 2, 1))
    step = env.step(torch.zeros(4, 2, dtype=torch.long))
    assert torch.equal(step.observation, torch.ones(4, 2, 1))
    assert step.reward.shape == (4, 2)
    assert step.reward.dtype == torch.float32
    assert not (step.terminal | step.truncated).any()


# ---- tasks


@pytest.mark.parametrize(("payment", "law"), LAWS.items())
def test_means_follow_their_law_and_their_seed(payment, law):
    bandit = Bandit(3, 10, payment)
    tasks = bandit.sample(2000, seeded())
    assert tasks.shape == (2000, 3) == (2000, len(bandit.parameter_names))
    assert tasks.dtype == torch.float64
    assert stats.kstest(tasks.flatten(), law.cdf).pvalue > 0.001
    assert torch.equal(tasks, bandit.test_tasks(2000, seeded()))
    assert not torch.equal(tasks, bandit.sample(2000, seeded(1)))


@pytest.mark.parametrize("arms", [2, 5, 50])
def test_the_best_of_k_uniform_arms_is_worth_k_by_k_plus_one(arms):
    """Mean k / (k + 1), variance k / ((k + 1)² (k + 2)) of the largest order statistic."""
    bandit = Bandit(arms, 10, "bernoulli")
    best = bandit.optimal_returns(bandit.sample(20_000, seeded()))
    deviation = 10 * (arms / (arms + 1) ** 2 / (arms + 2)) ** 0.5
    assert abs(best.mean().item() - 10 * arms / (arms + 1)) < 4 * deviation / 20_000**0.5
    assert best.std().item() == pytest.approx(deviation, rel=0.03)


@pytest.mark.parametrize(
    ("field", "settings"),
    [("arms", {"arms": 0}), ("horizon", {"horizon": 0}), ("payment", {"payment": "bernouli"})],
)
def test_settings_that_mean_nothing_are_refused(field, settings):
    with pytest.raises(ValueError, match=rf"tasks\.{field}="):
        Bandit(**{"arms": 2, "horizon": 3, "payment": "gaussian"} | settings)
