"""Where a result comes from."""

import sys

import torch

from metarl_exp import provenance


def test_it_says_what_is_needed_to_run_again(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/metarl-train", "tasks=cartpole", "x=[1, 2]"])
    found = provenance.collect(3, "abc", torch.device("cpu"), {"id": "e"})
    assert found["command"] == "metarl-train tasks=cartpole 'x=[1, 2]'"
    assert (found["seed"], found["fingerprint"], found["environment"]) == (3, "abc", {"id": "e"})
    assert found["libraries"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["results_version"] == provenance.RESULTS_VERSION


def test_outside_a_checkout_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.commit() == {"commit": None, "dirty": None}
