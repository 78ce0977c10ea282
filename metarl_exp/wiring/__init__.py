"""From a configuration to objects: the fingerprint, and the wiring.

What was typed is checked in `overrides`, and composed in `composing`. With `train.py` this package alone knows Hydra
and OmegaConf.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from metarl_exp.algorithm.evaluation import Evaluation
from metarl_exp.algorithm.meta_learner import MetaLearner
from metarl_exp.checker.identity import Identified, identified
from metarl_exp.process.ranks import ALONE, Ranks
from metarl_exp.process.streams import streams
from metarl_exp.runs import provenance, sources
from metarl_exp.runs.checkpoint import load_theta
from metarl_exp.runs.files import DamagedFile, file_name
from metarl_exp.runs.run_folder import FolderRefused, RunFolder
from metarl_exp.runs.tracker import Tracker
from metarl_exp.tasks.base import Closeable, TaskDistribution
from metarl_exp.tasks.guard import guarded, limited
from metarl_exp.tasks.oracle import Oracle
from metarl_exp.tasks.trials import Trials
from metarl_exp.validation import require_flag
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.components import component as component
from metarl_exp.wiring.components import task_node as task_node
from metarl_exp.wiring.composing import canonical as canonical
from metarl_exp.wiring.composing import compose as compose
from metarl_exp.wiring.composing import config_dir as config_dir
from metarl_exp.wiring.composing import leaves, values
from metarl_exp.wiring.composing import options as options
from metarl_exp.wiring.devices import device_continued as device_continued
from metarl_exp.wiring.devices import device_named, device_to_read_on
from metarl_exp.wiring.moved import first
from metarl_exp.wiring.overrides import check_overrides as check_overrides
from metarl_exp.wiring.plausible import ANY_MACHINE, require_adapting, require_plausible, require_room
from metarl_exp.wiring.stored import configuration
from metarl_exp.wiring.stored import evaluation_with as evaluation_with
from metarl_exp.wiring.stored import theta_iteration as theta_iteration
from metarl_exp.wiring.stored import typed as typed
from metarl_exp.wiring.storing import store_config as store_config
from metarl_exp.wiring.trust import consequences as consequences
from metarl_exp.wiring.trust import foreign_code as foreign_code
from metarl_exp.wiring.trust import refuse_unless_data

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


def _fingerprinted(config: DictConfig, like: DictConfig | None = None) -> dict[str, Any]:
    """Values by dotted keys, but for neutral ones, and those without effect on the tasks of `like`."""
    tree = OmegaConf.to_container(
        OmegaConf.masked_copy(config, [str(key) for key in config if key not in NOT_IN_FINGERPRINT]), resolve=True
    )
    idle = _without_effect(like or config)
    found = ((key, value) for key, value in leaves(tree) if key.split(".")[:2] not in idle)
    named = ((key, first(str(value)) if key.endswith("._target_") else value) for key, value in found)
    return {key: value for key, value in named if not _is_neutral(key, value)}


def _is_neutral(key: str, value: Any) -> bool:
    return key in NEUTRAL and value == NEUTRAL[key]


def _without_effect(config: DictConfig) -> list[list[str]]:
    """The keys of which a task distribution says that they cannot change its numbers, such as that of its workers."""
    kind = class_of("tasks", config.tasks)
    return [["tasks", name] for name in getattr(kind, "without_effect", ())]


def experiment_name(config: DictConfig) -> str:
    """The chosen experiment, as a file can be called, or `default`; only known while Hydra runs."""
    choice = OmegaConf.select(config, "hydra.runtime.choices.experiment")
    return file_name(str(choice).replace("/", "-")) if choice not in (None, "null") else "default"


def run_name(config: DictConfig) -> str:
    """Name of a run's folder: experiment, fingerprint and seed."""
    return f"{experiment_name(config)}-{fingerprint(config)}-seed{config.seed}"


OmegaConf.register_new_resolver("run_folder", lambda *, _root_: run_name(_root_), replace=True)


