"""The configuration and the code say the same: every option is listed, composed, bound and constructed."""

import inspect
import re
from itertools import takewhile
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from metarl_exp import MetaLearner, wiring
from metarl_exp.policy import GaussianHead
from metarl_exp.runs.provenance import RESULTS_VERSION
from metarl_exp.wiring.composing import leaves
from metarl_exp.wiring.distributions import discrete_actions
from metarl_exp.wiring.overrides import check_method

ROOT = Path(__file__).parents[2]
CONF = wiring.config_dir()
OPTIONS = sorted(str(f.relative_to(CONF).with_suffix("")) for f in CONF.rglob("*.yaml") if f.parent != CONF)
EXPERIMENTS = [option.removeprefix("experiment/") for option in OPTIONS if option.startswith("experiment/")]
METHODS = [option.removeprefix("method/") for option in OPTIONS if option.startswith("method/")]
COMPONENTS = [option.split("/", 1) for option in OPTIONS if not option.startswith(("experiment/", "method/", "hydra/"))]
CRITIC = {"advantage": "critic", "objective.value_weight": "0.5", "outer_optimizer": "adam"}
# Beside an option, so that it builds.
NEEDS = {
    ("objective", "reptile"): {"adaptation.order": "first", "outer_optimizer": "adam"},
    ("objective", "joint"): {"adaptation": "none"},
    ("tasks", "gymnasium"): {
        "tasks.id": "Pendulum-v1",
        "tasks.horizon": "9",
        "tasks.vary": "{mass: {attribute: m, uniform: [0.5, 1.5]}}",
        "inner_optimizer.lr": "1",
    },
    ("outer_optimizer", "ppo"): {"objective": "promp"},
    ("fast_weights", "context"): {"policy": "mlp_context"},
    ("advantage", "critic"): CRITIC | {"policy": "mlp_critic"},
    ("policy", "mlp_critic"): CRITIC,
    ("policy", "rnn_critic"): CRITIC,
    ("policy", "conv"): {"policy.image": "[1,1,2]", "policy.kernel_size": "1"},
}
WIRED = {
    "policy": {"spec", "generator", "dtype"},
    "advantage": {"policy"},
    "objective": {"ranks"},
    "fast_weights": {"policy"},
    "adaptation": {"policy", "inner_optimizer", "fast_weights", "inner_loss"},
}


def test_the_listing_sees_every_option():
    """A listing that does not descend would see a few and pass (torchtune: 3 of 197)."""
    assert len(COMPONENTS) == 71
    assert "finn2017/navigation_2d" in EXPERIMENTS
    assert "anil" in METHODS
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert {group for group, _ in COMPONENTS} == groups - {"experiment", "method", "hydra"}


@pytest.mark.parametrize(("group", "option"), COMPONENTS, ids="/".join)
def test_an_option_has_exactly_the_keys_of_its_constructor(group, option):
    node = wiring.compose([f"{group}={option}"])[group]
    arguments = set(inspect.signature(get_object(node["_target_"])).parameters)
    if group == "policy":
        arguments = arguments - {"head"} | set(inspect.signature(GaussianHead).parameters)
    assert set(node) - {"_target_"} == arguments - WIRED.get(group, set())
    assert group in node["_target_"].split(".")


@pytest.mark.parametrize(("group", "option"), COMPONENTS, ids="/".join)
def test_an_option_builds(group, option):
    """The default policy with all tasks, too."""
    chosen = {group: option}
    if option.startswith("metaworld"):
        # Its library has an environment of its own, where `make test-metaworld` builds these.
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'metarl_exp\[metaworld\]'"):
            wiring.assemble(wiring.compose([f"tasks={option}"]))
        return
    chosen |= NEEDS.get((group, option), {})
    config = composed(chosen)
    tasks = wiring.assemble(config).learner.task_distribution
    assert discrete_actions(config) is tasks.spec.discrete
    assert wiring.foreign_code(config) == []  # its runs are read without --trust


