"""Stored results show what is claimed of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from metarl_exp.commands import table
from metarl_exp.statistics import t_interval
from metarl_exp.study import declaration, runs
from metarl_exp.study import drawing as drawings

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


def test_maml_on_bandits_is_above_greedy_and_its_page_says_the_shares():
    """Shares of what the best arm pays over a whole trial of 500 pulls; agents' from the stored Table 1."""
    stored = json.loads((ROOT / "bandits" / "bernoulli" / "evaluation.json").read_text())
    optimum = sum(stored["optimal_returns"]) / len(stored["optimal_returns"])
    share = {name: sum(entry["mean"]) / len(entry["mean"]) / optimum for name, entry in stored["theta"].items()}
    cells = json.loads((ROOT / "duan2016" / "bandits.json").read_text())["rows"]["n = 500, k = 5"]["cells"]
    agents = {
        name: cells[name]["mean"] / cells["best arm"]["mean"] for name in ("Random", "Greedy", "ε-greedy", "Gittins")
    }
    assert agents["Random"] < agents["Greedy"] < share["best"] < agents["Gittins"]
    assert share["best"] > share["initial"] + 0.01
    page = (ROOT / "bandits" / "bernoulli" / "README.md").read_text()
    for number in (share["initial"], share["best"], *agents.values(), share["best"] / agents["Gittins"]):
        assert f"{number:.3f}" in page


def test_one_step_makes_the_cheetah_run():
    """In rllab's physics, above 100 within 60 meta-iterations; published 293 at iterate 100 of twice the batch."""
    assert mean("finn2017/half_cheetah_direction", "best")[1] > 100
    assert -50 < mean("finn2017/half_cheetah_direction", "initial")[0] < -25  # published −35.73, for one other network


@pytest.mark.parametrize("study", ["mdps/tabular", "gymnasium/pendulum", "games/hidden_goal"])
def test_adaptation_helps_task_by_task(study):
    """The 95 % interval of the paired gain of one step is above zero, and wholly above that of the initial network."""
    stored = json.loads((ROOT / study / "evaluation.json").read_text())["theta"]
    best, initial = (np.array(stored[name]["returns"]) for name in ("best", "initial"))
    gain = t_interval(best[:, 1] - best[:, 0])
    assert gain.low > 0
    assert gain.mean > (initial[:, 1] - initial[:, 0]).mean()


def test_a_stored_run_is_small():
    for folder in {path.parent for path in ROOT.glob("**/evaluation.json")}:
        assert sum(path.stat().st_size for path in folder.glob("*.json")) < 20 * 1024, folder


STUDIES = table.studies(ROOT)


def test_the_listing_sees_the_studies():
    assert {"finn2017/table_4", "finn2017/figure_4", "first_vs_second_order/navigation"} <= {
        str(path.relative_to(ROOT).with_suffix("")) for path in STUDIES
    }


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_committed_table_is_what_its_stored_runs_give(path):
    """`make tables` makes it again. Text byte for byte; a figure by the hash of its data."""
    study = declaration.load(path)
    made = table.assemble(study, runs.stored(study))
    for ending, text in table.texts(made).items():
        assert path.with_suffix(f".{ending}").read_text() == text
    for figure in study.figures:
        drawing = drawings.KINDS[figure](made)
        assert drawings.stored_hash(drawings.path_of(made, figure)) == drawing.hash
        assert drawings.path_of(made, figure).with_suffix(".pdf").is_file()


@pytest.mark.parametrize("folder", sorted({path.parent for path in STUDIES}), ids=lambda path: path.name)
def test_a_stored_summary_is_small_and_wanted_by_a_study(folder):
    studies = [declaration.load(path) for path in STUDIES if path.parent == folder]
    wanted = {w.key for study in studies for w in runs.wanted(study, runs.stored(study))}
    files = {f"{key.fingerprint}-seed{key.seed}.json" for key in wanted}
    for summary in (folder / "runs").glob("*.json"):
        assert summary.stat().st_size < 20 * 1024
        assert summary.name in files, "no study wants it"