def build(config: DictConfig, ranks: Ranks = ALONE, memory: float = ANY_MACHINE) -> Parts:
    """Wire one run, in the order in which parts need each other, for one of its ranks.

    Raises ValueError for anything out of range, and for a batch that needs more `memory`, in bytes: that of the machine
    which trains, where it is this one.
    """
    require_plausible(config)
    generators = streams(config.seed)
    tasks = task_distribution(config)
    rehearsed = class_of("tasks", config.tasks), task_settings(config)
    initialised = {"generator": generators.initialisation, "dtype": torch.float32}
    policy = component("policy", config.policy, spec=tasks.spec, **initialised)
    objective = component("objective", config.objective, ranks=ranks)
    inner_optimizer = component("inner_optimizer", config.inner_optimizer)
    adaptation = component(
        "adaptation",
        config.adaptation,
        policy=policy.to(device_named(config.device)),
        inner_optimizer=inner_optimizer,
        fast_weights=component("fast_weights", config.fast_weights, policy=policy),
        inner_loss=objective.inner_loss,
    )
    evaluation = component("evaluation", config.evaluation)
    require_adapting(config, inner_optimizer.lr, learned=bool(adaptation.step_sizes))
    require_room(config, tasks.spec, sum(p.numel() for p in policy.parameters()), memory * ranks.size)
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
        _refuse_stale_start(Path(config.init_from), config)
    return Parts(learner, evaluation, component("tracker", config.tracker))


def task_distribution(config: DictConfig) -> TaskDistribution:
    """The tasks as the policy meets them: told, if it is an oracle; then as trials, if there are any."""
    tasks = tasks_of(config.tasks, config.environment_timeout)
    if config.oracle:
        tasks = Oracle(tasks)
    return tasks if config.trial_episodes is None else Trials(tasks, config.trial_episodes)


def tasks_of(node: DictConfig, limit: float) -> TaskDistribution:
    """The distribution that a node describes. EnvironmentFailure if making it exits, or takes more than `limit` s."""
    with limited(f"making the tasks ({node.get('_target_')})", limit):
        return component("tasks", node)


def task_settings(config: DictConfig) -> str:
    """All that `task_distribution` reads, and what a rehearsal asks for."""
    settings = [config.oracle, config.trial_episodes, config.allow_stateful]
    return json.dumps([OmegaConf.to_container(config.tasks, resolve=True), *settings])


def training_steps(config: DictConfig) -> int:
    """The most environment steps that a run takes to train; episodes that end early make it fewer."""
    batches = 1 + config.adaptation.inner_steps
    horizon = task_distribution(config).spec.horizon
    return config.iterations * config.meta_batch_size * config.trajectories * batches * horizon


def environment_identity(config: DictConfig) -> dict[str, Any]:
    """Identity of this run's environments; see `identity`."""
    return environments(config).environment


def environments(config: DictConfig) -> Identified:
    """Record of a run's environments, from a distribution made for it.

    Raises EnvironmentFailure if the environments do.
    """
    given: Any = OmegaConf.to_container(config.tasks, resolve=True)
    idle, name = [key for _, key in _without_effect(config)], given.pop("_target_")
    settings = {k: v for k, v in given.items() if k not in idle and not _is_neutral(f"tasks.{k}", v)}
    distribution = tasks_of(config.tasks, config.environment_timeout)
    with guarded("the golden rollout", config.environment_timeout):
        found = identified(name, distribution, settings)
    if isinstance(distribution, Closeable):
        distribution.close()
    return found


def differing_keys(config: DictConfig, other: DictConfig) -> list[str]:
    """Fingerprinted keys in which two configurations differ, as «key: one ≠ other»; the other is data alone."""
    one, two = _fingerprinted(config), _fingerprinted(other, like=config)
    return [f"{key}: {one.get(key)} ≠ {two.get(key)}" for key in sorted(one | two) if one.get(key) != two.get(key)]


