"""Composing, the fingerprint, and what is refused before anything is sampled."""

import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from metarl_exp import wiring
from metarl_exp.tasks import Navigation2D
from metarl_exp.wiring import composing
from metarl_exp.wiring.fingerprints import ADDED


def test_the_fingerprint_changes_with_a_number_and_not_with_the_spelling_of_it():
    base = wiring.fingerprint(wiring.compose())
    assert wiring.fingerprint(wiring.compose(["inner_optimizer.lr=0.3"])) != base
    assert (
        wiring.fingerprint(wiring.compose(["outer_optimizer.max_kl=1e-2", "evaluation.step_size_schedule=[1,0.5]"]))
        == base
    )


@pytest.mark.parametrize(
    "override", ["seed=3", "tracker=none", "device=cpu", "threads=1", "restart=true", "output_root=elsewhere"]
)
def test_keys_that_cannot_change_numbers_are_not_in_the_fingerprint(override):
    assert wiring.fingerprint(wiring.compose([override])) == wiring.fingerprint(wiring.compose())


def test_keys_that_a_distribution_calls_without_effect_are_neither_in_the_fingerprint_nor_in_the_identity():
    base, workers = (wiring.compose(["tasks=pendulum", *more]) for more in ([], ["tasks.workers=3"]))
    assert wiring.fingerprint(base) == wiring.fingerprint(workers)
    assert wiring.fingerprint(base) != wiring.fingerprint(wiring.compose(["tasks=pendulum", "tasks.horizon=3"]))
    assert "workers" not in wiring.environment_identity(base)["settings"]
    assert wiring.environment_identity(base)["settings"]["horizon"] == 200


def test_a_key_added_later_leaves_old_fingerprints_alone(monkeypatch):
    """A run stored before `meta_batch_size` existed equals one that has it at its neutral value, and no other."""
    now = wiring.compose()
    then = OmegaConf.masked_copy(now, [key for key in now if key != "meta_batch_size"])
    assert wiring.fingerprint(now) != wiring.fingerprint(then)
    monkeypatch.setitem(ADDED, "meta_batch_size", 20)
    assert wiring.fingerprint(now) == wiring.fingerprint(then)
    assert wiring.fingerprint(wiring.compose(["meta_batch_size=21"])) != wiring.fingerprint(then)


def test_a_setting_at_its_default_is_that_of_a_run_which_never_had_it():
    """Defaults of this package's constructors are neutral; those of a class of one's own may be anything."""
    now = wiring.compose(["objective=promp"])
    then = now.copy()
    OmegaConf.set_struct(then, False)
    del then.objective["value_weight"]
    assert wiring.fingerprint(now) == wiring.fingerprint(then)
    weighted = wiring.compose(["objective=promp", "objective.value_weight=0.5"])
    assert wiring.fingerprint(weighted) != wiring.fingerprint(now)
    own = "tests.wiring.test_build.Corridor"
    given, silent = (wiring.compose([f"tasks._target_={own}", *more]) for more in (["+tasks.walls=3"], []))
    assert wiring.fingerprint(given) != wiring.fingerprint(silent)


class Corridor(Navigation2D):
    """A distribution of one's own, whose default changes something."""

    def __init__(self, horizon: int, action_map: str, varying_start: bool, walls: int = 3) -> None:
        super().__init__(horizon, action_map, varying_start)


def test_a_configuration_stored_before_a_key_existed_gets_its_neutral_value(tmp_path):
    then = wiring.compose()
    OmegaConf.set_struct(then, False)
    del then["oracle"], then.evaluation["step_size_multipliers"]
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(then, tmp_path / ".hydra" / "config.yaml", resolve=True)
    loaded = wiring.load_config(tmp_path)
    assert wiring.fingerprint(loaded) == wiring.fingerprint(wiring.compose()) == wiring.fingerprint(then)
    wiring.assemble(loaded)


