"""The tables of one run: each number where it belongs, with what its interval is over."""

import io

import pytest
import torch
from rich.console import Console

from metarl_exp.runs import results, scoring

CONTENT = {
    "protocol": {"steps": 1},
    "tasks": {"n": 3},
    "interval": results.OVER,
    "theta": {"best": scoring.summarise(torch.tensor([[-3.0, 1.0], [-2.0, 1.0], [-1.0, 4.0]]), 7)},
}
HALF = 4.302652729911275 / 3**0.5  # of the 95 % t-interval, for n = 3 and a standard deviation of 1


def test_the_terminal_s_table():
    stream = io.StringIO()
    Console(file=stream, width=120).print(results.table(CONTENT))
    text = stream.getvalue()
    assert f"-2.00 ± {HALF:.2f}" in text
    assert "best (iteration 7)" in text
    assert "3 held-out tasks" in text


def test_the_page_s_table():
    lines = results.markdown(CONTENT).splitlines()
    assert lines[0] == "| θ | 0 steps | 1 step |"
    assert lines[2] == f"| best (iteration 7) | -2.00 ± {HALF:.2f} | 2.00 ± {HALF * 3**0.5:.2f} |"
    assert "over the test tasks of this one training run" in lines[-1]


def test_one_task_has_no_interval():
    entry = scoring.summarise(torch.tensor([[1.0, 2.0]]), 0)
    assert entry["interval"] == [None, None]
    assert results.cells(entry) == ["1.00", "2.00"]


def test_success_and_the_share_of_the_optimum_have_rows_of_their_own():
    success = torch.tensor([[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]])
    entry = scoring.summarise(torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]), 7, success)
    assert entry["success"]["mean"] == [0.5, 1.0]
    lines = results.markdown({**CONTENT, "theta": {"best": entry}, "optimal_returns": [4.0, 8.0, 12.0]}).splitlines()
    assert lines[4].startswith("| best: share of episodes that reach the goal | 0.50 ± ")
    assert lines[5] == "| best: share of the optimum | 0.250 | 0.500 |"  # of the means: 2 and 4 over 8


def test_many_steps_have_a_few_columns_and_always_the_last():
    entry = scoring.summarise(torch.arange(40.0).view(2, 20), 7)
    lines = results.markdown({**CONTENT, "protocol": {"steps": 19}, "theta": {"best": entry}}).splitlines()
    assert lines[0] == "| θ | 0 steps | 1 step | 2 steps | 4 steps | 8 steps | 16 steps | 19 steps |"
    means = [float(cell.split()[0]) for cell in lines[2].split("|")[2:-1]]
    assert means == [10, 11, 12, 14, 18, 26, 29]


def test_gains_are_paired():
    """Every task gains exactly 2 while returns differ by 100: the interval of the gain has no width."""
    entry = scoring.summarise(torch.tensor([[0.0, 2.0], [100.0, 102.0], [-100.0, -98.0]]), 7)
    lines = results.markdown({**CONTENT, "theta": {"initial": entry, "best": entry}}).splitlines()
    assert lines[4] == "| best: gain over 0 steps, task by task | 0.00 ± 0.00 | 2.00 ± 0.00 |"
    assert sum("gain" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("gains", "says"),
    [([2.0, 2.5, 3.0], None), ([2.0, -2.5, 3.0], "is not shown to help"), ([-2.0, -2.5, -3.0], "makes returns worse")],
)
def test_an_adaptation_that_is_not_shown_to_help_is_said_to_be_one(gains, says):
    """Trap 14: by the interval of the gains, task by task; half of it is 4.303 σ / √3."""
    entry = scoring.summarise(torch.tensor([[0.0, gain] for gain in gains]), 7)
    content = {**CONTENT, "theta": {"best": entry}}
    caption = results.markdown(content).splitlines()[-1]
    assert ("Adaptation" in caption) == (says is not None)
    if says:
        assert f"Adaptation {says}: gain after all steps {sum(gains) / 3:.2f}" in caption
        assert says in str(results.table(content).caption)


def test_one_task_or_no_step_gives_no_doubt():
    assert results.doubt({**CONTENT, "theta": {"best": scoring.summarise(torch.tensor([[0.0, -1.0]]), 0)}}) == []
    assert results.doubt({**CONTENT, "protocol": {"steps": 0}}) == []
