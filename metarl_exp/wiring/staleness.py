"""Whether a stored run is still one of this configuration, of today's code and of today's environments."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from metarl_exp.checker.identity import Identified, identified
from metarl_exp.runs import provenance, sources
from metarl_exp.runs.files import DamagedFile
from metarl_exp.runs.run_folder import FolderRefused, RunFolder
from metarl_exp.tasks.base import TaskDistribution, Traits
from metarl_exp.tasks.guard import close, guarded
from metarl_exp.tasks.oracle import Oracle
from metarl_exp.tasks.trials import Trials
from metarl_exp.wiring.composing import values
from metarl_exp.wiring.config_file import stored_config
from metarl_exp.wiring.distributions import tasks_of
from metarl_exp.wiring.fingerprints import differing_keys, effective, fingerprinted
from metarl_exp.wiring.trust import foreign_code


def environment_identity(config: DictConfig) -> dict[str, Any]:
    """Identity of this run's environments; see `identity`."""
    return environments(config).environment


def environments(config: DictConfig) -> Identified:
    """Record of a run's environments, from a distribution made for it.

    Raises EnvironmentFailure if the environments do.
    """
    given: Any = OmegaConf.to_container(config.tasks, resolve=True)
    name = given.pop("_target_")
    said = effective(((f"tasks.{key}", value) for key, value in given.items()), config)
    settings = {key.removeprefix("tasks."): value for key, value in said.items()}
    distribution = tasks_of(config.tasks, config.environment_timeout)
    with guarded("the golden rollout", config.environment_timeout):
        found = identified(name, distribution, settings)
    close(distribution, config.environment_timeout)
    return found


def refuse_other_run(config: DictConfig, folder: Path) -> None:
    """Raise FolderRefused if a folder holds a run of another configuration, seed or code, naming what differs.

    What is missing or damaged is not compared: the run makes it again, or says why it cannot.
    """
    with suppress(FileNotFoundError, DamagedFile):
        stored = stored_config(folder)
        differing = differing_keys(config, stored)
        if stored.seed != config.seed:
            differing.append(f"seed: {config.seed} ≠ {stored.seed}")
        if differing:
            raise FolderRefused(f"{folder} holds another run: {'; '.join(differing)}")
    with suppress(DamagedFile):
        if changed := changed_since(folder, config):
            raise FolderRefused(f"{changed}; restart=true runs it again, in a new folder")


def code(config: DictConfig, distribution: TaskDistribution) -> dict[str, str]:
    """Digests of the modules of one's own that a configuration leads to, by the names in it; see `sources`.

    A distribution may name further ones: `written_in`, the modules in which its environments are written.
    """
    while isinstance(distribution, Oracle | Trials):
        distribution = distribution.of
    names = (value for _, value in values(fingerprinted(config)) if isinstance(value, str))
    return sources.digests([*names, *Traits.of(distribution).written_in])


def changed_since(run: Path, config: DictConfig, made: bool = True) -> str | None:
    """A sentence on what has changed since a run; None if nothing has, or nothing is known of it.

    Environments are compared if they may be `made` from this configuration.
    """
    record = RunFolder(run).provenance()
    identify = partial(environments, config) if made and not config.allow_stateful else None
    found = provenance.changes(record, identify) if record else []
    return f"{run} was made by other code: {'; '.join(found)}" if found else None


def refuse_stale_start(run: Path, config: DictConfig) -> None:
    """Raise ValueError if code or environments have changed since the run that another one is to start from.

    A folder with a θ alone cannot tell. Its environments are made, and compared, if they lead to no other foreign code
    than those of the run that is to start.
    """
    if (run / ".hydra" / "config.yaml").is_file():
        before = stored_config(run)
        if changed := changed_since(run, before, made=set(foreign_code(before)) <= set(foreign_code(config))):
            raise ValueError(f"{changed}; run it again (restart=true), and start from its new folder")
