"""From a configuration to objects: the fingerprint, and the wiring.

What was typed is checked in `overrides`, and composed in `composing`. With `train.py` this package alone knows Hydra
and OmegaConf.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from metarl_exp.build.composing import canonical as canonical
from metarl_exp.build.composing import compose, leaves, options
from metarl_exp.build.composing import config_dir as config_dir
from metarl_exp.build.devices import device_continued as device_continued
from metarl_exp.build.devices import device_named, device_to_read_on
from metarl_exp.build.overrides import check_overrides
from metarl_exp.checkpoint import load_theta, read
from metarl_exp.evaluation import Evaluation
from metarl_exp.identity import identity
from metarl_exp.meta_learner import MetaLearner
from metarl_exp.ranks import ALONE, Ranks
from metarl_exp.run_folder import FolderRefused
from metarl_exp.streams import streams
from metarl_exp.tasks.base import Closeable, TaskDistribution
from metarl_exp.tasks.guard import guarded
from metarl_exp.tasks.oracle import Oracle
from metarl_exp.tasks.trials import Trials
from metarl_exp.tracker import Tracker
from metarl_exp.validation import nearest, require_flag, require_integer, require_number

# Keys that cannot change a run's numbers (beyond rounding). `seed` is beside the fingerprint in a run's name.
NOT_IN_FINGERPRINT = (
    "seed", "tracker", "device", "threads", "environment_timeout", "rank_timeout", "restart", "replay",
    "fail_fast", "output_root", "hydra",
)  # fmt: skip

# Keys that were added after runs had been stored, with the value at which they change nothing.
ADDED: dict[str, Any] = {
    "oracle": False,
    "trial_episodes": None,
    "allow_stateful": False,
    "rank_timeout": 600.0,
    "evaluation.multiples": [1.0],
    "combiner._target_": "metarl_exp.combiner.Mean",
}
# A key at its neutral value is left out of the fingerprint, so that it equals that of a run which never had it. Beside
# those above, these are settings that parts do without.
NEUTRAL: dict[str, Any] = ADDED | {
    "objective.step_weights": None,
    "objective.clip": None,
    "objective.value_weight": None,
    "adaptation.value_weight": None,
    "outer_optimizer.scheduler": None,
    "outer_optimizer.curvature_fraction": 1.0,
    "outer_optimizer.max_gradient_norm": None,
    "tasks.engine": "c",
}


# Tasks that were rehearsed in this process, by their class and settings: one command may build its learner twice.
_rehearsed: set[tuple[Any, str]] = set()


class Parts(NamedTuple):
    """What one run is made of."""

    learner: MetaLearner
    evaluation: Evaluation
    tracker: Tracker


def fingerprint(config: DictConfig) -> str:
    """Ten hex digits of everything that can change a run's numbers, except its seed."""
    return hashlib.sha256(json.dumps(_fingerprinted(config), sort_keys=True).encode()).hexdigest()[:10]


def _fingerprinted(config: DictConfig) -> dict[str, Any]:
    tree = OmegaConf.to_container(
        OmegaConf.masked_copy(config, [str(key) for key in config if key not in NOT_IN_FINGERPRINT]), resolve=True
    )
    idle = _without_effect(config)
    found = ((key, value) for key, value in leaves(tree) if key.split(".")[:2] not in idle)
    return {key: value for key, value in found if not _is_neutral(key, value)}


def _is_neutral(key: str, value: Any) -> bool:
    return key in NEUTRAL and value == NEUTRAL[key]


def _without_effect(config: DictConfig) -> list[list[str]]:
    """The keys of which a task distribution says that they cannot change its numbers, such as that of its workers."""
    kind = located("tasks._target_", config.tasks["_target_"])
    return [["tasks", name] for name in getattr(kind, "without_effect", ())]


def experiment_name(config: DictConfig) -> str:
    """The chosen experiment, or `default`; only known while Hydra runs."""
    choice = OmegaConf.select(config, "hydra.runtime.choices.experiment")
    return str(choice).replace("/", "-") if choice not in (None, "null") else "default"


def run_name(config: DictConfig) -> str:
    """Name of a run's folder: experiment, fingerprint and seed."""
    return f"{experiment_name(config)}-{fingerprint(config)}-seed{config.seed}"


OmegaConf.register_new_resolver("run_folder", lambda *, _root_: run_name(_root_), replace=True)


