"""From a configuration to the parts of a run, in the order in which they need each other."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig

from metarl_exp.algorithm.evaluation import Evaluation
from metarl_exp.algorithm.learner import Learner
from metarl_exp.process.ranks import ALONE, Ranks
from metarl_exp.process.streams import streams
from metarl_exp.runs.checkpoint import load_theta
from metarl_exp.runs.tracker import Tracker
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.components import component
from metarl_exp.wiring.devices import device_named
from metarl_exp.wiring.distributions import task_distribution, task_settings
from metarl_exp.wiring.plausible import ANY_MACHINE, require_adapting, require_plausible, require_room
from metarl_exp.wiring.policies import policy_of
from metarl_exp.wiring.staleness import refuse_stale_start

# Tasks that were rehearsed in this process, by their class and settings: one command may build its learner twice.
_rehearsed: set[tuple[type, str]] = set()


class Parts(NamedTuple):
    """Parts of one run."""

    learner: Learner
    evaluation: Evaluation
    tracker: Tracker


def assemble(config: DictConfig, ranks: Ranks = ALONE, memory: float = ANY_MACHINE) -> Parts:
    """Wire one run, in the order in which parts need each other, for one of its ranks.

    Raises ValueError for anything out of range, and for a batch that needs more `memory`, in bytes: that of the machine
    which trains, where it is this one.
    """
    require_plausible(config)
    generators = streams(config.seed)
    tasks = task_distribution(config)
    rehearsed = class_of("tasks", config.tasks), task_settings(config)
    policy = policy_of(config.policy, tasks.spec, generators.initialisation, torch.float32)
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
    learner = Learner(
        task_distribution=tasks,
        policy=policy,
        advantage=component("advantage", config.advantage, policy=policy),
        adaptation=adaptation,
        objective=objective,
        aggregator=component("aggregator", config.aggregator),
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
        refuse_stale_start(Path(config.init_from), config)
    return Parts(learner, evaluation, component("tracker", config.tracker))


def training_steps(config: DictConfig) -> int:
    """The most environment steps that a run takes to train; episodes that end early make it fewer."""
    batches = 1 + config.adaptation.inner_steps
    horizon = task_distribution(config).spec.horizon
    return config.iterations * config.meta_batch_size * config.trajectories * batches * horizon
