"""Episodes with fixed actions, in a scripted environment whose every number is known."""

import pytest
import torch

from metarl_exp.rehearsal import difference, extreme_actions, interleave, random_actions, rehearse
from metarl_exp.types import Spec, Step

LENGTHS = torch.tensor([[3, 1], [2, 5]])  # when the episodes end; [0, 1] is cut off, the others end in the MDP
CONTINUOUS = Spec(observation_size=1, action_size=2, discrete=False, horizon=4)
DISCRETE = Spec(observation_size=1, action_size=5, discrete=True, horizon=4)


class Scripted:
    """Observes the number of the step, and is paid the action; notes the turns that are taken."""

    def __init__(self, name="", turns=None):
        self.name, self.turns = name, [] if turns is None else turns

    def reset(self):
        self.t = 0
        self.turns.append(f"{self.name}reset")
        return torch.zeros(2, 2, 1)

    def step(self, action):
        self.t += 1
        self.turns.append(f"{self.name}{self.t}")
        over = LENGTHS.eq(self.t)
        cut = torch.tensor([[False, True], [False, False]])
        return Step(torch.full((2, 2, 1), float(self.t)), action[..., 0], over & ~cut, over & cut)


def actions(steps=4):
    return torch.arange(1.0, 1 + 4 * steps).view(2, 2, steps, 1)


def test_a_record_has_what_happened_and_zeros_after_the_end():
    record = rehearse(Scripted(), actions())
    assert record.lengths().tolist() == [[3, 1], [2, 4]]
    assert record.observations[0, 0, :, 0].tolist() == [1, 2, 3, 0]
    assert record.rewards[0].tolist() == [[1, 2, 3, 0], [5, 0, 0, 0]]
    assert record.terminal.nonzero().tolist() == [[0, 0, 2], [1, 0, 1]]
    assert record.truncated.nonzero().tolist() == [[0, 1, 0]]
    assert not record.success.any()


def test_it_stops_when_all_are_over_and_is_as_long_as_its_actions():
    turns = []
    record = rehearse(Scripted("", turns), actions(7))
    assert turns == ["reset", "1", "2", "3", "4", "5"]
    assert record.rewards.shape == (2, 2, 7)


def test_batches_take_turns_and_the_shorter_one_stops_first():
    turns = []
    one, other = interleave([Scripted("a", turns), Scripted("b", turns)], [actions(3), actions(2)])
    assert turns == ["areset", "breset", "a1", "b1", "a2", "b2", "a3"]
    assert difference(one, rehearse(Scripted(), actions(3))) is None
    assert other.rewards.shape[2] == 2


def test_the_first_difference_is_named_with_its_place_and_values():
    one = rehearse(Scripted(), actions())
    rewards, observations, start = one.rewards.clone(), one.observations.clone(), one.start.clone()
    rewards[1, 1, 2] = 9.5
    assert difference(one, one._replace(rewards=rewards)) == "rewards of step 2, task 1, episode 1: 15 and 9.5"
    observations[0, 0, 1] = -1
    later = one._replace(rewards=rewards, observations=observations)
    assert difference(one, later) == "observations[0] of step 1, task 0, episode 0: 2 and -1"
    start[1, 0] = 3
    assert difference(one, later._replace(start=start)) == "start[0], task 1, episode 0: 0 and 3"
    here = torch.tensor([[False, False], [False, True]])
    assert difference(one, later._replace(start=start), here) == "rewards of step 2, task 1, episode 1: 15 and 9.5"
    assert difference(one, later, ~here & (LENGTHS < 3)) is None


def test_what_is_not_a_number_twice_is_no_difference():
    one = rehearse(Scripted(), actions() / 0 * 0)
    assert difference(one, one) is None
    assert difference(one, rehearse(Scripted(), actions())) is not None


@pytest.mark.parametrize("spec", [CONTINUOUS, DISCRETE], ids=["continuous", "discrete"])
def test_random_actions_are_in_range_and_of_their_seed(spec):
    drawn = random_actions(spec, (3, 2, 50), 0)
    assert drawn.shape == ((3, 2, 50) if spec.discrete else (3, 2, 50, 2))
    assert torch.equal(drawn, random_actions(spec, (3, 2, 50), 0))
    assert not torch.equal(drawn, random_actions(spec, (3, 2, 50), 1))
    if spec.discrete:
        assert sorted(drawn.unique().tolist()) == [0, 1, 2, 3, 4]
    else:
        assert -1 <= drawn.min() < -0.9
        assert 0.9 < drawn.max() <= 1


def test_extreme_actions_are_the_ends_of_the_range():
    assert extreme_actions(DISCRETE, (3, 4)).tolist() == [[[0] * 4, [4] * 4]] * 3
    assert extreme_actions(CONTINUOUS, (1, 2), 10.0).tolist() == [[[[-10.0] * 2] * 2, [[10.0] * 2] * 2]]
