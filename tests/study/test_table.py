"""Tables from runs whose every number is known."""

import csv
import hashlib
import io
import json

import numpy as np
import pytest
from scipy import stats

from metarl_exp import wiring
from metarl_exp.commands import table
from metarl_exp.study import cost, declaration, drawing, runs
from tests.study.conftest import BASE

PUBLISHED = """\
results:
- {paper: P, table: T1, method: a, gradient_steps: 0, value: -1.5, verification: paper_text}
- {paper: P, table: T1, method: a, gradient_steps: 1, value: 2.5, verification: raw_data}
- {paper: P, table: T2, method: a, gradient_steps: 1, value: 9.0, verification: raw_data}
"""


def rows(*names: str) -> list[dict]:
    return [{"name": name, "overrides": [f"tasks.horizon={6 + i}"]} for i, name in enumerate(names)]


@pytest.fixture
def mixed(laboratory):
    """Four rows: all seeds; one missing; one failed; one of another environment. Two tasks, two numbers of steps."""
    declared = rows("A", "B | b", "C", "D")
    declared[0]["published"] = {"method": "a"}
    for row in declared[1:]:
        row["against"] = "A"
    (laboratory.root / "published.yaml").write_text(PUBLISHED)
    study = laboratory.declare(
        rows=declared,
        columns=[{"name": f"{k} steps", "measure": "return", "after": k, "published": {"gradient_steps": k}}
                 for k in (0, 1)],
        published={"file": "../published.yaml", "paper": "P", "table": "T1"},
    )  # fmt: skip
    for i in range(4):
        for seed in range(3):
            if (i, seed) == (1, 2):
                continue
            returns = [[-2.0 + 0.1 * seed, 1.0 + i + seed], [-2.0 + 0.1 * seed, 3.0 + i + seed]]
            changes = {}
            if (i, seed) == (2, 1):
                changes = {"state": "failed", "reason": "ValueError: it <broke>"}
            if (i, seed) == (3, 0):
                changes = {"environment": {"id": "navigation", "golden": "b"}}
            laboratory.run(returns, overrides=declared[i]["overrides"], seed=seed, **changes)
    return study


# Of three seeds at 1, 2, 3 above the first: half = t(0.975, 2)/√3 = 4.302653/1.732051 = 2.484; of two seeds one apart,
# half = t(0.975, 1)·0.5 = 6.353; tenths of that before the first step. Of paired differences that are equal, nothing.
# B's runs 2 and 3 above the first beat A's 1 and 2 in three of four pairs and tie in one, C's 3 and 5 A's 1 and 3 in
# three and tie in one.
EXPECTED = """\
# A table

Mean over training seeds ± half of its 95 % t-interval, for these test tasks. Seeds 0, 1, 2; 2 test tasks each.

|  | 0 steps | 1 steps |
| --- | ---: | ---: |
| A | −1.90 ± 0.25 | 3.00 ± 2.48 |
| B \\| b | −1.95 ± 0.64 (2 of 3) | 3.50 ± 6.35 (2 of 3) |
| C | −1.90 ± 1.27 (2 of 3) | 5.00 ± 12.71 (2 of 3) |
| D | mixed | mixed |

**Published** (P, T1; paper_text, raw_data), and in brackets ours minus it.

|  | 0 steps | 1 steps |
| --- | ---: | ---: |
| A | −1.50 (−0.40) | 2.50 (+0.50) |

**Differences**, paired by seed, with half of their 95 % t-interval.

|  | 0 steps | 1 steps |
| --- | ---: | ---: |
| B \\| b minus A | +0.00 ± 0.00 | +1.00 ± 0.00 |
| C minus A | +0.00 ± 0.00 | +2.00 ± 0.00 |
| D minus A | — | — |

**Probability of improvement**: that one run is better than one of the other row, mean over test tasks, ties half. Its \
95 % intervals, of whole runs resampled, are too narrow for few seeds.

|  | 0 steps | 1 steps |
| --- | ---: | ---: |
| B \\| b over A | 0.50 [0.00, 1.00] | 0.88 [0.50, 1.00] |
| C over A | 0.50 [0.00, 1.00] | 0.88 [0.50, 1.00] |
| D over A | — | — |

**Not in the means:**

- B | b, all columns: seed 2: missing
- C, all columns: seed 1: failed: ValueError: it \\<broke>
- D, all columns: seed 0: mixed: environment {other}, not {usual}
"""


