"""The command `metarl-check`: what a name may be, what is printed, and the exit status."""

import re
import sys

import pytest
import torch

from metarl_exp.commands import check
from metarl_exp.tasks import navigation_2d


@pytest.fixture
def checked(tmp_path, monkeypatch, capsys):
    """Run the command; its exit status or message, and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["metarl-check", *arguments])
        with pytest.raises(SystemExit) as ended:
            check.main()
        return ended.value.code, capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return run


def test_a_sound_distribution_passes_with_status_0(checked):
    status, printed = checked("navigation_2d", "horizon=5", "varying_start=true")
    assert status == 0
    assert "no fault found" in printed
    assert printed.count("passed") == 13
    assert "horizon=5), version 1, 4 task parameters" in printed


def test_a_fault_is_shown_with_what_was_seen_and_ends_with_status_1(checked, monkeypatch):
    original = navigation_2d.NavigationEnv.step

    def ends_with_time(self, action):
        self.t = getattr(self, "t", 0) + 1
        return original(self, action)._replace(terminal=torch.full(action.shape[:2], self.t == 5))

    monkeypatch.setattr(navigation_2d.NavigationEnv, "step", ends_with_time)
    status, printed = checked("navigation_2d", "horizon=5")
    assert status == 1
    assert "1 fault found" in printed
    assert "terminal is set with step 4, when time is up, in all 8 episodes that last" in " ".join(printed.split())


def test_a_yaml_file_and_a_dotted_class_are_names_too(checked, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "_target_: metarl_exp.tasks.Navigation2D\nhorizon: 100\naction_map: scaled\nvarying_start: false\n"
    )
    assert "horizon=4" in checked("mine.yaml", "horizon=4")[1]
    settings = ["horizon=4", "action_map=clipped", "varying_start=false"]
    assert checked("metarl_exp.tasks.Navigation2D", *settings)[0] == 0


def test_an_option_of_a_folder_of_one_s_own(checked, tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "short.yaml").write_text("defaults: [navigation_2d, _self_]\nhorizon: 3\n")
    assert "horizon=3" in checked("short", "--config-dir=.")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cartpol"], "'cartpol' is not an option of tasks.*did you mean 'cartpole'.*options are "),
        (["cartpole", "horizn=3"], "did you mean 'tasks.horizon'"),
        (["cartpole", "horizon=0"], "tasks.horizon=0: must be an integer ≥ 1"),
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
        (["list.yaml"], "list.yaml: must be a node with a _target_"),
        (["nowhere.Tasks"], "tasks._target_='nowhere.Tasks': No module named 'nowhere'"),
        (["metarl_exp.tasks.CartPol"], "metarl_exp.tasks has no 'CartPol'.*did you mean 'CartPole'"),
        (["metarl_exp.tasks.CartPole"], "missing key 'tasks.horizon'"),
        (["metarl_exp.tasks.CartPole", "horizon=3", "length=[1,2]", "lenth=3"], "unknown key 'tasks.lenth'"),
    ],
    ids=lambda x: x[-1] if isinstance(x, list) else "",
)
def test_a_refusal_takes_one_line(checked, tmp_path, arguments, message):
    (tmp_path / "list.yaml").write_text("horizon: 3\n")
    said, printed = checked(*arguments)
    assert printed == ""
    assert said.startswith("metarl-check: ")
    assert "\n" not in said
    assert re.search(message, said), said


def test_a_library_that_is_missing_is_said_with_how_to_install_it(checked, monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    assert "pip install 'metarl_exp[mujoco]'" in checked("half_cheetah_velocity")[0]
