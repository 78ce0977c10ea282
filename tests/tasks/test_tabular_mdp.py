"""Random MDPs: their law, their luck, and what their optimum is worth."""

import json

import pytest
import torch
from scipy import stats

from metarl_exp.maths.planning import optimal_action_values, policy_values
from metarl_exp.tasks import TabularMDP

CPU = torch.device("cpu")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def tasks():
    return TabularMDP(states=10, actions=5, horizon=10)


@pytest.fixture(scope="module")
def rows(tasks):
    return tasks.sample(2000, seeded())


# ---- tasks


def test_a_task_is_one_whole_number_that_survives_being_stored(tasks, rows):
    assert rows.shape == (2000, 1) == (2000, len(tasks.parameter_names))
    assert rows.dtype == torch.float64
    assert torch.equal(torch.tensor(json.loads(json.dumps(rows.tolist())), dtype=torch.float64), rows)
    assert len(rows.unique()) == 2000
    assert rows.max() > 2**52
    assert torch.equal(rows, tasks.sample(2000, seeded()))
    assert torch.equal(rows[:7], tasks.test_tasks(7, seeded()))


def test_a_key_means_the_same_tables_alone_or_in_company(tasks, rows):
    alone, together = tasks.mdps(rows[3:4]), tasks.mdps(rows[:10])
    assert torch.equal(alone.rewards[0], together.rewards[3])
    assert torch.equal(alone.transitions[0], together.transitions[3])


def test_tables_kept_from_the_last_call_are_not_those_of_other_tasks(tasks, rows):
    given = rows[:2].clone()
    first = tasks.mdps(given)
    assert tasks.mdps(given.clone()).rewards is first.rewards
    given[0] = rows[5]  # changed in place: it means another MDP now
    assert torch.equal(tasks.mdps(given).rewards[0], tasks.mdps(rows[5:6]).rewards[0])


def test_next_states_are_dirichlet(tasks, rows):
    """Dirichlet(1) over S: marginals Beta(1, S − 1), covariances −1 / (S² (S + 1)), nothing between rows."""
    p = tasks.mdps(rows).transitions
    torch.testing.assert_close(p.sum(-1), torch.ones_like(p[..., 0]))
    for column in (0, 4, 9):
        assert stats.kstest(p[:, :, :, column].flatten().numpy(), "beta", (1, 9)).pvalue > 0.001
    covariance = torch.cov(p.flatten(0, 2).T)
    expected = torch.full((10, 10), -1 / 1100).fill_diagonal_(9 / 1100).double()
    torch.testing.assert_close(covariance, expected, rtol=0, atol=1.5e-4)
    between = torch.corrcoef(torch.stack([p[:, 0, 0, 0], p[:, 0, 1, 0], p[:, 1, 0, 0]])) - torch.eye(3)
    assert between.abs().max() < 4 / 2000**0.5


def test_mean_rewards_are_normal_around_one(tasks, rows):
    assert stats.kstest(tasks.mdps(rows).rewards.flatten().numpy(), "norm", (1, 1)).pvalue > 0.001


# ---- episodes


def test_an_episode_starts_in_state_nought_and_shows_the_state(tasks, rows):
    env = tasks.make_env(rows[:4], 3, seeded(), CPU)
    start = torch.nn.functional.one_hot(torch.zeros(4, 3, dtype=torch.long), 10).float()
    assert torch.equal(env.reset(), start)
    for _ in range(10):
        step = env.step(torch.zeros(4, 3, dtype=torch.long))
        assert step.observation.dtype == step.reward.dtype == torch.float32
        assert torch.equal(step.observation.sum(-1), torch.ones(4, 3))
        assert not (step.terminal | step.truncated).any()
    assert torch.equal(env.reset(), start)


def test_next_states_and_rewards_have_the_tables_law(tasks, rows):
    """One task, the first two steps of 100 000 episodes: frequencies by χ², rewards by their mean and variance."""
    number = 100_000
    tables = tasks.mdps(rows[:1])
    env = tasks.make_env(rows[:1], number, seeded(), CPU)
    state = env.reset().argmax(-1)
    for action in (2, 4):
        step = env.step(torch.full((1, number), action))
        following = step.observation.argmax(-1)
        for s in state.unique().tolist():
            there = state == s
            expected = tables.transitions[0, s, action] * there.sum()
            seen = torch.bincount(following[there], minlength=10).double()
            assert stats.chisquare(seen.numpy(), expected.numpy()).pvalue > 1e-4
            noise = step.reward[there].double() - tables.rewards[0, s, action]
            assert noise.mean().abs() < 4.5 / len(noise) ** 0.5
            assert (noise.var() - 1).abs() < 4.5 * (2 / len(noise)) ** 0.5
        state = following


