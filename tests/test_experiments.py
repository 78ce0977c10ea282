"""Stored results show what is claimed of them."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[1] / "experiments"


def mean(study: str, theta: str) -> list[float]:
    return json.loads((ROOT / study / "evaluation.json").read_text())["theta"][theta]["mean"]


def test_navigation_improves_with_every_published_step():
    """Better than −13 after one step and −6 after three; published −11.68 and −3.23."""
    best = mean("finn2017/navigation_2d", "best")
    assert best[1] > -13
    assert best[3] > -6
    assert -90 < mean("finn2017/navigation_2d", "initial")[0] < -65  # published −82.66, for one other network


def test_the_hidden_sign_needs_adaptation():
    best = mean("cartpole/hidden_sign", "best")
    assert best[1] > 2 * best[0]


def test_a_stored_run_is_small():
    for folder in {path.parent for path in ROOT.glob("**/evaluation.json")}:
        assert sum(path.stat().st_size for path in folder.glob("*.json")) < 20 * 1024, folder
