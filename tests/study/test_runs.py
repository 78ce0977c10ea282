"""Which runs a study takes up: by fingerprint and seed, the best of several, and their size."""

import json

import pytest

from metarl_exp.commands import table
from metarl_exp.commands.launching import launch
from metarl_exp.commands.train import job
from metarl_exp.study import cost, runs, summary
from metarl_exp.study.runs import Key, take_up
from tests.damage import EVALUATION, METRICS, OF_CONTENT, OF_STATE, PROVENANCE, STATUS


def stored(study) -> dict[int, summary.Summary]:
    return {key.seed: run for key, run in runs.stored(study).items()}


def test_a_finished_run_is_better_than_a_failed_one_the_present_version_than_another_and_new_than_old(laboratory):
    study, outputs = laboratory.declare(), laboratory.outputs
    laboratory.run([[0.0, 1.0]], name="1", state="failed", reason="x", started="2026-01-05")
    assert len(take_up(study, [outputs])) == 1
    assert (stored(study)[0].state, stored(study)[0].evaluation) == ("failed", None)
    laboratory.run([[0.0, 2.0]], name="2", started="2026-01-01", version=0)
    take_up(study, [outputs])
    assert stored(study)[0].returns[0, 1] == 2.0
    laboratory.run([[0.0, 3.0]], name="3", started="2026-01-02")
    laboratory.run([[0.0, 4.0]], name="4", started="2026-01-03")
    laboratory.run([[0.0, 5.0]], name="5", started="2026-01-04", version=0)
    take_up(study, [outputs])
    assert stored(study)[0].returns[0, 1] == 4.0
    assert take_up(study, [outputs]) == []


def test_a_run_that_was_killed_is_interrupted_and_one_of_another_configuration_is_left_alone(laboratory):
    study = laboratory.declare()
    laboratory.run([[0.0, 1.0]], state="running", seed=1)
    laboratory.run([[0.0, 1.0]], overrides=["tasks.horizon=7"], seed=2)
    take_up(study, [laboratory.outputs])
    assert {seed: run.state for seed, run in stored(study).items()} == {1: "interrupted"}


def test_a_summary_is_read_as_it_was_written_and_has_a_limit(laboratory, tmp_path):
    study = laboratory.declare()
    laboratory.run([[0.0, 1.0]], curve=[float(i) for i in range(250)])
    (path,) = take_up(study, [laboratory.outputs])
    run = summary.read(path)
    assert path.name == f"{run.fingerprint}-seed0.json"
    points = run.curves["return"]
    assert (points["iteration"][0], points["iteration"][-1], len(points["iteration"])) == (0, 249, summary.POINTS)
    assert points["return/step_1"] == points["iteration"]
    assert run.seconds == 250 * 3.0
    large = run._replace(evaluation={"returns": [[0.123] * 5] * 4000})
    with pytest.raises(ValueError, match="at most 20480"):
        summary.write(large, tmp_path / "runs")
    path.write_text(json.dumps({"fingerprint": "x"}))
    with pytest.raises(ValueError, match="is not the summary of a run"):
        summary.read(path)


@pytest.mark.parametrize("name", [*OF_STATE, *OF_CONTENT])
def test_a_damaged_run_is_left_out_of_the_table_with_its_file_and_the_others_are_in_it(laboratory, name):
    """It is damaged among the summaries; or in no table, if it cannot be said which run it is."""
    damage, study = (OF_STATE | OF_CONTENT)[name], laboratory.declare()
    damage(laboratory.run([[0.0, 1.0]], seed=0, curve=[1.0], name="bad"))
    laboratory.run([[0.0, 1.0]], seed=1, curve=[1.0])
    take_up(study, [laboratory.outputs])
    found, lost = stored(study), runs.unidentified([laboratory.outputs])
    assert found[1].finished
    if damage.file in (METRICS, EVALUATION, STATUS):
        needed = name not in ("evaluation without its tasks", "evaluation with words")
        assert found[0].state == ("damaged" if needed else "finished")
        assert not needed or found[0].reason.startswith(f"{damage.file}: ")
    elif damage.file == PROVENANCE and "gone" not in name:
        assert (list(found), len(lost)) == ([1], 1)
        assert lost[0].startswith(f"{laboratory.outputs / 'bad' / PROVENANCE}: ")
    table.make(study)