def component(group: str, node: DictConfig, **wired: Any) -> Any:
    """Construct the component of a group from its node and the parts it is wired to.

    Raises ValueError for a class that does not exist, and for keys that its constructor does not take, or lacks.
    """
    target = located(f"{group}._target_", node["_target_"])
    keys = [str(key) for key in node if key != "_target_"]
    takes = inspect.signature(target).parameters
    for key in keys:
        if key not in takes:
            allowed = [name for name, p in takes.items() if name not in wired and p.default is p.empty]
            raise ValueError(f"unknown key '{group}.{key}'{nearest(key, allowed)}: {group} takes {', '.join(allowed)}")
    missing = [n for n, p in takes.items() if p.default is p.empty and n not in keys and n not in wired]
    if missing:
        raise ValueError(f"missing key '{group}.{missing[0]}' of {node['_target_']}")
    return instantiate(node, _partial_=True, _convert_="all")(**{k: v for k, v in wired.items() if k in takes})


def located(field: str, target: str) -> Any:
    """What a dotted name stands for; modules of the current folder count, as with `python -m`. Raises ValueError."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    module, _, name = target.rpartition(".")
    try:
        found = vars(import_module(module))
    except (ModuleNotFoundError, ValueError) as error:
        raise ValueError(f"{field}={target!r}: {error}") from error
    if name not in found:
        raise ValueError(f"{field}={target!r}: {module} has no {name!r}{nearest(name, found)}")
    return found[name]


def build(config: DictConfig, ranks: Ranks = ALONE) -> Parts:
    """Wire one run, in the order in which parts need each other, for one of its ranks.

    Raises ValueError for anything out of range.
    """
    require_integer("seed", config.seed, low=0)
    require_integer("iterations", config.iterations, low=0)
    require_flag("restart", config.restart)
    require_flag("replay", config.get("replay", False))  # runs were stored before there was this key
    if config.threads is not None:
        require_integer("threads", config.threads, low=1)
    require_number("rank_timeout", config.rank_timeout, above=0)
    generators = streams(config.seed)
    tasks = task_distribution(config)
    rehearsed = located("tasks._target_", config.tasks["_target_"]), _task_settings(config)
    policy = component("policy", config.policy, spec=tasks.spec, generator=generators.initialisation)
    objective = component("objective", config.objective, ranks=ranks)
    adaptation = component(
        "adaptation",
        config.adaptation,
        policy=policy.to(device_named(config.device)),
        inner_optimizer=component("inner_optimizer", config.inner_optimizer),
        fast_weights=component("fast_weights", config.fast_weights, policy=policy),
        inner_loss=objective.inner_loss,
    )
    learner = MetaLearner.from_parts(
        task_distribution=tasks,
        policy=policy,
        advantage=component("advantage", config.advantage, policy=policy),
        adaptation=adaptation,
        objective=objective,
        combiner=component("combiner", config.combiner),
        outer_optimizer=component("outer_optimizer", config.outer_optimizer),
        meta_batch_size=config.meta_batch_size,
        trajectories=config.trajectories,
        streams=generators,
        environment_timeout=config.environment_timeout,
        ranks=ranks,
        allow_stateful=config.allow_stateful,
        rehearsed=rehearsed in _rehearsed,
    )
    _rehearsed.add(rehearsed)
    if config.init_from is not None:
        learner.theta = load_theta(Path(config.init_from), "best", like=learner.theta)
    return Parts(learner, component("evaluation", config.evaluation), component("tracker", config.tracker))


def task_distribution(config: DictConfig) -> TaskDistribution:
    """The tasks as the policy meets them: told, if it is an oracle; then as trials, if there are any."""
    require_flag("oracle", config.oracle)
    tasks = component("tasks", config.tasks)
    if config.oracle:
        tasks = Oracle(tasks)
    return tasks if config.trial_episodes is None else Trials(tasks, config.trial_episodes)


def _task_settings(config: DictConfig) -> str:
    """All that `task_distribution` reads, and what a rehearsal asks for."""
    settings = [config.oracle, config.trial_episodes, config.allow_stateful]
    return json.dumps([OmegaConf.to_container(config.tasks, resolve=True), *settings])


def training_steps(config: DictConfig) -> int:
    """The most environment steps that a run takes to train; episodes that end early make it fewer."""
    batches = 1 + config.adaptation.inner_steps
    horizon = task_distribution(config).spec.horizon
    return config.iterations * config.meta_batch_size * config.trajectories * batches * horizon


def task_node(name: str, settings: Sequence[str], user_dir: str | None = None) -> DictConfig:
    """The node of a task distribution with `key=value` settings.

    `name` is an option of tasks, a YAML file with a `_target_`, or a dotted class. Raises ValueError if it is none.
    """
    offered = options(user_dir)["tasks"]
    if name in offered:
        added = [f"+tasks.{setting[1:]}" if setting.startswith("+") else f"tasks.{setting}" for setting in settings]
        check_overrides([f"tasks={name}", *added], user_dir)
        return compose([f"tasks={name}", *added], user_dir).tasks
    given = OmegaConf.from_dotlist([setting.removeprefix("+") for setting in settings])
    if name.endswith((".yaml", ".yml")):
        node = OmegaConf.load(name) if Path(name).is_file() else None
        if not isinstance(node, DictConfig) or "_target_" not in node or "defaults" in node:
            reason = "no such file" if node is None else "must be a node with a _target_ and without defaults"
            raise ValueError(f"{name}: {reason}")
        return OmegaConf.merge(node, given)  # type: ignore[return-value]
    if "." not in name:
        raise ValueError(
            f"{name!r} is not an option of tasks{nearest(name, offered)}, nor a YAML file or a dotted class; "
            f"options are {', '.join(offered)}"
        )
    return OmegaConf.merge({"_target_": name}, given)  # type: ignore[return-value]


def environment_identity(config: DictConfig) -> dict[str, Any]:
    """What tells this run's environments from others; see `identity`. Made from a distribution of its own.

    Raises EnvironmentFailure if the environments do.
    """
    given: Any = OmegaConf.to_container(config.tasks, resolve=True)
    idle, name = [key for _, key in _without_effect(config)], given.pop("_target_")
    settings = {k: v for k, v in given.items() if k not in idle and not _is_neutral(f"tasks.{k}", v)}
    distribution = component("tasks", config.tasks)
    with guarded("the golden rollout", config.environment_timeout):
        found = identity(name, distribution, settings)
    if isinstance(distribution, Closeable):
        distribution.close()
    return found


def differing_keys(config: DictConfig, other: DictConfig) -> list[str]:
    """Fingerprinted keys in which two configurations differ, as «key: one ≠ other»."""
    one, two = _fingerprinted(config), _fingerprinted(other)
    return [f"{key}: {one.get(key)} ≠ {two.get(key)}" for key in sorted(one | two) if one.get(key) != two.get(key)]


def refuse_other_run(config: DictConfig, folder: Path) -> None:
    """Raise FolderRefused if a folder holds a run of another configuration or seed, naming the keys that differ."""
    if (folder / ".hydra" / "config.yaml").is_file():
        stored = load_config(folder)
        differing = differing_keys(config, stored)
        if stored.seed != config.seed:
            differing.append(f"seed: {config.seed} ≠ {stored.seed}")
        if differing:
            raise FolderRefused(f"{folder} holds another run: {'; '.join(differing)}")


def load_config(run: str | Path) -> DictConfig:
    """The configuration that a run was made from."""
    path = Path(run) / ".hydra" / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{run} is not the folder of a run: it has no {path.relative_to(run)}")
    config = OmegaConf.load(path)
    for key, value in ADDED.items():
        if OmegaConf.select(config, key) is None:  # stored before there was this key
            OmegaConf.update(config, key, value, force_add=True)
    return config  # type: ignore[return-value]


def load(run: str | Path, which: str = "best") -> MetaLearner:
    """The learner of a run with its θ: `which` is `best`, `latest` or `initial`. Its task stream starts afresh.

    It is on the run's device, or on the CPU where there is no such device.
    """
    config = load_config(run)
    config.device = str(device_to_read_on(config.device))
    learner = build(config).learner
    if which != "initial":
        learner.theta = load_theta(Path(run), which, like=learner.theta)
    return learner


def typed(text: str) -> Any:
    """The value that a text means, as on a command line: a number, a list, true, null or a string."""
    return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[index]


def evaluation_with(config: DictConfig, settings: dict[str, str], beside: Sequence[str] = ()) -> Evaluation:
    """A run's evaluation with some of its keys set anew, from text; `beside` are keys that the caller takes itself."""
    node = OmegaConf.to_container(config.evaluation, resolve=True)
    assert isinstance(node, dict)
    keys = [*beside, *(str(k) for k in node if k != "_target_")]
    for key, text in settings.items():
        if key not in keys:
            raise ValueError(f"unknown key {key!r}{nearest(key, keys)}: keys are {', '.join(keys)}")
        node[key] = typed(text)
    return component("evaluation", OmegaConf.create(node))


def theta_iteration(run: str | Path, which: str) -> int:
    """How many outer steps are behind a θ of a run."""
    return 0 if which == "initial" else read(Path(run) / "checkpoints" / f"{which}.pt")["iteration"]
