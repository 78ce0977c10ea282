"""Classes that have moved and keys that were renamed are found by their old names, and count as what they were."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from metarl_exp import wiring
from metarl_exp.algorithm.objective import family
from metarl_exp.commands import train
from metarl_exp.former import MODULES
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.moved import RENAMED, current, first

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


@pytest.mark.parametrize(("old", "new"), MODULES.items())
def test_an_old_name_leads_to_a_module_that_exists_and_back(old, new):
    assert import_module(new)
    assert current(f"{old}.X") == f"{new}.X"
    assert first(f"{new}.X") == first(f"{old}.X")
    assert current(first(f"{new}.X")) == f"{new}.X"


@pytest.mark.parametrize(("old", "new"), MODULES.items())
def test_an_import_by_the_old_name_is_today_s_module_and_says_its_name(old, new, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=f"^{old} is now {new}$"):
        module = import_module(old)
    public = [name for name in dir(import_module(new)) if not name.startswith("_")]
    assert all(getattr(module, name) is getattr(import_module(new), name) for name in public)


@pytest.mark.filterwarnings("ignore:metarl_exp")
def test_a_name_of_then_is_found_in_a_module_of_then():
    assert import_module("metarl_exp.build").build is wiring.assemble
    assert import_module("metarl_exp.objective.family").LVC is family.LVC
    with pytest.raises(ModuleNotFoundError, match="metarl_exp.builds"):
        import_module("metarl_exp.builds")
    with pytest.raises(AttributeError, match="metarl_exp.wiring"):
        _ = import_module("metarl_exp.build").of


def test_a_class_of_one_s_own_keeps_its_name():
    assert current("mine.adaptation.Adaptation") == first("mine.adaptation.Adaptation") == "mine.adaptation.Adaptation"


OLD_AND_NEW = [
    ("combiner=pcgrad", "aggregator=pcgrad"),
    ("combiner._target_=metarl_exp.combiner.PCGrad", "aggregator._target_=metarl_exp.algorithm.aggregator.PCGrad"),
    ("evaluation.step_scale=[1,0.25]", "evaluation.step_size_schedule=[1,0.25]"),
    ("++evaluation.multiples=[0.5,1,2]", "++evaluation.step_size_multipliers=[0.5,1,2]"),
]


@pytest.mark.parametrize(("old", "new"), OLD_AND_NEW)
def test_an_override_with_a_key_of_then_is_one_with_the_key_of_today(old, new):
    today = wiring.current_override(old)
    assert today.partition("=")[0] == new.partition("=")[0]
    assert wiring.fingerprint(wiring.compose([today])) == wiring.fingerprint(wiring.compose([new]))
    assert wiring.current_override(new) == new


@pytest.mark.parametrize("override", ["evaluation.step_scales=1", "~tasks.goal", "combiners=mean", "tasks.combiner=1"])
def test_other_overrides_stay_as_they_are(override):
    assert wiring.current_override(override) == override


def test_a_yaml_file_may_have_the_keys_of_then(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nevaluation:\n  multiples: [1.0, 3.0]\ncombiner: {_target_: metarl_exp.combiner.PCGrad}\n"
    )
    config = wiring.compose(["experiment=mine"], str(tmp_path))
    assert config.evaluation.step_size_multipliers == [1.0, 3.0]
    assert "multiples" not in config.evaluation
    assert "combiner" not in config
    same = ["aggregator=pcgrad", "++evaluation.step_size_multipliers=[1,3]"]
    assert wiring.fingerprint(config) == wiring.fingerprint(wiring.compose(same))


@pytest.mark.parametrize("key", RENAMED)
def test_a_key_of_then_that_is_not_on_a_command_line_is_refused_with_the_key_of_today(key):
    with pytest.raises(ValueError, match=f"'{key}' is now '{RENAMED[key]}'"):
        wiring.check_overrides([f"{key}=1"])


def test_the_command_line_says_what_a_renamed_key_is_called_now(capsys):
    assert train.current("combiner=pcgrad") == "aggregator=pcgrad"
    assert train.current("seed=1") == "seed=1"
    assert capsys.readouterr().err == "combiner=pcgrad: this key is now aggregator\n"
