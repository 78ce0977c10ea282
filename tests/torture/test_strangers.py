"""Run folders that a stranger has made to harm: whatever reads them, none of their code runs.

Whatever would be executed leaves a mark. The current folder has a module and a package that leave it when they are
imported, as a folder that was unpacked would.
"""

import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

import metarl_exp
from metarl_exp import figures, report, wiring
from metarl_exp.commands import evaluate, replay, train
from metarl_exp.runs.sweep import statuses

TINY = [
    "experiment=smoke", "tracker=none", "policy.hidden_sizes=[4]", "iterations=1", "threads=1", "trajectories=2",
    "tasks.horizon=4", "evaluation.trajectories=2", "evaluation.test_tasks=2", "evaluation.validation_tasks=2",
]  # fmt: skip
SECRET = "only-for-me"
PENDULUM = OmegaConf.to_container(wiring.compose(["tasks=pendulum"]).tasks)


class Evil:
    """Leaves the mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


class Place:
    """A copy of a run in a folder of its own, from which commands are given, and the mark of what was executed."""

    def __init__(self, root: Path, run: Path) -> None:
        self.root, self.mark = root, root / "executed"
        self.run = root / "outputs" / run.name
        shutil.copytree(run, self.run)
        (root / "evil").mkdir()
        for module in ("evil/__init__.py", "evil/inner.py", "evilmodule.py"):
            (root / module).write_text(f"import pathlib\npathlib.Path({str(self.mark)!r}).touch()\n")
        self.pickle = root / "evil.pkl"
        self.pickle.write_bytes(pickle.dumps(Evil(self.mark)))
        self.shell = f"touch {self.mark}"
        self.own = root / "own.txt"
        self.own.write_text(SECRET)

    def configure(self, key: str, value: object) -> None:
        """Set a dotted key of the stored configuration."""
        file = self.run / ".hydra" / "config.yaml"
        config = OmegaConf.create(yaml.safe_load(file.read_text()))
        OmegaConf.update(config, key, value, merge=False, force_add=True)
        file.write_text(yaml.safe_dump(OmegaConf.to_container(config)))

    def gymnasium(self, **settings: object) -> None:
        """Let the tasks be Gymnasium's pendulum, with other settings."""
        self.configure("tasks", PENDULUM | settings)

    def link(self, name: str) -> None:
        """Let a file of the run be a link to one of the reader's own."""
        (self.run / name).unlink(missing_ok=True)
        (self.run / name).symlink_to(self.own)

    def fail(self) -> None:
        """Let the run have failed, so that a report shows the end of its log, and draws nothing."""
        (self.run / "status.json").write_text(json.dumps({"state": "failed", "reason": "it is said below"}))

    def provenance(self, **entries: object) -> None:
        file = self.run / "provenance.json"
        content = json.loads(file.read_text()) | entries
        content.pop("sha256", None)  # a stranger leaves no digest, or a right one
        file.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["metarl-train", *TINY, f"output_root={root}"])
        for figure in ("learning_curve", "gradient_steps", "paths"):
            patched.setattr(figures, figure, lambda *_: None)
        train.main()
    (run,) = root.iterdir()
    return run


@pytest.fixture
def place(made, tmp_path, monkeypatch, undrawn):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setattr(replay, "make_film", lambda learner, evaluation, theta, filming, path: path)
    yield Place(tmp_path, made)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("evil", "evilmodule")]:
        del sys.modules[name]


def through(name: str, **choice: object) -> dict:
    """Variations whose `torque` goes through Python's own attributes."""
    return {"vary": {"mass": {"attribute": "m", "uniform": [1, 2]}, "torque": {name: choice.pop("way"), **choice}}}


def inside(target: str, **arguments: object):
    """A class that is named inside the settings of another one."""
    return lambda at: at.configure("inner_optimizer.settings", {"momentum": {"_target_": target, **arguments}})