def digest(golden: str) -> str:
    return hashlib.sha256(json.dumps({"golden": golden, "id": "navigation"}).encode()).hexdigest()[:8]


def cells(laboratory) -> dict:
    """The lines of the CSV by row and column."""
    text = laboratory.file.with_suffix(".csv").read_text()
    return {(line["row"], line["column"]): line for line in csv.DictReader(io.StringIO(text))}


def test_the_exact_table_of_a_sweep_with_a_seed_missing_one_failed_and_one_of_another_environment(laboratory, mixed):
    table.take_up(mixed, [laboratory.outputs])
    table.make(mixed)
    assert laboratory.file.with_suffix(".md").read_text() == EXPECTED.format(other=digest("b"), usual=digest("a"))
    lines = cells(laboratory)
    assert {key[0]: x["state"] for key, x in lines.items()} == {
        "A": "complete", "B | b": "incomplete", "C": "incomplete", "D": "mixed",
    }  # fmt: skip
    whole = lines["A", "1 steps"]
    assert (whole["n"], whole["value"], whole["published"], whole["minus_published"]) == ("3", "3.0", "2.5", "0.5")
    assert float(whole["high"]) - 3 == pytest.approx(4.302653 / 3**0.5, abs=1e-5)
    tex = laboratory.file.with_suffix(".tex").read_text()
    assert r"A & $-$1.90 $\pm$ 0.25 & 3.00 $\pm$ 2.48 \\" in tex
    assert r"published & $-$1.50 & 2.50 \\" in tex


ODD = "[x] 50%_&#$x^2~{y}\\\\input{z}|*a*\n_b_ <img src=x> `c`"


def test_names_in_a_study_are_text_in_markdown_and_in_latex(laboratory):
    """And is one line: of a comment, of a row, of a list."""
    study = laboratory.declare(
        title="A\n\\input{/etc/passwd}", rows=[{"name": ODD}], columns=[{"name": ODD, "measure": "return", "after": 0}]
    )
    table.make(study)
    title, tex = laboratory.file.with_suffix(".tex").read_text().split("\n", 1)
    assert title.startswith(r"% A \input{/etc/passwd}. Mean over")
    words = (
        r"[x] 50\%\_\&\#\$x\textasciicircum{}2\textasciitilde{}\{y\}\textbackslash{}\textbackslash{}input\{z\}"
        r"\textbar{}*a* \_b\_ \textless{}img src=x\textgreater{} `c`"
    )
    assert [line for line in tex.splitlines() if "50" in line] == [rf" & {{}}{words} \\", rf"{{}}{words} & missing \\"]
    text = laboratory.file.with_suffix(".md").read_text()
    escaped = r"\[x] 50%\_&#\$x^2\~{y}\\\\input{z}|\*a\* \_b\_ \<img src=x> \`c\`"
    assert text.startswith("# A \\\\input{/etc/passwd}\n")
    assert f"- {escaped}, all columns: seeds 0, 1, 2: missing" in text
    cell = escaped.replace("|", r"\|")
    assert f"|  | {cell} |\n" in text
    assert f"| {cell} | missing |\n" in text


def test_runs_of_one_column_mix_no_results_versions_unless_told(laboratory):
    """Trap 12, and its like for the code."""
    study = laboratory.declare()
    for seed in range(3):
        laboratory.run([[0.0, 1.0]], seed=seed, version=2 if seed == 1 else 1)
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    assert "seed 1: mixed: results version 2, not 1" in laboratory.file.with_suffix(".md").read_text()
    assert cells(laboratory)["A", "1 steps"]["state"] == "mixed"
    table.make(laboratory.declare(allow_mixed=True))
    assert cells(laboratory)["A", "1 steps"]["value"] == "1.0"


