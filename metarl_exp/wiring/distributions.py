"""Task distributions from what was typed or stored: their node, and the object as the policy meets it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from metarl_exp.tasks.base import TaskDistribution, Traits
from metarl_exp.tasks.guard import close, limited
from metarl_exp.tasks.oracle import Oracle
from metarl_exp.tasks.trials import Trials
from metarl_exp.validation import nearest
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.components import component
from metarl_exp.wiring.composing import compose, options
from metarl_exp.wiring.overrides import check_overrides

_discrete: dict[str, bool] = {}  # of distributions that were made in this process, by their settings


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


def task_distribution(config: DictConfig) -> TaskDistribution:
    """The tasks as the policy meets them: told, if it is an oracle; then as trials, if there are any."""
    tasks = tasks_of(config.tasks, config.environment_timeout)
    if config.oracle:
        tasks = Oracle(tasks)
    return tasks if config.trial_episodes is None else Trials(tasks, config.trial_episodes)


def tasks_of(node: DictConfig, limit: float) -> TaskDistribution:
    """The distribution that a node describes. EnvironmentFailure if making it exits, or takes more than `limit` s."""
    with limited(f"making the tasks ({node.get('_target_')})", limit):
        made = component("tasks", node)
    discrete, declared = made.spec.discrete, Traits.of(type(made)).discrete
    if isinstance(declared, bool) and declared != discrete:
        raise ValueError(f"{node['_target_']}: its class says discrete={declared}, its spec discrete={discrete}")
    _discrete[_settings(node)] = discrete
    return made


def discrete_actions(config: DictConfig) -> bool:
    """Whether the actions of these tasks are discrete, as their class says, or they themselves once they are made."""
    declared, settings = Traits.of(class_of("tasks", config.tasks)).discrete, _settings(config.tasks)
    if isinstance(declared, bool):
        return declared
    if settings not in _discrete:
        close(tasks_of(config.tasks, config.environment_timeout), config.environment_timeout)
    return _discrete[settings]


def _settings(node: DictConfig) -> str:
    return json.dumps(OmegaConf.to_container(node, resolve=True))


def task_settings(config: DictConfig) -> str:
    """All that `task_distribution` reads, and what a rehearsal asks for."""
    return json.dumps([_settings(config.tasks), config.oracle, config.trial_episodes, config.allow_stateful])