GLOBALS = "reset.__func__.__globals__"
CONFIGURED = {
    "joblib.load inside": lambda at: inside("joblib.load", filename=str(at.pickle))(at),
    "torch.load inside": lambda at: inside("torch.load", f=str(at.pickle), weights_only=False)(at),
    "numpy.load inside": lambda at: inside("numpy.load", file=str(at.pickle), allow_pickle=True)(at),
    "a shell inside": lambda at: inside("subprocess.getoutput", cmd=at.shell)(at),
    "a class in a list": lambda at: at.configure("policy.hidden_sizes", [{"_target_": "evilmodule.Size"}]),
    "a shell": lambda at: at.configure("tasks", {"_target_": "os.system", "command": at.shell}),
    "a module of the current folder": lambda at: at.configure("tasks", {"_target_": "evilmodule.Tasks"}),
    "a module for the policy": lambda at: at.configure("policy._target_", "evilmodule.Policy"),
    "a module for the evaluation": lambda at: at.configure("evaluation._target_", "evilmodule.Evaluation"),
    "a module for the tracker": lambda at: at.configure("tracker._target_", "evil.inner.Tracker"),
    "a module for the aggregator": lambda at: at.configure("aggregator._target_", "evilmodule.Aggregator"),
    "this package's imports": lambda at: at.configure(
        "tasks", {"_target_": "metarl_exp.tasks.vector.recipe.import_module", "name": "evilmodule"}
    ),
    "this package's extras": lambda at: at.configure(
        "tasks", {"_target_": "metarl_exp.validation.require_extra", "module": "evil", "extra": "", "needed_by": ""}
    ),
    "this package's recipe": lambda at: at.configure(
        "tasks",
        {
            "_target_": "metarl_exp.tasks.vector.recipe.Recipe", "id": "Pendulum-v1", "kwargs": {}, "variations": [],
            "wrappers": ["evilmodule.Wrapper"], "success_key": None,
        },
    ),
    "this package's load": lambda at: at.configure(
        "tasks", {"_target_": "metarl_exp.load", "run": str(at.run), "trust": True}
    ),
    "an id with a module": lambda at: at.gymnasium(id="evilmodule:Pendulum-v1"),
    "an id that is not Gymnasium's": lambda at: at.gymnasium(id="Evil-v0"),
    "a module to import first": lambda at: at.gymnasium(requires={"module": "evil.inner", "extra": "evil"}),
    "a wrapper": lambda at: at.gymnasium(wrappers=["evilmodule.Wrapper"]),
    "a wrapper with arguments": lambda at: at.gymnasium(wrappers=[{"wrapper": "evil.inner.Wrapper", "strength": 1}]),
    "a method": lambda at: at.gymnasium(
        **through("method", way=f"{GLOBALS}[__builtins__][eval]", choice=[f"__import__('os').system('{at.shell}')"])
    ),
    "an attribute of Python's own": lambda at: at.gymnasium(**through("attribute", way=f"{GLOBALS}[x]", choice=["y"])),
    "the name of a class among arguments": lambda at: at.gymnasium(kwargs={"config": {"kind": "evilmodule.Vehicle"}}),
    "the path of a file among arguments": lambda at: at.gymnasium(kwargs={"xml_file": str(at.root / "evil.xml")}),
    "the name of a class among values": lambda at: at.gymnasium(
        vary={"m": {"attribute": "m", "choice": [{"attribute": "evilmodule.M"}]}}
    ),
    "a secret of the environment": lambda at: at.configure("adaptation.order", "${oc.env:SECRET}"),
    "a secret in a list": lambda at: at.configure("evaluation.step_size_schedule", ["${oc.decode:${oc.env:SECRET}}"]),
    "an object of Python's": lambda at: (at.run / ".hydra" / "config.yaml").write_text(
        f"seed: !!python/object/apply:os.system ['{at.shell}']\n"
    ),
    "a folder that is a link": lambda at: (at.run / "figures").symlink_to(at.root),
    "a log that is a link": lambda at: at.link("train.log"),
    "a link that would be written to": lambda at: at.link("evaluation_theta=best.json.partial"),
}  # fmt: skip


def evaluated(at: Place, *settings: str) -> str:
    return commanded(evaluate.main, "metarl-evaluate", str(at.run), *settings)


def replayed(at: Place, *settings: str) -> str:
    return commanded(replay.main, "metarl-replay", str(at.run), *settings)


def loaded(at: Place) -> str:
    try:
        metarl_exp.load(at.run)
    except ValueError as refused:
        return str(refused)
    raise AssertionError("loaded")


