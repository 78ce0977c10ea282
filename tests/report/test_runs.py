"""What is read of a run."""

from metarl_exp.report.runs import LOG_LINES, flat, read
from metarl_exp.runs.sweep import JobStatus, folder_status


def test_a_finished_run_is_read_whole(write_run):
    folder = write_run(order="first", seed=2)
    (folder / "figures").mkdir()
    (folder / "figures" / "paths.png").touch()
    run = read(folder_status(folder))
    assert run.text == (folder / ".hydra" / "config.yaml").read_text()
    assert run.settings == {
        "adaptation.order": "first", "adaptation.inner_steps": "1", "policy.hidden_sizes": "[6, 6]", "seed": "2"
    }  # fmt: skip
    assert run.provenance["fingerprint"] == "aa"
    assert run.evaluation["theta"]["best"]["mean"] == [-42, -12]
    assert {quantity: values.tolist() for quantity, values in run.records.items()} == {
        "iteration": [0, 1, 2], "return": [-40, -39, -38], "seconds": [3, 3, 3]
    }  # fmt: skip
    assert run.figures == [folder / "figures" / "paths.png"]


def test_values_are_shown_as_they_are_typed():
    tree = {"a": None, "b": {"c": True, "d": 1.0e-05, "e": "tanh"}, "f": [1, 0.5], "g": "1"}
    assert flat(tree) == {"a": "null", "b.c": "true", "b.d": "1e-05", "b.e": "tanh", "f": "[1, 0.5]", "g": "1"}


def test_a_run_that_failed_has_the_end_of_its_log_and_no_numbers(write_run):
    run = read(folder_status(write_run(state="failed", reason="it did")))
    assert run.log_end.splitlines() == [f"line {i}" for i in range(50 - LOG_LINES, 50)]
    assert (run.evaluation, run.records, run.figures) == ({}, {}, [])
    assert run.settings["adaptation.order"] == "second"


def test_a_job_that_has_not_begun_is_known_by_what_was_typed(tmp_path):
    typed = ["adaptation.order=first", "inner_optimizer.lr=1e-2", "+tasks.extra=[1,2]", "~tracker"]
    run = read(JobStatus("job", "missing", "not begun", tmp_path / "job", None, typed))
    assert run.settings == {"adaptation.order": "first", "inner_optimizer.lr": "0.01", "tasks.extra": "[1, 2]"}
    assert (run.text, run.provenance, run.log_end) == ("", {}, "")


def test_files_of_another_run_in_a_missing_job_s_folder_are_ignored(write_run):
    folder = write_run(order="second")
    run = read(JobStatus("job", "missing", "its folder holds another run", folder, None, ["adaptation.order=first"]))
    assert run.settings == {"adaptation.order": "first"}
    assert (run.text, run.provenance, run.evaluation) == ("", {}, {})