def test_one_seed_has_no_interval_and_an_iqm_has_one_over_seeds(laboratory):
    scores = np.random.default_rng(0).normal(size=(3, 8, 2))
    study = laboratory.declare(statistic="iqm", rows=[{"name": "A"}, {"name": "one", "overrides": ["tasks.horizon=6"]}])
    for seed in range(3):
        laboratory.run(scores[seed].round(3).tolist(), seed=seed)
    laboratory.run(scores[0].tolist(), seed=0, overrides=["tasks.horizon=6"])
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    line = cells(laboratory)["A", "1 steps"]
    assert float(line["value"]) == pytest.approx(stats.trim_mean(scores[..., 1].round(3), 0.25, axis=None), rel=1e-6)
    assert float(line["low"]) < float(line["value"]) < float(line["high"])
    alone = cells(laboratory)["one", "1 steps"]
    assert (alone["state"], alone["low"], alone["high"]) == ("incomplete", "", "")


def test_samples_to_a_return_and_what_never_reached_it(laboratory):
    study = laboratory.declare(
        columns=[{"name": "samples", "measure": "samples_to", "threshold": 4.0, "curve": "return", "step": 1}]
    )
    for seed, curve in enumerate([[0, 5, 3, 6], [3.9, 3.9, 4.0, 0], [0, 0, 0, 0]]):
        laboratory.run([[0.0, 1.0]], seed=seed, curve=curve)
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    line = cells(laboratory)["A", "samples"]
    assert (float(line["value"]), line["n"], line["state"]) == (240.0, "2", "incomplete")  # steps 180 and 300
    assert "seed 2: not reached" in laboratory.file.with_suffix(".md").read_text()


@pytest.mark.parametrize(("curves", "shown"), [
    (([5, 5], [0, 8]), ("≤ 100.00", "150.00", "≤ −50.00")),
    (([0, 8], [5, 5]), ("150.00", "≤ 100.00", "≥ +50.00")),
    (([5, 5], [5, 5]), ("≤ 100.00", "≤ 100.00", "—")),
])  # fmt: skip
def test_a_return_that_was_there_at_the_first_look_is_shown_as_a_bound(laboratory, curves, shown):
    """A bound has no ±, and two have no difference."""
    study = laboratory.declare(
        seeds=[0],
        rows=[{"name": "A"}, {"name": "B", "overrides": ["tasks.horizon=6"], "against": "A"}],
        columns=[{"name": "s", "measure": "samples_to", "threshold": 4.0, "curve": "return", "step": 1, "unit": 1}],
    )
    for overrides, curve in zip(([], ["tasks.horizon=6"]), reversed(curves), strict=True):
        laboratory.run([[0.0, 1.0]], overrides=overrides, curve=curve)
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    text = laboratory.file.with_suffix(".md").read_text()
    ours, theirs, difference = shown
    assert f"| A | {theirs} |" in text
    assert f"| B | {ours} |" in text
    assert f"| B minus A | {difference} |" in text
    assert "≤, ≥: the return was there at the first look." in text
    line = cells(laboratory)["B", "s"]
    assert (line["at_most"], line["improvement"] == "") == (str(int("≤" in ours)), True)


def test_a_column_is_shown_in_its_unit(laboratory):
    samples = {"measure": "samples_to", "threshold": 4.0, "curve": "return", "step": 1, "unit": 100}
    columns = [{"name": "samples", **samples}, {"name": "percent", "measure": "return", "after": 1, "unit": 0.01}]
    study = laboratory.declare(columns=columns)
    laboratory.run([[0.0, 0.5]], seed=0, curve=[0, 5, 3, 6])
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    assert "| A | 1.80 (1 of 3) | 50.00 (1 of 3) |" in laboratory.file.with_suffix(".md").read_text()


def test_a_figure_speaks_of_published_numbers_only_if_there_are_any(laboratory, mixed):
    laboratory.run([[0.0, 1.0]], name="of the study without")
    for study, printed in ((mixed, [-1.5, 2.5]), (laboratory.declare(), None)):
        table.take_up(study, [laboratory.outputs])
        assert drawing.gradient_steps(table.assemble(study, runs.stored(study))).data["A"].published == printed