def test_interference_is_kept_as_means_over_tenths_of_a_run(laboratory):
    study = laboratory.declare()
    folder = laboratory.run([[0.0, 1.0]], curve=[float(i) for i in range(20)])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = dict.fromkeys(("interference/cosine", "interference/conflicting", "outer/tasks_made_worse"), 0.5)
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line | found | {"interference/cosine": line["iteration"]}) + "\n" for line in lines)
    )
    take_up(study, [laboratory.outputs])
    points = stored(study)[0].curves["interference"]
    assert points["interference/cosine"] == points["iteration"] == [2 * i + 0.5 for i in range(10)]
    assert points["outer/tasks_made_worse"] == [0.5] * 10


def test_missing_runs_are_named_as_far_as_possible_and_costed(laboratory):
    choose = {"key": "inner_optimizer.lr", "values": [0.1, 0.2], "seeds": [100]}
    study = laboratory.declare(rows=[{"name": "A", "choose": choose}, {"name": "B", "overrides": ["iterations=4"]}])
    lacking = cost.missing(study, {})
    assert [(w.row, w.overrides[-1], w.seed) for w in lacking] == [
        ("A", "inner_optimizer.lr=0.1", 100), ("A", "inner_optimizer.lr=0.2", 100),
        ("B", "iterations=4", 0), ("B", "iterations=4", 1), ("B", "iterations=4", 2),
    ]  # fmt: skip
    # 60 and 4 iterations of 20 tasks × 20 episodes × two batches × 5 steps; a finished run took 3 s.
    assert cost.estimate(study, {}, lacking) == cost.Cost(2 * 60 * 4000 + 3 * 4 * 4000, None)
    laboratory.run([[0.0, 1.0]], overrides=["iterations=4"], curve=[1.0])
    for value in choose["values"]:
        laboratory.run(
            [[0.0, 1.0]], overrides=[f"inner_optimizer.lr={value}"], seed=100, curve=[1.0, 2.0], validation=value
        )
    take_up(study, [laboratory.outputs])
    known = runs.stored(study)
    lacking = cost.missing(study, known)
    assert [(w.row, w.overrides[-1], w.seed) for w in lacking] == [
        *(("A", "inner_optimizer.lr=0.2", seed) for seed in study.seeds),
        ("B", "iterations=4", 1), ("B", "iterations=4", 2),
    ]  # fmt: skip
    assert cost.estimate(study, known, lacking).seconds == 3 * 6.0 + 2 * 3.0


@pytest.mark.parametrize("override", ["iteratons=3", "+iteratons=3"])
def test_a_mistyped_override_is_refused(laboratory, override):
    with pytest.raises(ValueError, match="unknown key 'iteratons'"):
        cost.missing(laboratory.declare(rows=[{"name": "A", "overrides": [override]}]), {})


@pytest.mark.parametrize(("jobs", "overrides"), [([["+notes=1"]], []), ([["seed=0"]], ["+notes=1"])])
def test_an_unknown_key_is_refused_before_a_study_launches_anything(tmp_path, capsys, jobs, overrides):
    with pytest.raises(SystemExit, match="unknown key 'notes'"):
        launch(job, jobs, [f"output_root={tmp_path}", *overrides])
    assert list(tmp_path.iterdir()) == []


def test_the_key_of_a_run_does_not_depend_on_how_its_overrides_are_written():
    one, two = (runs.Wanted("A", overrides, 0).key for overrides in (("iterations=60",), ("trajectories=20", "seed=4")))
    assert one == two == Key(runs.fingerprint(()), 0)