def composed(chosen: dict[str, str]) -> DictConfig:
    return wiring.compose([f"{key}={value}" for key, value in chosen.items()])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_builds_and_states_only_differences(name):
    config = wiring.compose([f"experiment={name}"])
    wiring.assemble(config)
    assert wiring.foreign_code(config) == []
    overlay = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
    overlay.pop("defaults", None)
    groups = [line.split()[-2:] for line in defaults_of(CONF / "experiment" / f"{name}.yaml")]
    without = wiring.compose([f"{group.strip('/:')}={option}" for group, option in groups])
    for key, value in leaves(OmegaConf.to_container(overlay)):
        assert wiring.canonical(OmegaConf.select(without, key)) != value, f"{name} repeats the default of {key}"


def defaults_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip().startswith("- override /")]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_begins_with_a_command_that_runs(name):
    """Its own, in few lines; on discrete tasks, too."""
    lines = (CONF / "method" / f"{name}.yaml").read_text().splitlines()
    program, *overrides = lines[1].removeprefix("# ").split()
    assert (program, overrides[0]) == ("metarl-train", f"method={name}")
    assert 1 <= len([line for line in lines if not line.startswith(("#", "defaults:"))]) <= 7
    require_trainable(overrides)
    require_trainable([*overrides, "tasks=cartpole_hidden_sign"])


def require_trainable(overrides: list[str]) -> None:
    wiring.check_overrides(overrides)
    config = wiring.compose(overrides, with_hydra=True)
    check_method(config)
    parts = wiring.assemble(config)
    parts.evaluation.check_selection(parts.learner)


def test_maml_is_the_default_and_a_method_wins_over_an_experiment_and_a_typed_value_over_both():
    assert wiring.fingerprint(wiring.compose(["method=maml"])) == wiring.fingerprint(wiring.compose())
    chosen = ["experiment=gymnasium/pendulum", "method=promp"]
    for overrides in (chosen, chosen[::-1]):
        config = wiring.compose(overrides)
        assert config.outer_optimizer._target_.endswith(".PPO")
        assert config.outer_optimizer.max_kl is None  # the experiment's is the radius of a trust region
        assert config.advantage.gae_lambda == 0.97
    assert wiring.compose([*chosen, "outer_optimizer=adam"]).outer_optimizer.optimizer == "Adam"
    assert wiring.compose(["method=oracle", "evaluation.steps=2"]).evaluation.steps == 2


def test_a_method_of_gradient_steps_on_an_experiment_without_is_refused():
    chosen = ["experiment=duan2016/rl2_bandits", "method=maml"]
    with pytest.raises(ValueError, match="method=maml with adaptation.inner_steps=0.*adaptation=one_step trial_episod"):
        check_method(wiring.compose(chosen, with_hydra=True))
    require_trainable([*chosen, "adaptation=one_step", "trial_episodes=null"])


SOURCE = re.compile(r"ours|\[[a-z]+\d{4}|nominal")


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF)))
def test_every_number_has_a_source(path):
    """A number cites its source or says «ours», on its line or in the comment that heads the file."""
    lines = path.read_text().splitlines()
    heading = " ".join(takewhile(lambda line: line.startswith("#"), lines))
    for line in (line for line in lines if not line.startswith("#")):
        value, _, comment = line.partition(":")[2].partition("#")
        if re.search(r"\d", value) and not re.search(r"\$|metarl_exp|trpo_|navigation_2d", value):
            assert SOURCE.search(comment) or SOURCE.search(heading), f"{path.name}: {line}"


def test_the_python_defaults_are_those_of_the_configuration():
    """`MetaLearner` has the only defaults in Python; the configuration owns the same numbers."""
    config = wiring.compose()
    signature = inspect.signature(MetaLearner.__init__).parameters
    assert signature["trajectories"].default == config.trajectories
    assert signature["seed"].default == config.seed
    learner = MetaLearner(
        *[getattr(wiring.assemble(config).learner, name) for name in ("task_distribution", "policy")], 0.1, 1e-3, 1, 2
    )
    assert vars(learner.advantage) == vars(wiring.component("advantage", config.advantage))
    assert learner.adaptation.order == config.adaptation.order


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "smoke"])
def test_every_preset_has_a_stored_result(name):
    """Trap 20: of this very configuration, by its fingerprint."""
    stored = OmegaConf.load(ROOT / "experiments" / name / "provenance.json")
    assert stored.fingerprint == wiring.fingerprint(wiring.compose([f"experiment={name}"]))
    assert stored.results_version == RESULTS_VERSION
    assert (ROOT / "experiments" / name / "evaluation.json").is_file()