@pytest.mark.parametrize(("measure", "improvement"), [("samples_to", "1.0"), ("worse", "0.5"), ("return", "0.0")])
def test_more_return_and_fewer_samples_are_improvements(laboratory, measure, improvement):
    """B reaches 4 before A does, makes as few tasks worse, and ends below A."""
    settings = {"samples_to": {"threshold": 4.0, "curve": "return", "step": 1}}.get(measure, {"after": 1})
    study = laboratory.declare(
        rows=[{"name": "A"}, {"name": "B", "overrides": ["tasks.horizon=6"], "against": "A"}],
        columns=[{"name": "x", "measure": measure, **settings}],
    )
    for seed in range(3):
        laboratory.run([[0.0, 9.0]], seed=seed, curve=[0, 0, 5])
        laboratory.run([[0.0, 7.0]], seed=seed, overrides=["tasks.horizon=6"], curve=[0, 5, 5])
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    assert cells(laboratory)["B", "x"]["improvement"] == improvement


def choosing(laboratory, worth: dict[float, list[float]]):
    study = laboratory.declare(
        rows=[{"name": "A", "choose": {"key": "inner_optimizer.lr", "values": list(worth), "seeds": [100, 101]}}],
        figures=["step_size_choice"],
    )
    for value, validation in worth.items():
        for seed, x in enumerate(validation, start=100):
            laboratory.run([[0.0, 100 * value]], overrides=[f"inner_optimizer.lr={value}"], seed=seed, validation=x)
    return study


def test_a_row_takes_the_value_that_is_best_on_validation_tasks_whatever_the_test_tasks_say(laboratory):
    """Trap 22. The largest value has the largest return on test tasks, and is not taken."""
    study = choosing(laboratory, {0.1: [1.0, 2.0], 0.3: [5.0, 3.0], 1.0: [9.0, -9.0]})
    table.take_up(study, [laboratory.outputs])
    for seed in study.seeds:
        laboratory.run([[0.0, 30.0]], overrides=["inner_optimizer.lr=0.3"], seed=seed)
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    text = laboratory.file.with_suffix(".md").read_text()
    assert "| A: `inner_optimizer.lr` | 2 | 1.50 | **4.00** | 0.00 |" in text
    assert cells(laboratory)["A", "1 steps"]["value"] == "30.0"
    assert laboratory.file.with_suffix(".png").is_file()


def test_a_value_with_which_a_run_diverged_is_not_taken_and_not_run_again(laboratory):
    study = choosing(laboratory, {0.1: [1.0, 2.0], 0.3: [5.0, 3.0]})
    study = laboratory.declare(
        rows=[{"name": "A", "choose": {"key": "inner_optimizer.lr", "values": [0.1, 0.3, 9.0], "seeds": [100, 101]}}],
        figures=["step_size_choice"],
    )
    large = ["inner_optimizer.lr=9.0"]
    laboratory.run([[0.0, 1.0]], overrides=large, seed=100, validation=99.0)
    broken = laboratory.run([[0.0, 1.0]], overrides=large, seed=101, state="failed", reason="EnvironmentFailure: x")
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    assert "the row has not chosen yet" in laboratory.file.with_suffix(".md").read_text()

    reason = f"NonFiniteError: a gradient is not finite (the batch is in {broken.resolve()}/failed_batch.pt)"
    (broken / "status.json").write_text(json.dumps({"state": "failed", "reason": reason}))
    for path in (laboratory.file.parent / "runs").glob("*.json"):
        path.unlink()
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    text = laboratory.file.with_suffix(".md").read_text()
    assert "| A: `inner_optimizer.lr` | 2 | 1.50 | **4.00** | diverged |" in text
    assert laboratory.file.with_suffix(".png").is_file()
    kept = runs.stored(study)
    assert {w.seed for w in cost.missing(study, kept)} == {0, 1, 2}
    (diverged,) = (run for run in kept.values() if run.diverged)
    assert diverged.reason == "NonFiniteError: a gradient is not finite (the batch is in failed_batch.pt)"


def test_a_choice_at_the_edge_is_said_to_be_one_and_without_all_its_runs_there_is_none(laboratory):
    study = choosing(laboratory, {0.1: [9.0, 9.0], 0.3: [5.0, 3.0]})
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    assert "(at the edge of what was tried)" in laboratory.file.with_suffix(".md").read_text()
    next((laboratory.file.parent / "runs").glob("*.json")).unlink()
    table.make(study)
    assert "the row has not chosen yet" in laboratory.file.with_suffix(".md").read_text()
    assert cells(laboratory)["A", "0 steps"]["state"] == "missing"