def test_differing_keys_are_named():
    differing = wiring.differing_keys(wiring.compose(["adaptation.order=first", "seed=9"]), wiring.compose())
    assert differing == ["adaptation.order: first ≠ second"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sead=3", "did you mean 'seed'"),
        ("adaptation.innersteps=2", "did you mean 'adaptation.inner_steps'"),
        ("tasks=navigaton_2d", "did you mean 'navigation_2d'"),
        ("experiment=finn2017/navigation", "did you mean 'finn2017/navigation_2d'"),
        ("tasks=cartpole,cartpol", "allowed are .*cartpole, .*did you mean"),
        ("polcy.activation=tanh", "did you mean 'policy.activation'"),
    ],
)
def test_a_mistyped_key_or_option_names_the_nearest(override, message):
    with pytest.raises(ValueError, match=message):
        wiring.check_overrides([override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+iteration=5", r"unknown key 'iteration' \(did you mean 'iterations'\?\); allowed are adaptation, advantage"),
        ("++iteration=5", r"unknown key 'iteration' \(did you mean 'iterations'\?\)"),
        ("+order=first", r"unknown key 'order' \(did you mean 'adaptation.order'\?\)"),
        ("+lr=0.1", r"unknown key 'lr' \(did you mean 'inner_optimizer.lr'\?\)"),
        ("+notes.first=true", "unknown key 'notes.first'"),
        ("+notes={first: true}", "unknown key 'notes'"),
        ("+adaptation/none=x", "unknown key 'adaptation/none'"),
        ("+foo=1,2", "unknown key 'foo'"),
        ("~sead", r"unknown key 'sead' \(did you mean 'seed'\?\)"),
        ("+tasks@_global_=navigation_2d", "write tasks=navigation_2d"),
        ("tasks@policy=navigation_2d", "write tasks=navigation_2d"),
        ("+experiment=smoke", "'experiment' exists already; write experiment=smoke"),
        ("++objective=promp", "'objective' exists already; write objective=promp"),
        ("+iterations=5", "'iterations' exists already; write iterations=5"),
        ("+adaptation.order=first", "'adaptation.order' exists already; write adaptation.order=first"),
        ("+evaluation={steps: 3}", "a group takes an option; write evaluation.steps=…, key by key"),
        ("evaluation={step: 3}", "a group takes an option; write evaluation.step=…, key by key"),
        ("tasks=null", "tasks=null: allowed are .*navigation_2d"),
        ("experiment=null", "experiment=null: allowed are .*smoke"),
        ("+hydra.lancher.n_jobs=4", r"unknown key 'hydra.lancher.n_jobs' \(did you mean 'launcher'\?\)"),
        ("iterations", "'iterations': must be key=value"),
        ("output_root=out/é", "must be key=value; unusual characters need quotes"),
        ("hydra.run.dri=x", r"unknown key 'hydra.run.dri' \(did you mean 'dir'\?\)"),
    ],
)
def test_an_unknown_key_is_refused_however_it_is_written(override, message):
    """It would be part of the fingerprint and of nothing else: a sweep over it compares a run with itself."""
    with pytest.raises(ValueError, match=message):
        wiring.check_overrides([override])


@pytest.mark.parametrize(
    "overrides",
    [
        ["++iterations=5"],
        ["++adaptation.order=first"],
        ["+inner_optimizer.settings.momentum=0.9"],
        ["++inner_optimizer.settings.momentum=0.9"],
        ["outer_optimizer=adam", "outer_optimizer.scheduler={name: StepLR, step_size: 3}"],
        ["tasks=pendulum", "+tasks.vary.torque={attribute: max_torque, uniform: [1, 2]}"],
        ["tasks=pendulum", "~tasks.vary.mass"],
        ["tasks=pendulum", "+tasks.kwargs.g=9.0"],
        ["~experiment"],
        ["hydra/launcher=slurm", "+hydra.launcher.additional_parameters.constraint=fast", "+hydra.job.env_set.A=b"],
    ],
    ids=" ".join,
)
def test_keys_that_a_constructor_or_hydra_takes_can_be_added(overrides):
    wiring.check_overrides(overrides)
    wiring.assemble(wiring.compose(["tracker=none", "policy.hidden_sizes=[4]", *overrides]))


