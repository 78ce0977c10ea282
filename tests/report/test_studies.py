"""Which runs belong together, and what they are called."""

from pathlib import Path

import numpy as np
import pytest

from metarl_exp.report.runs import Run, read
from metarl_exp.report.studies import Differing, studies
from metarl_exp.runs.sweep import JobStatus, folder_status


def known(settings: dict[str, str], configured: bool = True) -> Run:
    status = JobStatus("job", "finished" if configured else "missing", None, Path(), None, [])
    return Run(status, "text" if configured else "", settings, {}, {}, "", {}, [], "")


def differing(runs: list[Run]) -> list[str]:
    found = Differing()
    for run in runs:
        found.take(run)
    return found.keys()


@pytest.mark.parametrize(
    ("runs", "keys"),
    [
        ([{"a": "1", "b": "2"}], []),
        ([{"a": "1", "seed": "0", "b": "2"}, {"a": "1", "seed": "1", "b": "3"}], ["b", "seed"]),
        ([{"a": "1"}, {"a": "1", "only.here": "2"}], ["only.here"]),
    ],
)
def test_keys_that_vary_are_found_with_the_seed_last(runs, keys):
    assert differing([known(settings) for settings in runs]) == keys


def test_overrides_of_missing_jobs_count_only_for_known_keys():
    """`inner_optimizer=adam` chooses a file, it is no key of a configuration."""
    one = known({"lr": "0.1", "order": "first"})
    missing = known({"lr": "0.5", "inner_optimizer": "adam"}, configured=False)
    assert differing([one, missing]) == ["lr"]
    assert differing([missing, known({"lr": "0.1"}, configured=False)]) == ["lr"]


@pytest.fixture
def read_run(write_run):
    return lambda *args, **kwargs: read(folder_status(write_run(*args, **kwargs)))


def test_the_seeds_of_a_fingerprint_are_a_method_named_by_what_was_typed_for_it(read_run):
    runs = [
        read_run(f"default-{f}-seed{s}", order, s) for s in (0, 1) for f, order in (("aa", "second"), ("bb", "first"))
    ]
    runs.append(read_run("default-aa-seed2", seed=2, state="failed"))
    (study,) = studies(runs)
    assert (study.environment, study.tasks) == ("Navigation2D", 2)
    assert [method.name for method in study.methods] == ["adaptation.order=second", "adaptation.order=first"]
    assert [[run.provenance["seed"] for run in method.runs] for method in study.methods] == [[0, 1], [0, 1]]
    returns = study.methods[0].returns()
    np.testing.assert_array_equal(returns, [[[-40, -10], [-44, -14]]] * 2)


def test_a_method_of_which_nothing_else_was_typed_has_the_name_of_its_folders(read_run):
    (study,) = studies([read_run("default-aa-seed0"), read_run("default-aa-seed1", seed=1)])
    assert [method.name for method in study.methods] == ["default-aa"]


def test_two_methods_of_one_name_are_told_apart_by_their_fingerprints(read_run):
    """The same words may have meant something else when a file of the configuration was another."""
    runs = [read_run("default-aa-seed0"), read_run("default-bb-seed0"), read_run("default-cc-seed0", "first")]
    names = [method.name for study in studies(runs) for method in study.methods]
    assert names == ["adaptation.order=second (aa)", "adaptation.order=second (bb)", "adaptation.order=first"]


@pytest.mark.parametrize(
    "other",
    [
        {"environment": {"id": "metarl_exp.tasks.Navigation2D", "physics": "rllab", "settings": {"horizon": 5}}},
        {"results_version": 2},
        {"returns": [[-40.0, -10.0]]},
    ],
    ids=["environment", "results version", "test tasks"],
)
def test_returns_that_are_not_comparable_stand_in_studies_of_their_own(read_run, other):
    """Trap 12."""
    found = studies([read_run("default-aa-seed0"), read_run("default-aa-seed1", seed=1, **other)])
    assert [len(study.methods[0].runs) for study in found] == [1, 1]
    assert found[1].environment == ("Navigation2D, rllab" if "environment" in other else "Navigation2D")
