"""Results of other code than today's are not shown, continued, evaluated or put into tables as if they were today's.

A user's own tasks, policy and environment, in a folder of their own; the golden rollout has 20 steps of their 30.
"""

import importlib
import json
import sys

import pytest

import metarl_exp
from metarl_exp.commands import evaluate, replay, status, table, train
from metarl_exp.runs import checkpoint, provenance, sources
from metarl_exp.runs.files import read_json
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.tasks import navigation_2d

WIND = '''\
"""A cart that a wind blows about."""

import torch

from metarl_exp.tasks.base import uniform
from metarl_exp.types import Spec, Step
from weather import gust


class Wind:
    """Tasks are winds."""

    version = 1
    parameter_names = ("wind",)

    def __init__(self, horizon):
        self.spec = Spec(observation_size=1, action_size=1, discrete=False, horizon=horizon)

    def sample(self, num_tasks, generator):
        return uniform((num_tasks, 1), -1, 1, generator)

    test_tasks = sample

    def make_env(self, tasks, trajectories, generator, device):
        return WindEnv(tasks.expand(-1, trajectories).float())


class WindEnv:
    def __init__(self, wind):
        self.wind = wind

    def reset(self):
        self.t, self.x = 0, torch.zeros_like(self.wind)
        return self.x.unsqueeze(-1)

    def step(self, action):
        self.t += 1
        self.x = self.x + 0.1 * action[..., 0] + gust(self.wind, self.t)
        reward = -self.x.abs()
        over = torch.zeros_like(self.x, dtype=torch.bool)
        return Step(self.x.unsqueeze(-1), reward, over, over)
'''
WEATHER = """\
def gust(wind, t):
    return 0.1 * wind if t < 25 else 0.2 * wind
"""
MINE = """\
from metarl_exp.policy import GaussianMLP


class Mine(GaussianMLP):
    slope = 1.0
"""
ENVIRONMENT = """\
import gymnasium
import numpy as np


class Env(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    force, late = 1.0, 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        reward = self.force * float(action[0]) * (self.late if self.t > 25 else 1.0)
        return np.zeros(1, np.float32), reward, False, False, {}


gymnasium.registry.pop("Own-v0", None)
gymnasium.register("Own-v0", Env)
"""
FILES = {
    "wind.py": WIND,
    "weather.py": WEATHER,
    "mine.py": MINE,
    "own/__init__.py": "from own import registered\n",
    "own/registered.py": ENVIRONMENT,
    "conf/tasks/wind.yaml": "_target_: wind.Wind\nhorizon: 30\n",
    "conf/tasks/own.yaml": (
        "defaults: [gymnasium, _self_]\nid: Own-v0\nhorizon: 30\n"
        "vary: {force: {attribute: force, uniform: [0.5, 2.0]}}\nrequires: {module: own, extra: own}\n"
    ),
}
TINY = [
    "--config-dir=conf", "experiment=smoke", "tracker=none", "threads=1", "policy.hidden_sizes=[4]", "iterations=2",
    "inner_optimizer.lr=0.5",
    "trajectories=2", "evaluation.trajectories=2", "evaluation.test_tasks=2", "evaluation.validation_tasks=2",
]  # fmt: skip
AGAIN = "restart=true runs it again, in a new folder"


class Project:
    """A folder with code of one's own, from which commands are given."""

    def __init__(self, root, monkeypatch, capfd):
        self.root, self.monkeypatch, self.capfd = root, monkeypatch, capfd
        for name, content in FILES.items():
            (root / name).parent.mkdir(exist_ok=True, parents=True)
            (root / name).write_text(content)

    def edit(self, name, old, new):
        file = self.root / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    def train(self, *overrides, sweep=False):
        """The command as a process of its own would run it: modules are those of now. What it printed."""
        self.forget()
        self.monkeypatch.setattr(sys, "argv", ["metarl-train", *["-m"][: int(sweep)], *TINY, *overrides])
        self.capfd.readouterr()
        train.main()
        return self.capfd.readouterr().out

    @staticmethod
    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] in ("wind", "weather", "mine", "own")]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def refused(self, *overrides, **settings):
        """The one line with which the command ends."""
        with pytest.raises(SystemExit) as ended:
            self.train(*overrides, **settings)
        assert "\n" not in str(ended.value.code)
        return str(ended.value.code)

    def run(self):
        """The newest folder of a run."""
        return max((p.parent for p in self.root.glob("outputs/*/provenance.json")), key=lambda p: p.stat().st_mtime_ns)


@pytest.fixture
def project(tmp_path, monkeypatch, capfd, undrawn):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Project(tmp_path, monkeypatch, capfd)
    Project.forget()


