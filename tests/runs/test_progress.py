"""The live display: what it shows on a terminal, and that it is silent elsewhere."""

import io

import torch
from rich.console import Console

from metarl_exp.runs.progress import display
from metarl_exp.types import Iteration

RECORD = Iteration(
    0,
    torch.zeros(2, 2),
    torch.zeros(2, 2),
    {},
    {"return/step_0": -40.04, "return/step_1": -11.68, "outer/kl": 0.0093, "perf/env_steps_per_s": 32000.0},
)


def shown(terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=140, color_system=None)
    with display(console, total=10, done=3) as d:
        d.show(RECORD)
    return stream.getvalue()


def test_on_a_terminal_it_shows_iteration_returns_kl_and_speed():
    text = shown(terminal=True)
    for expected in ("4/10", "return -40.0 → -11.7", "KL 0.0093", "32.0k steps/s"):
        assert expected in text


def test_elsewhere_it_is_silent():
    assert shown(terminal=False).strip() == ""