def commanded(main, *command: str) -> str:
    """The line that a command ends with."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [*command])
        with pytest.raises(SystemExit) as ended:
            main()
    return str(ended.value.code)


READERS = {"metarl-evaluate": evaluated, "metarl-replay": replayed, "metarl_exp.load": loaded}


@pytest.mark.parametrize("kind", CONFIGURED)
def test_a_folder_made_to_harm_is_refused_in_one_line_by_all_that_build_a_run(kind, place, tally):
    CONFIGURED[kind](place)
    for reader, read in READERS.items():
        said = read(place)
        tally(f"folder made to harm, {reader}", "executed" if place.mark.exists() else "refused")
        assert not place.mark.exists()
        assert "\n" not in said
        assert str(place.run) in said or "_target_=" in said
        assert SECRET not in said
        assert place.own.read_text() == SECRET
        assert not list(place.root.glob("evaluation*"))


def test_trusted_code_is_named_before_it_runs(place, capfd):
    """Which also shows that these folders do harm, and the mark when it is done."""
    place.configure("tasks", {"_target_": "evilmodule.Tasks"})
    assert "tasks._target_=evilmodule.Tasks" in evaluated(place)
    assert "evilmodule has no 'Tasks'" in evaluated(place, "--trust", "theta=latest")
    assert f"{place.run} is trusted to run tasks._target_=evilmodule.Tasks" in capfd.readouterr().out
    assert place.mark.exists()


@pytest.mark.parametrize("trust", [[], ["--trust"]])
def test_a_class_inside_the_settings_of_another_is_refused_even_if_trusted(place, trust):
    inside("joblib.load", filename=str(place.pickle))(place)
    target = "inner_optimizer.settings.momentum._target_='joblib.load'"
    assert f"{target}: only inner_optimizer._target_ names a class" in evaluated(place, *trust)
    assert not place.mark.exists()


def test_a_class_inside_the_settings_of_another_is_refused_when_it_is_typed(place):
    """As `hydra.utils.instantiate` would make it."""
    typed = f"+inner_optimizer.settings.momentum={{_target_: numpy.load, file: {place.pickle}, allow_pickle: true}}"
    said = commanded(train.main, "metarl-train", *TINY, typed)
    assert said.startswith("metarl-train: inner_optimizer.settings.momentum._target_='numpy.load': ")
    assert not place.mark.exists()


def legacy(at: Place, name: str) -> None:
    (at.run / "checkpoints" / name).write_bytes(at.pickle.read_bytes())


def archived(at: Place, name: str) -> None:
    torch.save({"format": 1, "theta": Evil(at.mark)}, at.run / "checkpoints" / name)


@pytest.mark.parametrize("written", [legacy, archived])
@pytest.mark.parametrize("name", ["best.pt", "latest.pt"])
def test_a_checkpoint_made_to_harm_is_refused(written, name, place, tally):
    written(place, name)
    said = evaluated(place, f"theta={name.removesuffix('.pt')}")
    tally("folder made to harm, metarl-evaluate", "executed" if place.mark.exists() else "refused")
    assert not place.mark.exists()
    assert "cannot be read" in said


# ---- what reads many runs, and what continues one


def trained(at: Place, *overrides: str) -> str:
    """The command that made the run, again; the line that it ends with, or what it printed."""
    return commanded(train.main, "metarl-train", *TINY, f"output_root={at.run.parent}", *overrides)


@pytest.mark.parametrize("module", ["evil.inner", "evil.nowhere", "evilmodule.Class"])
def test_modules_whose_code_is_compared_are_not_imported(module, place, tally):
    """`find_spec` imports the package of what it looks for."""
    place.provenance(sources={module: "0123456789"})
    (job,) = statuses(place.run.parent)
    if module == "evil.inner":
        assert "the code of evil.inner has changed" in loaded(place)
    else:
        metarl_exp.load(place.run)
    tally("folder made to harm, metarl-status and metarl-report", "executed" if place.mark.exists() else "identical")
    assert not place.mark.exists()
    assert job.state == "finished"
    assert job.reason == (f"the code of {module} has changed since" if module == "evil.inner" else None)


@pytest.mark.parametrize("kind", ["a module of the current folder", "an id with a module", "a shell"])
def test_a_run_is_not_continued_in_a_folder_made_to_harm(kind, place, tally):
    CONFIGURED[kind](place)
    said = trained(place)
    tally("folder made to harm, metarl-train", "executed" if place.mark.exists() else "refused")
    assert not place.mark.exists()
    assert "holds another run: " in said
    assert "tasks._target_" in said or "tasks.id" in said


def test_a_run_does_not_write_through_links_in_its_folder(place, tally):
    place.link("lock")
    said = trained(place)
    tally("folder made to harm, metarl-train", "refused")
    assert f"links lead out of {place.run}, and a run would write through them: lock → {place.own}" in said
    assert place.own.read_text() == SECRET


@pytest.mark.parametrize("kind", ["a module of the current folder", "an id with a module", "a wrapper"])
def test_a_run_starts_from_the_parameters_of_a_folder_made_to_harm_and_from_nothing_else(kind, place, tally):
    CONFIGURED[kind](place)
    config = wiring.compose([*TINY, f"init_from={place.run}"])
    parts = wiring.assemble(config)
    tally("folder made to harm, init_from", "executed" if place.mark.exists() else "identical")
    assert not place.mark.exists()
    best = torch.load(place.run / "checkpoints" / "best.pt", weights_only=True)["theta"]
    assert all(torch.equal(parts.learner.theta[name], best[name]) for name in best)


def test_a_stored_start_is_read_as_a_strangers_too(place, made):
    """A stored configuration names a further run from which it started."""
    other = place.root / "other"
    shutil.copytree(place.run, other)
    place.configure("init_from", str(other))
    place.run, run = other, place.run
    CONFIGURED["a module of the current folder"](place)
    assert metarl_exp.load(run, "initial", stale=True).policy is not None
    assert not place.mark.exists()


# ---- what a report shows


@pytest.mark.parametrize("name", ["train.log", ".hydra/config.yaml", ".hydra/overrides.yaml"])
def test_a_report_shows_nothing_that_links_lead_to(name, place, tally):
    place.own.write_text(f"- {SECRET}=1\n" if "overrides" in name else f"known: {SECRET}\n")
    place.fail()
    place.link(name)
    page = report.write(place.run.parent, place.root / "report.html").read_text()
    tally("folder made to harm, metarl-status and metarl-report", "changed" if SECRET in page else "refused")
    assert SECRET not in page
    assert f"{name} → {place.own}" in page


def test_a_report_shows_no_run_or_record_that_is_a_link_to_elsewhere(place, tally):
    private = place.root / "private"
    place.fail()
    shutil.copytree(place.run, private / "run-aa-seed0")
    (private / "run-aa-seed0" / "train.log").write_text(SECRET)
    (private / "0123456789.json").write_text(json.dumps({"command": f"metarl-train {SECRET}", "jobs": []}))
    (place.run.parent / "run-aa-seed0").symlink_to(private / "run-aa-seed0")
    (place.run.parent / "sweeps").symlink_to(private)
    page = report.write(place.run.parent, place.root / "report.html").read_text()
    tally("folder made to harm, metarl-status and metarl-report", "changed" if SECRET in page else "refused")
    assert SECRET not in page
    assert f"not shown, as it leads out of {place.run.parent}" in page


@pytest.mark.parametrize("folder", ["../private", "{root}/private", "a/../../private"])
def test_a_report_shows_no_run_that_a_sweep_s_record_names_elsewhere(folder, place, tally):
    place.fail()
    shutil.copytree(place.run, place.root / "private")
    (place.root / "private" / "train.log").write_text(SECRET)
    job = {"folder": folder.format(root=place.root), "seed": 0, "fingerprint": "", "overrides": []}
    (place.run.parent / "sweeps").mkdir()
    (place.run.parent / "sweeps" / "0123456789.json").write_text(json.dumps({"command": "", "jobs": [job]}))
    try:
        page = report.write(place.run.parent, place.root / "report.html").read_text()
    except ValueError as refused:
        page = str(refused)
    tally("folder made to harm, metarl-status and metarl-report", "changed" if SECRET in page else "refused")
    assert SECRET not in page
    assert "is not in" in page
