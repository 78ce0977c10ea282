"""Discounting and advantages in closed form; padding, terminal states and time limits kept apart."""

import pytest
import torch

from metarl_exp.maths.reductions import masked_mean
from metarl_exp.maths.returns import discounted_sums, generalised_advantages, last_step, standardise

GAMMA, LAMBDA = 0.9, 0.7
LENGTHS = torch.tensor([[4, 2], [3, 5]])
MASK = torch.arange(5) < LENGTHS.unsqueeze(-1)


def double(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


REWARDS = double(2, 2, 5, seed=0).masked_fill(~MASK, 0)
VALUES = double(2, 2, 5, seed=1)  # also where nothing happened, as a fitted baseline has them
FINAL = double(2, 2, seed=2)
NOTHING_TERMINAL = torch.zeros_like(MASK)


def advantages(rewards=REWARDS, values=VALUES, final=FINAL, terminal=NOTHING_TERMINAL, mask=MASK, lambda_=LAMBDA):
    return generalised_advantages(rewards, values, final, terminal, mask, GAMMA, lambda_)


def episodes():
    return [(i, j, int(LENGTHS[i, j])) for i in range(2) for j in range(2)]


def test_discounted_sums_by_definition():
    found = discounted_sums(REWARDS, GAMMA)
    for i, j, length in episodes():
        for t in range(5):
            expected = sum(GAMMA ** (u - t) * REWARDS[i, j, u].item() for u in range(t, length))
            assert found[i, j, t].item() == pytest.approx(expected, abs=1e-14)


def test_the_last_step_of_each_episode():
    expected = torch.zeros_like(MASK)
    for i, j, length in episodes():
        expected[i, j, length - 1] = True
    assert torch.equal(last_step(MASK), expected)


def test_lambda_one_is_the_discounted_return_minus_the_value():
    found, returns = advantages(final=torch.zeros(2, 2), lambda_=1.0), discounted_sums(REWARDS, GAMMA)
    torch.testing.assert_close(found, (returns - VALUES).masked_fill(~MASK, 0), rtol=0, atol=1e-13)


def test_lambda_zero_is_the_temporal_difference_error():
    found = advantages(lambda_=0.0)
    for i, j, length in episodes():
        for t in range(length):
            following = FINAL[i, j] if t == length - 1 else VALUES[i, j, t + 1]
            expected = REWARDS[i, j, t] + GAMMA * following - VALUES[i, j, t]
            assert found[i, j, t].item() == pytest.approx(expected.item(), abs=1e-14)


def test_any_lambda_is_the_weighted_sum_of_temporal_difference_errors():
    errors = advantages(lambda_=0.0)
    torch.testing.assert_close(advantages(), discounted_sums(errors, GAMMA * LAMBDA), rtol=0, atol=1e-14)


@pytest.mark.parametrize("lambda_", [0.0, LAMBDA, 1.0])
def test_a_terminal_state_is_worth_nothing_and_a_time_limit_what_the_baseline_says(lambda_):
    """Trap 13, for one step of reward 1 and value 2: a terminal 1 − 2, an interruption 1 + γ·V(final) − 2."""
    one, mask = torch.ones(1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.bool)
    final = torch.full((1, 1), 10.0, dtype=torch.float64)
    terminal, interrupted = (
        generalised_advantages(one, 2 * one, final, flag, mask, GAMMA, lambda_).item() for flag in (mask, ~mask)
    )
    assert terminal == 1 - 2
    assert interrupted == pytest.approx(1 + GAMMA * 10 - 2, abs=1e-14)


def test_only_the_terminal_episode_loses_its_final_value():
    """Trap 13: the discount is applied as (1 − terminal) γ, at the step where it ended and in that episode."""
    terminal = NOTHING_TERMINAL.clone()
    terminal[0, 1, 1] = True
    without = FINAL.clone()
    without[0, 1] = 0.0
    assert torch.equal(advantages(terminal=terminal), advantages(final=without))
    assert not torch.equal(advantages(terminal=terminal), advantages())


def test_padding_changes_nothing():
    """Trap 6: values and final values of steps that never happened do not leak into those that did."""
    wider = torch.zeros(2, 2, 9, dtype=torch.float64)
    padded = {"rewards": REWARDS, "values": VALUES, "terminal": NOTHING_TERMINAL, "mask": MASK}
    padded = {name: torch.cat([x, wider[..., 5:].to(x.dtype)], dim=-1) for name, x in padded.items()}
    padded["values"][..., 5:] = torch.nan
    found = advantages(**padded)
    assert torch.equal(found[..., :5], advantages())
    assert torch.equal(found[..., 5:], torch.zeros(2, 2, 4, dtype=torch.float64))


def test_standardised_over_the_valid_steps_of_each_task():
    x = 5 + torch.tensor([[[1.0]], [[100.0]]]) * double(2, 2, 5, seed=3)
    found = standardise(x, MASK)
    torch.testing.assert_close(masked_mean(found, MASK), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-14)
    deviation = torch.stack([row[mask].std(correction=0) for row, mask in zip(found, MASK, strict=True)])
    torch.testing.assert_close(deviation, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-7)
    assert (found[~MASK] == 0).all()


@pytest.mark.parametrize("constant", [0.0, 1.0, -80.0])
def test_constant_advantages_become_zero(constant):
    """No division by the deviation of nothing."""
    x = torch.full((2, 2, 5), constant, dtype=torch.float64)
    torch.testing.assert_close(standardise(x, MASK), torch.zeros_like(x), rtol=0, atol=1e-5)


def test_standardising_ignores_scale_and_offset():
    x = double(2, 2, 5, seed=4)
    torch.testing.assert_close(standardise(7 * x - 3, MASK), standardise(x, MASK), rtol=1e-7, atol=1e-7)