def test_a_finished_run_is_not_shown_after_its_rewards_have_changed(project):
    """Without the check, the same command shows the old table with status 0, as if it were the new result."""
    project.train("tasks=wind")
    assert "already finished" in project.train("tasks=wind")
    project.edit("wind.py", "reward = -self.x.abs()", "reward = -10 * self.x.abs()")
    said = project.refused("tasks=wind")
    assert said.startswith("metarl-train: ")
    paid = "the power of ten of what its tasks show and pay is [0, 1], was [0, 0]"
    assert f"was made by other code: the code of wind has changed; {paid}; " in said
    assert said.endswith(AGAIN)
    old = project.run()
    assert "starting" in project.train("tasks=wind", "restart=true")
    assert project.run().name == f"{old.name}-r1"
    assert "already finished" in project.train("tasks=wind")


@pytest.mark.parametrize(
    ("tasks", "file", "old", "new", "module"),
    [
        ("wind", "weather.py", "0.2 * wind", "0.3 * wind", "weather"),
        ("own", "own/registered.py", "late = 1.0, 1.0", "late = 1.0, 2.0", "own.registered"),
    ],
)
def test_code_that_the_golden_rollout_does_not_reach_counts_too(project, tasks, file, old, new, module):
    """Imports of one's own module count, and so does the module of a registered environment."""
    project.train(f"tasks={tasks}")
    assert module in RunFolder(project.run()).read_json("provenance.json")["sources"]
    project.edit(file, old, new)
    said = project.refused(f"tasks={tasks}")
    assert f"other code: the code of {module} has changed; {AGAIN}" in said


def test_a_policy_of_one_s_own_counts_too(project):
    project.train("tasks=wind", "policy._target_=mine.Mine")
    project.edit("mine.py", "slope = 1.0", "slope = 2.0")
    assert "the code of mine has changed" in project.refused("tasks=wind", "policy._target_=mine.Mine")


def test_comments_docstrings_and_layout_do_not_count(project):
    project.train("tasks=wind")
    project.edit("wind.py", '"""Tasks are winds."""', '"""Tasks are the winds that blow."""')
    project.edit("wind.py", "        self.t += 1\n", "        # one step more\n\n        self.t  +=  1\n")
    assert "already finished" in project.train("tasks=wind")