def test_luck_does_not_depend_on_anyone_s_actions(tasks, rows):
    """Task 0 acts alike in both plays, task 1 does not; and the generator moves on by the same amount."""
    seen, left = [], []
    for other in (0, 3):
        generator = seeded(5)
        env = tasks.make_env(rows[:2], 2, generator, CPU)
        env.reset()
        steps = [env.step(torch.tensor([[1, 2], [other, other]])) for _ in range(10)]
        seen.append(torch.stack([torch.cat([s.observation, s.reward[..., None]], dim=-1) for s in steps]))
        left.append(generator.get_state())
    assert torch.equal(seen[0][:, 0], seen[1][:, 0])
    assert not torch.equal(seen[0][:, 1], seen[1][:, 1])
    assert torch.equal(left[0], left[1])


def test_every_episode_has_luck_of_its_own(tasks, rows):
    env = tasks.make_env(rows[:1], 2, seeded(), CPU)
    rewards = []
    for _ in range(2):
        env.reset()
        rewards.append(env.step(torch.zeros(1, 2, dtype=torch.long)).reward)
    assert len(torch.cat(rewards).flatten().unique()) == 4


# ---- the optimum


def test_the_optimum_is_what_value_iteration_elsewhere_says(tasks, rows):
    """Over 4000 other MDPs, with other code: 21.83 ± 0.04, 20.87 ± 0.03 discounted by 0.99. Random play: 10 exactly."""
    optimum, discounted = tasks.optimal_returns(rows), tasks.optimal_returns(rows, 0.99)
    error = optimum.std().item() / 2000**0.5
    assert optimum.mean().item() == pytest.approx(21.83, abs=4 * error)
    assert discounted.mean().item() == pytest.approx(20.87, abs=4 * error)
    assert error < 0.06
    random = policy_values(tasks.mdps(rows), torch.full((2000, 10, 10, 5), 0.2).double())[:, 0, 0]
    assert random.mean().item() == pytest.approx(10, abs=4 * random.std().item() / 2000**0.5)


def test_following_the_optimal_plan_earns_the_optimum(tasks, rows):
    """Monte Carlo: 20 tasks × 4000 episodes in the environment itself."""
    few = rows[:20]
    plan = optimal_action_values(tasks.mdps(few), 10).argmax(-1)
    env = tasks.make_env(few, 4000, seeded(), CPU)
    observation, earned = env.reset(), torch.zeros(20, 4000)
    for t in range(10):
        step = env.step(plan[torch.arange(20)[:, None], t, observation.argmax(-1)])
        observation, earned = step.observation, earned + step.reward
    gap = (earned.mean(1) - tasks.optimal_returns(few)) / (earned.std(1) / 4000**0.5)
    assert gap.abs().max() < 4
    assert gap.mean().abs() < 4 / 20**0.5


# ---- guards


@pytest.mark.parametrize("key", [0.5, -1.0, 2.0**53, float("nan")])
def test_a_key_that_is_no_key_is_refused(tasks, key):
    with pytest.raises(ValueError, match="task key="):
        tasks.make_env(torch.tensor([[1.0], [key]]), 1, seeded(), CPU)


@pytest.mark.parametrize("name", ["states", "actions", "horizon"])
def test_sizes_that_mean_nothing_are_refused(name):
    with pytest.raises(ValueError, match=rf"tasks\.{name}=0"):
        TabularMDP(**{"states": 2, "actions": 2, "horizon": 2, name: 0})


def test_an_episode_has_no_more_steps_than_its_horizon():
    env = TabularMDP(2, 2, 1).make_env(torch.zeros(1, 1), 1, seeded(), CPU)
    env.reset()
    env.step(torch.zeros(1, 1, dtype=torch.long))
    with pytest.raises(IndexError):
        env.step(torch.zeros(1, 1, dtype=torch.long))
