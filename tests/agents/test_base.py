"""The loop in which agents play, in a scripted world where every number is known."""

import pytest
import torch

from metarl_exp.agents import play
from metarl_exp.types import Spec, Step

TASKS = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)


class Scripted:
    """The reward of step t (over all episodes of the trial) is task · action + t; the observation counts steps."""

    def __init__(self, ends_at=None):
        self.spec = Spec(observation_size=2, action_size=5, discrete=True, horizon=3)
        self.made, self.ends_at = [], ends_at

    def make_env(self, tasks, trajectories, generator, device):
        self.made.append((trajectories, generator, device))
        return ScriptedEnv(self, tasks, len(self.made) - 1)


class ScriptedEnv:
    def __init__(self, world, tasks, episode):
        self.world, self.tasks, self.episode = world, tasks, episode

    def observation(self):
        return torch.tensor([self.episode, self.t]).float().expand(len(self.tasks), 1, 2)

    def reset(self):
        self.t = 0
        return self.observation()

    def step(self, action):
        assert action.shape == (len(self.tasks), 1)
        reward = self.tasks * action + 3 * self.episode + self.t
        self.t += 1
        ended = torch.full((len(self.tasks), 1), self.t == self.world.ends_at)
        return Step(self.observation(), reward.float(), ended, torch.zeros_like(ended))


class Recorder:
    """Pulls the arms 0, 1, 2, …, one a step, and keeps what it is told."""

    def start(self, tasks, distribution, episodes, generator):
        self.started, self.steps, self.learned = (tasks, distribution, episodes, generator), 0, []

    def act(self, observation):
        self.seen = observation
        return torch.full((len(observation),), self.steps)

    def learn(self, observation, action, reward, next_observation, ended):
        assert torch.equal(observation, self.seen)
        self.learned.append((observation[0].tolist(), action.tolist(), reward.tolist(), next_observation[0].tolist()))
        self.learned[-1] += (ended,)
        self.steps += 1


def test_an_agent_is_told_everything_and_returns_are_what_was_paid():
    agent, world, actions, environment = Recorder(), Scripted(), torch.Generator(), torch.Generator()
    returns = play(agent, world, TASKS, 2, actions, environment)
    # Σ (task · t + t) over t = 0, 1, 2, and over t = 3, 4, 5
    assert returns.tolist() == [[6.0, 24.0], [9.0, 36.0], [12.0, 48.0]]
    assert returns.dtype == torch.float64
    assert agent.started == (TASKS, world, 2, actions)
    assert world.made == [(1, environment, torch.device("cpu"))] * 2
    assert [seen for seen, *_ in agent.learned] == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert [following for *_, following, _ in agent.learned] == [[0, 1], [0, 2], [0, 3], [1, 1], [1, 2], [1, 3]]
    assert [ended for *_, ended in agent.learned] == [False, False, True] * 2
    assert agent.learned[4][1:3] == ([4, 4, 4], [8, 12, 16])


@pytest.mark.parametrize("step", [1, 2])
def test_an_episode_that_ends_early_is_refused(step):
    with pytest.raises(ValueError, match=f"ended at step {step - 1} of 3"):
        play(Recorder(), Scripted(ends_at=step), TASKS, 1, torch.Generator(), torch.Generator())


def test_an_end_at_the_horizon_is_none_too_early():
    agent = Recorder()
    play(agent, Scripted(ends_at=3), TASKS, 1, torch.Generator(), torch.Generator())
    assert [ended for *_, ended in agent.learned] == [False, False, True]