def test_an_interrupted_run_is_not_continued_with_other_code(project, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_latest", lambda *_: 1 // 0)
        with pytest.raises(SystemExit):
            project.train("tasks=wind")
    assert RunFolder(project.run()).state() == "failed"
    project.edit("weather.py", "0.2", "0.3")
    assert "the code of weather has changed" in project.refused("tasks=wind")
    project.edit("weather.py", "0.3", "0.2")
    project.train("tasks=wind")
    assert RunFolder(project.run()).state() == "finished"


def test_a_sweep_with_a_finished_job_of_other_code_does_not_begin(project):
    project.train("tasks=wind", "seed=0,1", sweep=True)
    project.edit("weather.py", "0.2", "0.3")
    said = project.refused("tasks=wind", "seed=0,1,2", sweep=True)
    assert "the code of weather has changed" in said
    assert len(list(project.root.glob("outputs/*/provenance.json"))) == 2
    jobs = {job.name: job for job in status.statuses(project.root / "outputs")}
    assert {job.state for job in jobs.values()} == {"finished"}
    assert {job.reason for job in jobs.values()} == {"the code of weather has changed since"}


def test_readers_refuse_a_run_of_other_code_unless_it_may_be_stale(project, monkeypatch):
    project.train("tasks=wind")
    run = project.run()
    project.edit("weather.py", "0.2", "0.3")
    project.forget()
    monkeypatch.setattr(replay, "make_film", lambda learner, evaluation, theta, filming, path: path)
    readers = (
        lambda run: metarl_exp.load(run, trust=True),
        lambda run: evaluate.evaluate(run, [], trust=True),
        lambda run: replay.replay(run, [], trust=True),
    )
    for read in readers:
        with pytest.raises(ValueError, match=r"the code of weather has changed; .*\(stale=true\)"):
            read(run)
    assert metarl_exp.load(run, stale=True, trust=True).policy is not None
    evaluated = evaluate.evaluate(run, ["stale=true"], trust=True)
    assert evaluated.name == "evaluation_stale-true_theta-best.json"
    assert replay.replay(run, ["stale=true"], trust=True).name == "replay_stale-true.gif"
    with pytest.raises(ValueError, match="stale='maybe': must be true or false"):
        evaluate.evaluate(run, ["stale=maybe"], trust=True)


def test_a_run_does_not_start_from_one_of_other_code(project):
    project.train("tasks=wind")
    first = project.run()
    project.edit("weather.py", "0.2", "0.3")
    assert "the code of weather has changed" in project.refused("tasks=wind", f"init_from={first}")


def test_a_module_that_cannot_be_imported_any_more_is_one_line(project):
    project.train("tasks=wind")
    run = project.run()
    project.edit("wind.py", "class Wind:", "class Wind")
    assert "tasks._target_='wind.Wind': expected ':' (wind.py, line " in project.refused("tasks=wind")
    (project.root / "wind.py").unlink()
    project.forget()
    with pytest.raises(ValueError, match="No module named 'wind'"):
        metarl_exp.load(run, trust=True)


# ---- what there is to compare


DEFAULT = ["tasks.horizon=8"]


def test_other_physics_of_this_package_are_told_by_the_golden_rollout(project, monkeypatch):
    project.train(*DEFAULT)
    monkeypatch.setattr(navigation_2d, "MAX_MOVE", 0.09)
    assert "other code: the golden rollout of its tasks is" in project.refused(*DEFAULT)


def recorded(project, **changes):
    """The newest run's provenance, with other entries; None takes one away."""
    file = project.run() / "provenance.json"
    record = read_json(file) | changes
    file.write_text(json.dumps({name: value for name, value in record.items() if value is not None}))
    return record


def test_a_run_from_before_there_were_digests_or_golden_rollouts_is_shown(project):
    project.train(*DEFAULT)
    old = recorded(project)["environment"]
    recorded(project, sources=None, environment={name: x for name, x in old.items() if name != "golden"})
    assert "already finished" in project.train(*DEFAULT)


def test_another_version_of_a_library_is_told_only_where_numbers_are_others(project, monkeypatch):
    project.train(*DEFAULT)
    libraries = recorded(project)["libraries"]
    recorded(project, libraries=libraries | {"numpy": "0.1"})
    assert "already finished" in project.train(*DEFAULT)
    monkeypatch.setattr(navigation_2d, "MAX_MOVE", 0.09)
    assert f"; numpy is {libraries['numpy']}, was 0.1; {AGAIN}" in project.refused(*DEFAULT)


def test_a_run_of_another_results_version_is_not_today_s(project, monkeypatch):
    project.train(*DEFAULT)
    monkeypatch.setattr(provenance, "RESULTS_VERSION", provenance.RESULTS_VERSION + 1)
    assert "the results version is" in project.refused(*DEFAULT)


def test_environments_that_may_remember_are_not_compared(project, monkeypatch):
    project.train(*DEFAULT, "allow_stateful=true")
    monkeypatch.setattr(navigation_2d, "MAX_MOVE", 0.09)
    assert "already finished" in project.train(*DEFAULT, "allow_stateful=true")


def test_libraries_and_this_package_are_no_code_of_one_s_own(project):
    found = sources.digests(["metarl_exp.tasks.Navigation2D", "torch.optim.Adam", "json.dumps", "a b", "own:Own-v0"])
    assert list(found) == ["own", "own.registered"]
    assert sources.changed(found) == []
    assert sources.changed(found | {"own": "0123456789", "gone": "0123456789"}) == ["own"]


# ---- tables


def made(project, *arguments):
    """Exit status of `metarl-table`, or what it refuses with."""
    project.forget()
    project.monkeypatch.setattr(sys, "argv", ["metarl-table", "study/table.yaml", *arguments])
    with pytest.raises(SystemExit) as ended:
        table.main()
    return ended.value.code


def study(project, overrides):
    (project.root / "study").mkdir()
    content = {
        "title": "A table", "overrides": overrides, "seeds": [0], "statistic": "mean", "rows": [{"name": "A"}],
        "columns": [{"name": "0 steps", "measure": "return", "after": 0}],
    }  # fmt: skip
    (project.root / "study" / "table.yaml").write_text(json.dumps(content))


def test_a_table_refuses_runs_of_other_code_shows_stored_ones_as_they_were_and_runs_them_again(project):
    chosen = ["tasks._target_=wind.Wind", "~tasks.action_map", "~tasks.varying_start", "tasks.horizon=30"]
    overrides = [*TINY[1:], *chosen]
    study(project, overrides)
    project.train(*chosen)
    assert made(project) == 0
    text = (project.root / "study" / "table.md").read_text()
    project.edit("wind.py", "reward = -self.x.abs()", "reward = -10 * self.x.abs()")
    for _ in range(2):  # the stored summary alone tells as well
        said = made(project)
        assert "1 of its runs were made by other code: the code of wind has changed; the power of ten of what" in said
        assert "--launch restart=true" in said
        for folder in project.root.glob("outputs/*/provenance.json"):
            folder.unlink()
    assert made(project, "--stored") == 0
    assert (project.root / "study" / "table.md").read_text() == text
    assert made(project, "--launch", "restart=true") == 0
    again = (project.root / "study" / "table.md").read_text()
    assert again != text
    assert made(project) == 0
    assert (project.root / "study" / "table.md").read_text() == again


def test_a_table_whose_environments_cannot_be_made_here_is_rendered(project):
    """As where an extra is not installed."""
    chosen = ["tasks._target_=wind.Wind", "~tasks.action_map", "~tasks.varying_start", "tasks.horizon=30"]
    study(project, [*TINY[1:], *chosen])
    project.train(*chosen)
    assert made(project) == 0
    (project.root / "weather.py").unlink()
    for folder in project.root.glob("outputs/*/provenance.json"):
        folder.unlink()
    assert made(project) == 0
