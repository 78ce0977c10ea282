"""Classes that have moved are found by their old names, and count as what they were."""

import json
from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from metarl_exp import wiring
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.moved import MOVED, current, first

STORED = sorted((Path(__file__).parents[2] / "experiments").glob("**/config.yaml"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_a_stored_configuration_names_classes_that_exist_and_keeps_its_fingerprint(path):
    config = OmegaConf.load(path)
    for group, node in config.items():
        if OmegaConf.is_dict(node):
            assert class_of(group, node)
    assert wiring.fingerprint(config) == json.loads((path.parent / "provenance.json").read_text())["fingerprint"]


def test_old_and_new_names_of_a_class_have_one_fingerprint():
    new = wiring.compose()
    old = wiring.compose([f"objective._target_={first(new.objective._target_)}"])
    assert old.objective._target_ == "metarl_exp.objective.MAML" != new.objective._target_
    assert wiring.fingerprint(old) == wiring.fingerprint(new)
    assert wiring.foreign_code(old) == []


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_name_leads_to_a_module_that_exists_and_back(old, new):
    assert import_module(new)
    assert current(f"{old}.X") == f"{new}.X"
    assert first(f"{new}.X") == f"{old}.X"


def test_a_class_of_one_s_own_keeps_its_name():
    assert current("mine.adaptation.Adaptation") == first("mine.adaptation.Adaptation") == "mine.adaptation.Adaptation"
