"""One live Gymnasium environment as a batch of one."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from metarl_exp.tasks import LiveEnv
from metarl_exp.types import Spec


class Scripted(gymnasium.Env):
    """Remembers what it was told; the observation counts the steps, the third one ends by its limit."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space
        self.seeds, self.actions = [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.steps = 0
        return self.observation(), {}

    def step(self, action):
        self.actions.append(action)
        self.steps += 1
        return self.observation(), 0.5 * self.steps, self.steps == 4, self.steps == 3, {}

    def observation(self):
        return np.full(self.observation_space.shape, self.steps, dtype=np.float64)


def box(*shape, high=1.0):
    return spaces.Box(-high, high, shape, np.float32)


CONTINUOUS, DISCRETE = Spec(3, 2, False, 5), Spec(3, 2, True, 5)


def live(observation_space, action_space, spec, seed=0):
    env = Scripted(observation_space, action_space)
    return env, LiveEnv(env, spec, torch.Generator().manual_seed(seed), torch.device("cpu"))


def test_speaks_in_batches_of_one():
    env, batched = live(box(3), box(2), CONTINUOUS)
    assert torch.equal(batched.reset(), torch.zeros(1, 1, 3))
    step = batched.step(torch.tensor([[[0.5, -0.25]]]))
    assert torch.equal(step.observation, torch.ones(1, 1, 3))
    assert [x.tolist() for x in step[1:4]] == [[[0.5]], [[False]], [[False]]]
    np.testing.assert_array_equal(env.actions[0], np.array([0.5, -0.25], dtype=np.float32))
    assert env.actions[0].dtype == np.float32


def test_a_limit_and_an_end_stay_two_things():
    """Trap 13."""
    _, batched = live(box(3), box(2), CONTINUOUS)
    batched.reset()
    steps = [batched.step(torch.zeros(1, 1, 2)) for _ in range(4)]
    assert [(s.terminal.item(), s.truncated.item()) for s in steps[2:]] == [(False, True), (True, False)]


def test_continuous_actions_are_stretched_onto_the_bounds_clipped_and_shaped():
    env, batched = live(box(3), spaces.Box(np.float32([[-1], [0]]), np.float32([[1], [9]])), CONTINUOUS)
    batched.reset()
    for action in ([0.5, 0.0], [-5.0, 5.0]):
        batched.step(torch.tensor([[action]], dtype=torch.float64))
    assert [a.tolist() for a in env.actions] == [[[0.5], [4.5]], [[-1.0], [9.0]]]


def test_discrete_actions_are_python_integers():
    env, batched = live(box(3), spaces.Discrete(2), DISCRETE)
    batched.reset()
    batched.step(torch.tensor([[1]]))
    assert env.actions == [1]
    assert type(env.actions[0]) is int


def test_only_the_first_reset_is_seeded_and_by_the_generator():
    env, batched = live(box(3), box(2), CONTINUOUS, seed=1)
    again, other = live(box(3), box(2), CONTINUOUS, seed=1), live(box(3), box(2), CONTINUOUS, seed=2)
    for x in (batched, batched, again[1], other[1]):
        x.reset()
    assert env.seeds[1] is None
    assert env.seeds[0] == again[0].seeds[0] != other[0].seeds[0]


@pytest.mark.parametrize(
    ("observation_space", "action_space", "spec"),
    [
        (box(4), box(2), CONTINUOUS),
        (box(3), box(3), CONTINUOUS),
        (box(3), spaces.Discrete(2), CONTINUOUS),
        (box(3), box(2), DISCRETE),
        (box(3), spaces.Discrete(3), DISCRETE),
        (spaces.Discrete(4), spaces.Discrete(2), DISCRETE),
        (spaces.Sequence(box(3)), spaces.Discrete(2), DISCRETE),
        (spaces.Dict({"x": box(3), "y": box(1)}), box(2), CONTINUOUS),
        (box(3), spaces.Dict({"x": box(2)}), CONTINUOUS),
        (box(3), spaces.MultiBinary(2), CONTINUOUS),
        (box(3), spaces.MultiDiscrete([2, 2]), CONTINUOUS),
    ],
)
def test_spaces_that_the_policy_was_not_made_for_are_refused(observation_space, action_space, spec):
    with pytest.raises(ValueError, match=r"environment has .* the policy was made for"):
        live(observation_space, action_space, spec)


def test_choices_count_from_the_space_s_start():
    env, batched = live(box(3), spaces.Discrete(2, start=5), DISCRETE)
    batched.reset()
    batched.step(torch.tensor([[1]]))
    assert env.actions == [6]


def test_an_observation_of_several_axes_is_flattened():
    _, batched = live(box(3, 1), box(2), CONTINUOUS)
    assert batched.reset().shape == (1, 1, 3)