def test_a_figure_is_drawn_again_only_when_its_data_are_others(laboratory):
    steps = ["task_gains", "performance_profiles", "aggregate_intervals"]
    study = laboratory.declare(figures=["gradient_steps", "learning_curves", *steps])
    for seed in range(3):
        laboratory.run([[0.0, 1.0 + seed], [0.5, 1.0]], seed=seed, curve=[1, 2, 3, 4, 5, 6, 7, 8])
    table.take_up(study, [laboratory.outputs])
    assert [p.name for p in drawing.draw(table.make(study))] == []  # `make` has drawn them
    names = {p.name for p in laboratory.file.parent.glob("*.p*")}
    figures = ("", "_learning_curves", *(f"_{step}" for step in steps))
    assert names == {f"table{x}.{y}" for x in figures for y in ("png", "pdf")}
    laboratory.run([[0.0, 2.0], [0.5, 1.0]], seed=2, name="newer", started="2026-02-01", curve=[1, 2, 3, 4, 5, 6, 7, 8])
    assert len(table.take_up(study, [laboratory.outputs])) == 1
    drawn = {p.name for p in drawing.draw(table.assemble(study, runs.stored(study)))}
    assert drawn == {"table.png", *(f"table_{step}.png" for step in steps)}


@pytest.mark.parametrize(("trials", "counted"), [(set(), "step"), ({"A"}, "step or episode"), ({"A", "B"}, "episode")])
def test_figures_say_what_their_runs_count(laboratory, trials, counted):
    """And are of the same data, by their hash."""
    study = laboratory.declare(rows=rows("A", "B"), seeds=[0])
    for row in study.rows:
        laboratory.run([[0.0, 1.0, 2.0]], overrides=row.overrides, trials=row.name in trials)
    runs.take_up(study, [laboratory.outputs])
    made = table.assemble(study, runs.stored(study))
    gains, profiles = drawing.task_gains(made), drawing.performance_profiles(made)
    assert gains.draw.keywords["counted"] == drawing.gradient_steps(made).draw.keywords["counted"] == counted
    assert gains.hash == drawing.Drawing(None, {name: np.array([[2.0]]) for name in "AB"}).hash
    words = {"step": "gradient steps", "episode": "episodes", "step or episode": "gradient steps or episodes"}
    assert profiles.draw.keywords["xlabel"] == f"return on a test task after 2 {words[counted]}"


def test_a_study_may_ask_for_every_figure_that_there_is():
    assert set(drawing.KINDS) == set(declaration.FIGURES)


def test_the_same_runs_under_other_folder_names_give_the_same_bytes(laboratory):
    study = laboratory.declare()
    for seed in range(3):
        laboratory.run([[0.0, 1.0 + seed]], seed=seed, name=f"anything-{7 - seed}")
    laboratory.run([[0.0, 99.0]], seed=0, overrides=["tasks.horizon=9"], name="looks-like-seed0")
    table.take_up(study, [laboratory.outputs])
    table.make(study)
    first = laboratory.file.with_suffix(".md").read_bytes()
    assert b"2.00" in first
    table.make(study)
    assert laboratory.file.with_suffix(".md").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [(["--stored"], 1, "0 of 3"), (["--runs", "{runs}"], 0, "3 of 3")],
)
def test_the_command_says_what_is_there_and_exits_with_0_if_all_is(
    laboratory, monkeypatch, capsys, arguments, status, says
):
    laboratory.declare()
    for seed in range(3):
        laboratory.run([[0.0, 1.0]], seed=seed, environment=wiring.environment_identity(wiring.compose(BASE)))
    given = [a.format(runs=laboratory.outputs) for a in arguments]
    monkeypatch.setattr("sys.argv", ["metarl-table", str(laboratory.file), *given])
    with pytest.raises(SystemExit) as end:
        table.main()
    assert end.value.code == status
    assert says in capsys.readouterr().out