@pytest.mark.parametrize(
    ("group", "written", "message"),
    [
        ("experiment", "# @package _global_\niteration: 3\n", "unknown key 'iteration' .*'iterations'"),
        ("experiment", "# @package _global_\nevaluation: {step: 3}\n", "unknown key 'evaluation.step' "),
        ("experiment", "iterations: 3\n", "must begin with the line «# @package _global_»"),
        ("method", "iterations: 3\n", "method: a file of this group must begin with the line «# @package _global_»"),
        ("experiment", "# @package _global_\ndefaults: [/tasks@foo: cartpole]\n", "unknown key 'foo'"),
        (
            "tasks",
            "defaults: [navigation_2d, _self_]\nhorison: 3\n",
            "unknown key 'tasks.horison' .*'horizon'",
        ),
        ("tasks", "# @package _global_\ntasks: {horizon: 3}\nsead: 1\n", "unknown key 'sead' .*'seed'"),
        ("tasks", "horizon: 3\n", "missing key 'tasks._target_'"),
        ("evaluation", "defaults: [standard, _self_]\nbest: x\n", "unknown key 'evaluation.best' "),
    ],
)
def test_an_unknown_key_in_a_file_of_one_s_own_is_refused(tmp_path, group, written, message):
    (tmp_path / group).mkdir()
    (tmp_path / group / "mine.yaml").write_text(written, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        wiring.assemble(wiring.compose(["tracker=none", f"{group}=mine"], str(tmp_path)))


def test_an_inner_step_size_belongs_to_its_tasks(tmp_path):
    """Tasks of one's own have no step size: they would be trained with navigation's, unasked."""
    sizes = {"navigation_2d_clipped": 0.5, "ant_goal_rllab": 0.1, "hopper_body": 0.05, "tabular_mdp": 1.0}
    for option, size in sizes.items():
        for inner in ("sgd", "meta_sgd"):
            assert wiring.compose([f"tasks={option}", f"inner_optimizer={inner}"]).inner_optimizer.lr == size
        assert wiring.compose([f"tasks={option}", "inner_optimizer=momentum"]).inner_optimizer.lr == 0.2
    assert wiring.compose(["experiment=bandits/bernoulli"]).inner_optimizer.lr == 1.0  # of episodes of one pull
    (tmp_path / "tasks").mkdir()
    OmegaConf.save(wiring.compose().tasks, tmp_path / "tasks" / "mine.yaml")
    with pytest.raises(
        ValueError, match=r"missing value of 'inner_optimizer.lr', .* here have 0.0001, .*; type inner_"
    ):
        wiring.assemble(wiring.compose(["tasks=mine"], str(tmp_path)))
    wiring.assemble(wiring.compose(["tasks=mine", "inner_optimizer.lr=0.5"], str(tmp_path)))
    with pytest.raises(ValueError, match=r"missing value of 'tasks.id'; type tasks.id=…"):
        wiring.assemble(wiring.compose(["tasks=gymnasium"]))


def test_a_setting_that_is_gone_stays_in_the_fingerprint_and_is_read(tmp_path):
    """E-MAML's surrogate, which only ever had one value; with another, a run was none of E-MAML."""
    then = wiring.compose(["objective=e_maml"])
    assert wiring.fingerprint(then) == "e361b6c03d"  # as it was with the setting
    for value in ("log_likelihood", "ratio"):
        OmegaConf.update(then, "objective.surrogate", value, force_add=True)
        (tmp_path / value / ".hydra").mkdir(parents=True)
        OmegaConf.save(then, tmp_path / value / ".hydra" / "config.yaml", resolve=True)
    stored = wiring.load_config(tmp_path / "log_likelihood")
    assert "surrogate" not in stored.objective
    assert wiring.fingerprint(stored) == "e361b6c03d" != wiring.fingerprint(then)
    wiring.assemble(stored)
    with pytest.raises(ValueError, match="unknown key 'objective.surrogate'"):
        wiring.assemble(wiring.load_config(tmp_path / "ratio"))


@pytest.mark.parametrize("key", ["iterations", "seed", "output_root", "fail_fast", "tracker", "policy"])
def test_a_key_that_every_run_has_cannot_be_taken_away(key):
    wiring.check_overrides([f"~{key}"])
    with pytest.raises(ValueError, match=f"missing key '{key}'"):
        wiring.compose([f"~{key}"])


def test_every_key_outside_the_groups_is_read_by_the_program():
    """Or by the configuration itself, as `output_root` is."""
    package, conf = Path(wiring.__file__).parents[1], wiring.config_dir()
    code = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    interpolated = (conf / "train.yaml").read_text(encoding="utf-8")
    for key in composing.root_keys():
        assert re.search(rf"\bconfig\.{key}\b|\bconfig\.get\(\"{key}\"", code) or f"${{{key}}}" in interpolated, key


def test_a_launcher_that_is_not_installed_names_its_extra():
    """Ray's, which has an environment of its own."""
    with pytest.raises(ModuleNotFoundError, match=r"hydra/launcher=ray needs .*pip install 'metarl_exp\[ray\]'"):
        wiring.check_overrides(["hydra/launcher=ray", "seed=0,1"])


@pytest.mark.parametrize("override", ["seed=1,2,3", "tasks=cartpole", "hydra.run.dir=x", "inner_optimizer=adam"])
def test_a_right_value_passes(override):
    wiring.check_overrides([override])


def test_settings_of_an_optimizer_can_be_added():
    wiring.check_overrides(["+inner_optimizer.settings.nesterov=true", "inner_optimizer=momentum"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("adaptation.order=secnd", "adaptation.order='secnd'.*did you mean 'second'"),
        ("inner_optimizer.lr=-1", "inner_optimizer.lr=-1: must be a number ≥ 0"),
        ("inner_optimizer.optimizer=RMSprop", "wrong gradients"),
        ("inner_optimizer.optimizer=AdamW", "no differentiable version"),
        ("policy=categorical_mlp", "needs discrete actions, these are continuous: take policy=mlp"),
        ("iterations=ten", "iterations='ten': must be an integer"),
        ("threads=0", "threads=0"),
        ("environment_timeout=1e12", r"environment_timeout=1000000000000.0: must be a number > 0 and ≤ 1e\+09"),
        ("rank_timeout=0", "rank_timeout=0: must be a number > 0 and"),
        ("tracker.finish_timeout=1e12", "tracker.finish_timeout=1000000000000.0: must be a number > 0 and"),
        ("tracker.init_timeout=1e300", r"tracker.init_timeout=1e\+300: must be a number > 0 and"),
        ("restart=maybe", "restart='maybe': must be true or false"),
        ("init_from=/nowhere", "/nowhere is not a folder"),
        ("device=abacus", "device='abacus' is not available here"),
        ("evaluation.step_size_schedule=[]", "evaluation.step_size_schedule"),
        ("evaluation.best_by=test", "evaluation.best_by='test': allowed are validation, training_return"),
        ("outer_optimizer.curvature=third", "outer_optimizer.curvature='third'"),
        ("tasks.action_map=raw", "tasks.action_map='raw': allowed are scaled, clipped"),
        ("advantage.discount=1.01", "advantage.discount=1.01: must be a number ≥ 0 and ≤ 1"),
        ("trajectories=2.5", "trajectories=2.5: must be an integer ≥ 1"),
        ("+policy.depth=3", "unknown key 'policy.depth'.*policy takes hidden_sizes"),
        ("+policy.dtype=float64", "unknown key 'policy.dtype'.*policy takes hidden_sizes"),
        ("+policy.spec=3", "unknown key 'policy.spec'"),
        ("+adaptation.inner_optimizer=3", "unknown key 'adaptation.inner_optimizer'"),
        ("+objective.ranks=2", "unknown key 'objective.ranks'.*objective takes step_weights, clip, value_weight"),
        ("+tracker.mode=online", "unknown key 'tracker.mode'.*tracker takes none"),
        ("~policy.activation", "missing key 'policy.activation'"),
        ("tracker.mode=on", "tracker.mode='on'.*did you mean 'online'"),
    ],
)
def test_a_bad_value_names_the_field_the_value_and_what_is_allowed(override, message):
    with pytest.raises(ValueError, match=message):
        wiring.assemble(wiring.compose([*(["tracker=none"] if "+tracker" in override else []), override]))


def test_the_choice_of_tasks_does_not_move_the_initialisation():
    """Every part draws from a stream of its own."""
    one = wiring.assemble(wiring.compose()).learner.theta
    other = wiring.assemble(wiring.compose(["tasks.horizon=7", "adaptation=three_steps"])).learner.theta
    assert all(torch.equal(one[name], other[name]) for name in one)
    different = wiring.assemble(wiring.compose(["seed=1"])).learner.theta
    assert not torch.equal(one["layers.0.weight"], different["layers.0.weight"])


def test_a_user_s_own_config_folder_adds_options(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "short.yaml").write_text("defaults: [navigation_2d, _self_]\nhorizon: 3\n")
    wiring.check_overrides(["tasks=short"], str(tmp_path))
    assert wiring.assemble(wiring.compose(["tasks=short"], str(tmp_path))).learner.task_distribution.spec.horizon == 3
