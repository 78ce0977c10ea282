"""The task distributions as Gymnasium environments."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from metarl_exp.tasks import TaskEnv
from metarl_exp.tasks.gymnasium_env import ENVIRONMENTS, register_all
from metarl_exp.types import Spec, Step


@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*infinity")  # observations are unbounded
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_gymnasium_s_own_checker_is_content(name):
    check_env(gymnasium.make(name).unwrapped)


def test_both_distributions_are_registered_and_registering_again_does_no_harm():
    register_all()
    assert {"metarl_exp/Navigation2D-v0", "metarl_exp/CartPole-v0"} <= set(gymnasium.registry)


def test_the_task_is_the_one_that_was_asked_for():
    env = gymnasium.make("metarl_exp/Navigation2D-v0", task=[0.1, -0.05])
    env.reset(seed=0)
    observation, reward, terminal, truncated, _ = env.step(np.array([1.0, 0.0], dtype=np.float32))
    np.testing.assert_allclose(observation, [0.1, 0.0], atol=1e-7)
    assert reward == pytest.approx(-0.05, abs=1e-7)
    assert (terminal, truncated) == (False, False)
    assert env.step(np.array([0.0, -0.5], dtype=np.float32))[2]


def test_without_a_task_it_is_the_first_test_task():
    env = gymnasium.make("metarl_exp/Navigation2D-v0").unwrapped
    assert np.array_equal(env.task[0], np.random.RandomState(1).uniform(-0.5, 0.5, 2))


@pytest.mark.parametrize("seed", range(3))
def test_nominal_cartpole_is_cartpole_v1(seed):
    """From the same state on, with CartPole-v1's own limit of 500 steps."""
    mine, theirs = (gymnasium.make(name).unwrapped for name in ("metarl_exp/CartPole-v0", "CartPole-v1"))
    mine.reset(seed=seed)
    theirs.reset(seed=seed)
    theirs.state = mine._env.state[0, 0].numpy().copy()
    terminal, steps = False, 0
    while not terminal:
        action = int(theirs.state[2] + theirs.state[3] > 0) if steps % 7 else steps % 2
        (observation, *mine_says), (expected, *they_say) = mine.step(action), theirs.step(action)
        np.testing.assert_allclose(observation, expected, rtol=1e-5, atol=1e-7)
        assert mine_says[:3] == they_say[:3]
        terminal, steps = they_say[1] or steps > 300, steps + 1
    assert steps > 20
    assert mine.distribution.spec.horizon == gymnasium.spec("CartPole-v1").max_episode_steps


def test_the_horizon_truncates_and_does_not_terminate():
    """Trap 13: running out of time is not an end of the MDP."""
    env = gymnasium.make("metarl_exp/Navigation2D-v0", horizon=3, task=[0.5, 0.5]).unwrapped
    for _ in range(2):  # the count starts again with every episode
        env.reset(seed=0)
        ends = [env.step(np.zeros(2, dtype=np.float32))[2:4] for _ in range(3)]
        assert ends == [(False, False), (False, False), (False, True)]


def test_reaching_the_end_with_the_last_step_terminates_and_does_not_truncate():
    env = gymnasium.make("metarl_exp/Navigation2D-v0", horizon=1, task=[0.1, 0.0]).unwrapped
    env.reset(seed=0)
    assert env.step(np.array([1.0, 0.0], dtype=np.float32))[2:4] == (True, False)


def test_the_seed_decides_the_start():
    env = gymnasium.make("metarl_exp/CartPole-v0")
    first, again, other = (env.reset(seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(env.reset()[0], env.reset()[0])


class LimitedByItself:
    """A scripted distribution whose environment ends every episode by a limit of its own, at the second step."""

    spec, parameter_names = Spec(1, 2, True, 10), ("nothing",)

    def make_env(self, tasks, trajectories, generator, device):
        return self

    def reset(self):
        self.steps = 0
        return torch.zeros(1, 1, 1)

    def step(self, action):
        self.steps += 1
        flags = torch.zeros(2, 1, 1, dtype=torch.bool)
        flags[1] = self.steps == 2
        return Step(torch.full((1, 1, 1), float(self.steps)), torch.ones(1, 1), *flags)


def test_an_environment_s_own_limit_is_passed_on():
    env = TaskEnv(LimitedByItself(), task=[0.0])
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(2)] == [(False, False), (False, True)]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_observation_belongs_to_who_asked_for_it(name):
    """Changing it in place, as a wrapper may, does not move the state."""
    disturbed, left_alone = (gymnasium.make(name).unwrapped for _ in range(2))
    observation, _ = disturbed.reset(seed=0)
    left_alone.reset(seed=0)
    disturbed.action_space.seed(0)
    action = disturbed.action_space.sample()
    for _ in range(2):
        observation += 0.01
        (observation, *_), (expected, *_) = disturbed.step(action), left_alone.step(action)
        assert np.array_equal(observation, expected)


@pytest.mark.parametrize(("name", "task"), [("Navigation2D", [0.1]), ("Navigation2D", [0.1] * 3), ("CartPole", [0.5])])
def test_a_task_of_the_wrong_length_is_refused(name, task):
    with pytest.raises(ValueError, match=r"task=.*must be the \d numbers"):
        gymnasium.make(f"metarl_exp/{name}-v0", task=task)
