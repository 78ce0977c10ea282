"""The error that says a number is none, and the record types' own arithmetic."""

import pickle

import pytest
import torch

from metarl_exp.process.failures import NonFiniteError
from metarl_exp.types import Trajectories, require_finite


def test_finite_values_pass():
    require_finite("x", torch.zeros(3, 2), None)
    require_finite("x", torch.zeros(0), None)


def test_a_sum_that_overflows_is_no_error():
    """All entries are finite, although their sum is not."""
    require_finite("x", torch.full((8,), 3e38), None)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_first_offending_entry_is_named(value):
    x = torch.zeros(2, 3)
    x[1, 0] = x[1, 2] = value
    batch = object()
    with pytest.raises(
        NonFiniteError, match=r"^rewards is not finite \(2 of 6 entries, first at \[1, 0\]\)$"
    ) as caught:
        require_finite("rewards", x, batch)
    assert caught.value.quantity == "rewards"
    assert caught.value.batch is batch


def test_infinities_of_both_signs_do_not_cancel():
    with pytest.raises(NonFiniteError, match=r"2 of 3 entries"):
        require_finite("x", torch.tensor([torch.inf, 1.0, -torch.inf]), None)


def test_a_non_finite_error_can_be_sent_to_another_process():
    """A sweep's worker that sends what cannot be read there takes the other jobs with it."""
    graph = torch.zeros(2, requires_grad=True) * 2
    sent = pickle.loads(pickle.dumps(NonFiniteError("rewards", "2 of 6", [graph])))
    assert (str(sent), sent.quantity, sent.batch) == ("rewards is not finite (2 of 6)", "rewards", None)


def test_a_non_finite_error_is_an_arithmetic_error():
    assert issubclass(NonFiniteError, FloatingPointError)


def test_returns_are_undiscounted_sums_over_time():
    rewards = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]])
    assert Trajectories(*[None] * 2, rewards, *[None] * 3).returns().tolist() == [[6.0, 4.0]]


def test_batches_are_immutable():
    trajectories = Trajectories(*[torch.zeros(1)] * 6)
    with pytest.raises(AttributeError):
        trajectories.rewards = torch.ones(1)