def refuse_other_run(config: DictConfig, folder: Path) -> None:
    """Raise FolderRefused if a folder holds a run of another configuration, seed or code, naming what differs.

    What is missing or damaged is not compared: the run makes it again, or says why it cannot.
    """
    with suppress(FileNotFoundError, DamagedFile):
        stored = _stored(folder)
        differing = differing_keys(config, stored)
        if stored.seed != config.seed:
            differing.append(f"seed: {config.seed} ≠ {stored.seed}")
        if differing:
            raise FolderRefused(f"{folder} holds another run: {'; '.join(differing)}")
    with suppress(DamagedFile):
        if changed := _changed_since(folder, config):
            raise FolderRefused(f"{changed}; restart=true runs it again, in a new folder")


def code(config: DictConfig, distribution: TaskDistribution) -> dict[str, str]:
    """Digests of the modules of one's own that a configuration leads to, by the names in it; see `sources`.

    A distribution may name further ones: `written_in`, the modules in which its environments are written.
    """
    while isinstance(distribution, Oracle | Trials):
        distribution = distribution.of
    names = (value for _, value in values(_fingerprinted(config)) if isinstance(value, str))
    return sources.digests([*names, *getattr(distribution, "written_in", ())])


def _changed_since(run: Path, config: DictConfig, made: bool = True) -> str | None:
    """A sentence on what has changed since a run; None if nothing has, or nothing is known of it.

    Environments are compared if they may be `made` from this configuration.
    """
    record = RunFolder(run).provenance()
    identify = partial(environments, config) if made and not config.allow_stateful else None
    found = provenance.changes(record, identify) if record else []
    return f"{run} is a run of other code: {'; '.join(found)}" if found else None


def _stored(run: str | Path) -> DictConfig:
    """The configuration of a run as data, with the keys that there are today. Raises as `configuration` does."""
    config = configuration(Path(run))
    for key, value in ADDED.items():
        if OmegaConf.select(config, key) is None:  # stored before there was this key
            OmegaConf.update(config, key, value, force_add=True)
    return config


def load_config(run: str | Path, trust: bool = False) -> DictConfig:
    """The configuration that a run was made from, for it to be built again.

    Raises ValueError if that would run foreign code, or follow links out of the folder, unless it is to be trusted.
    """
    config = _stored(run)
    if not trust:
        refuse_unless_data(Path(run), config)
    return config


def load(run: str | Path, which: str = "best", stale: bool = False, trust: bool = False) -> MetaLearner:
    """The learner of a run with its θ: `which` is `best`, `latest` or `initial`. Its task stream starts afresh.

    It is on the run's device, or on the CPU where there is no such device. Raises ValueError if code or environments
    have changed since the run, unless it may be `stale`; and, without `trust`, if the folder leads to code that comes
    with neither this package nor Gymnasium, or has links to somewhere else.
    """
    require_flag("stale", stale)
    require_flag("trust", trust)
    config = load_config(run, trust)
    if not stale and (changed := _changed_since(Path(run), config)):
        raise ValueError(f"{changed}; run it again (restart=true), or take it as it is (stale=true)")
    config.device = str(device_to_read_on(config.device))
    if which != "initial":
        config.init_from = None  # where the run started from: its θ is its own
    learner = build(config).learner
    if which != "initial":
        learner.theta = load_theta(Path(run), which, like=learner.theta)
    return learner


def _refuse_stale_start(run: Path, config: DictConfig) -> None:
    """Raise ValueError if code or environments have changed since the run that another one is to start from.

    A folder with a θ alone cannot tell. Its environments are made, and compared, if they lead to no other foreign code
    than those of the run that is to start.
    """
    if (run / ".hydra" / "config.yaml").is_file():
        before = _stored(run)
        if changed := _changed_since(run, before, made=set(foreign_code(before)) <= set(foreign_code(config))):
            raise ValueError(f"{changed}; run it again (restart=true), and start from its new folder")
