"""What observations and actions are to a policy."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from metarl_exp.tasks.spaces import Interface

CHOICE = spaces.Discrete(2)


def box(*shape, low=-1.0, high=1.0):
    return spaces.Box(low, high, shape, np.float32)


@pytest.mark.parametrize(
    ("space", "observation", "expected"),
    [
        (box(3), [1, 2, 3], [1, 2, 3]),
        (box(2, 2), [[1, 2], [3, 4]], [1, 2, 3, 4]),
        (spaces.Box(0, 255, (2, 1, 1), np.uint8), [[[255]], [[7]]], [255, 7]),
        (spaces.Discrete(3), 1, [0, 1, 0]),
        (spaces.Discrete(3, start=5), 7, [0, 0, 1]),
        (spaces.MultiBinary(3), [1, 0, 1], [1, 0, 1]),
        (spaces.MultiDiscrete([2, 3]), [1, 0], [0, 1, 1, 0, 0]),
        (spaces.Dict({"b": box(1), "a": spaces.Discrete(2)}), {"b": [0.5], "a": 1}, [0, 1, 0.5]),
        (spaces.Tuple((box(1), spaces.Dict({"x": box(2)}))), ([3.0], {"x": [4.0, 5.0]}), [3, 4, 5]),
    ],
    ids=str,
)
def test_observations_become_flat_numbers(space, observation, expected):
    interface = Interface(space, CHOICE)
    observed = interface.observe(observation)
    assert observed.dtype == np.float32
    assert observed.tolist() == expected
    assert interface.observation_size == len(expected)


def test_an_observation_is_not_the_environment_s_own_array():
    mine = np.zeros(3, np.float32)
    Interface(box(3), CHOICE).observe(mine)[0] = 1
    assert mine[0] == 0


@pytest.mark.parametrize("start", [0, 5, -1])
def test_the_first_choice_is_the_policy_s_zero(start):
    interface = Interface(box(1), spaces.Discrete(3, start=start))
    actions = [interface.act(np.int64(i)) for i in range(3)]
    assert actions == [start, start + 1, start + 2]
    assert all(type(action) is int for action in actions)
    assert interface.sizes == (1, 3, True)


def test_output_is_stretched_onto_bounds_and_clipped():
    """−1, 0 and 1 are the lower bound, the middle and the upper bound; beyond them nothing changes."""
    low, high = np.float32([-2, 0, -0.4]), np.float32([2, 10, 0.4])
    interface = Interface(box(1), spaces.Box(low, high))
    for output, expected in ((-1, low), (-7, low), (0, (low + high) / 2), (1, high), (3, high)):
        np.testing.assert_allclose(interface.act(np.full(3, output)), expected, rtol=1e-6)
    np.testing.assert_allclose(interface.act(np.array([0.5, 0.5, 0.5])), [1, 7.5, 0.2], rtol=1e-6)


def test_bounds_are_kept_exactly_in_the_space_s_type_and_shape():
    for dtype in (np.float32, np.float64):
        space = spaces.Box(np.full((2, 1), -0.1, dtype), np.full((2, 1), 0.3, dtype), dtype=dtype)
        for output in ([1.0, -1.0], [9.0, -9.0]):
            action = Interface(box(1), space).act(np.array(output))
            assert action.dtype == dtype
            assert space.contains(action)
            assert action.ravel().tolist() == [space.high[0, 0], space.low[0, 0]]


def test_a_dimension_with_an_infinite_bound_takes_the_output_as_it_is():
    space = spaces.Box(np.float32([-np.inf, 0, -np.inf]), np.float32([np.inf, np.inf, 3]))
    action = Interface(box(1), space).act(np.array([50.0, -1.0, 7.0]))
    assert action.tolist() == [50.0, 0.0, 3.0]


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        (spaces.Sequence(box(1)), CHOICE),
        (box(1), spaces.MultiDiscrete([2, 2])),
        (box(1), spaces.Box(0, 5, (2,), np.int64)),
        (box(1), spaces.Dict({"x": box(1)})),
    ],
    ids=str,
)
def test_other_spaces_are_refused(observation, action):
    with pytest.raises(ValueError, match="observations .* not a fixed number|actions .* neither"):
        Interface(observation, action)


def test_the_pendulum_s_torque():
    """Gymnasium's bounds are ±2 N m."""
    env = gymnasium.make("Pendulum-v1")
    assert Interface(env.observation_space, env.action_space).act(np.array([0.25])).tolist() == [0.5]
