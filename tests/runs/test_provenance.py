"""Where a result comes from."""

import torch

from metarl_exp.checker.identity import Identified
from metarl_exp.runs import provenance


def test_provenance_says_what_is_needed_to_run_again():
    found = provenance.collect(
        3, "abc", "metarl-train tasks=cartpole", torch.device("cpu"), Identified({"id": "e"}, [0, 1]), {"wind": "0a"}
    )
    assert found["command"] == "metarl-train tasks=cartpole"
    assert (found["seed"], found["fingerprint"], found["environment"]) == (3, "abc", {"id": "e"})
    assert (found["sources"], found["powers"]) == ({"wind": "0a"}, [0, 1])
    assert found["libraries"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["results_version"] == provenance.RESULTS_VERSION


def test_outside_a_checkout_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.commit() == {"commit": None, "dirty": None}
