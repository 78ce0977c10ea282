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


BYTES = spaces.Box(0, 255, (2, 1, 1), np.uint8)


@pytest.mark.parametrize(
    ("space", "observation", "expected"),
    [
        (BYTES, np.uint8([[[255]], [[51]]]), [1, 0.2]),
        (BYTES, [[[255]], [[51]]], [1, 0.2]),
        (spaces.Box(0, 255, (2, 1, 1, 1), np.uint8), np.uint8([[[[0]]], [[[102]]]]), [0, 0.4]),  # frames, stacked
        (spaces.Dict(image=BYTES, x=spaces.Box(0, 255, (1,))), {"image": [[[0]], [[255]]], "x": [255.0]}, [0, 1, 255]),
        (spaces.Box(0, 10, (2,), np.uint8), [10, 3], [10, 3]),  # symbols
        (spaces.Box(0, 255, (2,), np.float32), [255, 3], [255, 3]),
        (spaces.Box(0, 255, (2,), np.int64), [255, 3], [255, 3]),
    ],
    ids=str,
)
def test_pixels_are_divided_by_255_and_no_other_numbers(space, observation, expected):
    """Pixels are bytes from 0 to 255, as a space declares them; 51 is a fifth of 255."""
    np.testing.assert_allclose(Interface(space, CHOICE).observe(observation), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("space", "observation", "message"),
    [
        (spaces.Box(0, 10, (2,), np.int64), [0.7, 0.3], r"observation has 0.7: not in Box\(0, 10, \(2,\), int64\)"),
        (spaces.Box(0, 10, (2,), np.int64), [1.0, np.nan], r"observation has nan: not in Box"),
        (spaces.Box(0, 9, (2,), np.uint8), [300, 256], r"observation has 300: not in Box\(0, 9, \(2,\), uint8\)"),
        (spaces.Box(0, 9, (), np.uint8), -1, r"observation has -1: not in Box\(0, 9, \(\), uint8\)"),
        (BYTES, np.float32([[[0.5]], [[0.9]]]), r"observation has numbers of float32: not in Box\(0, 255"),
        (BYTES, np.float32([[[0]], [[1]]]), r"observation has numbers of float32: not in Box\(0, 255"),
        (BYTES, [[[True]], [[False]]], r"observation has numbers of bool: not in Box\(0, 255"),
        (BYTES, [[[256]], [[0]]], r"observation has 256: not in Box\(0, 255"),
        (spaces.Discrete(5), -1, r"observation is -1: not in Discrete\(5\)"),
        (spaces.Discrete(5), 5, r"observation is 5"),
        (spaces.Discrete(5, start=2), np.int64(1), r"observation is 1: not in Discrete\(5, start=2\)"),
        (spaces.Discrete(5), 1.5, r"observation is 1.5"),
        (spaces.Discrete(5), [1, 2], r"observation has shape \(2,\)"),
        (spaces.Discrete(5), None, r"observation is None"),
        (spaces.MultiDiscrete([3, 3]), [4, 1], r"observation has 4: not in MultiDiscrete\(\[3 3\]\)"),
        (spaces.MultiDiscrete([3, 3], start=[1, 1]), [1, 0], r"observation has 0"),
        (spaces.MultiDiscrete([3, 3]), [0.5, 1], r"observation has 0.5"),
        (spaces.MultiBinary(2), [0.4, 2.0], r"observation has 0.4: not in MultiBinary\(2\)"),
        (spaces.MultiBinary(2), [0, 2], r"observation has 2"),
        (spaces.MultiBinary(2), [0, 1, 1], r"observation has shape \(3,\)"),
        (box(3), [1.0, 2.0], r"observation has shape \(2,\): not in Box\(-1.0, 1.0, \(3,\), float32\)"),
        (box(2, 3), np.zeros((3, 2)), r"observation has shape \(3, 2\): not in Box\(-1.0, 1.0, \(2, 3\), float32\)"),
        (box(1), ["x"], r"observation is \['x'\]"),
        (box(1), [1j], r"observation is \[1j\]"),
        (spaces.Dict(a=spaces.Discrete(3)), {"a": -2}, r"observation\['a'\] is -2: not in Discrete\(3\)"),
        (spaces.Dict(a=box(1)), {"b": [0.0]}, r"observation\['a'\] is missing: not in Box"),
        (spaces.Dict(a=box(1)), np.zeros(1), r"observation\['a'\] is missing"),
        (spaces.Tuple((box(1), spaces.Dict(x=box(2)))), ([3.0], {"x": [4.0]}), r"observation\[1\]\['x'\] has shape"),
        (spaces.Tuple((box(1), box(1))), ([3.0],), r"observation\[1\] is missing"),
        (spaces.Text(3, charset="ab"), "abc", r"observation is 'abc': not in Text"),
    ],
    ids=str,
)
def test_an_observation_that_would_become_other_numbers_is_refused(space, observation, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Interface(space, CHOICE).observe(observation)


@pytest.mark.parametrize(
    ("space", "observation", "expected"),
    [
        (box(2), [1.5, -7.0], [1.5, -7]),
        (spaces.Box(0, 10, (2,), np.int64), [11, -1], [11, -1]),
        (spaces.Box(0, 10, (2,), np.int64), [3.0, 4.0], [3, 4]),
        (box(3), [[1], [2], [3]], [1, 2, 3]),
        (box(1), 0.5, [0.5]),
        (spaces.Discrete(3), [2], [0, 0, 1]),
        (spaces.Discrete(3), 2.0, [0, 0, 1]),
        (spaces.MultiBinary(2), [True, False], [1, 0]),
        (spaces.Dict(a=box(1)), {"a": [0.5], "undeclared": 1}, [0.5]),
        (spaces.Text(3, charset="ab"), "ba", spaces.flatten(spaces.Text(3, charset="ab"), "ba").tolist()),
    ],
    ids=str,
)
def test_an_untidy_observation_is_seen_as_it_is(space, observation, expected):
    """Outside of bounds, of another type without loss, with axes of length 1, with what the space does not declare."""
    assert Interface(space, CHOICE).observe(observation).tolist() == expected


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
