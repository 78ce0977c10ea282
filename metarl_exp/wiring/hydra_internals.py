"""Parts of Hydra that it keeps to itself: its command line, the grid of a sweep, and its launchers for listed jobs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir, version
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import OmegaConf

from metarl_exp import wiring
from metarl_exp.wiring.composing import config_dir
from metarl_exp.wiring.overrides import is_hydras

VERSION_BASE = "1.3"

# Name of a run's folder, which a configuration that is only shown does not ask for: it takes classes, and so torch.
OmegaConf.register_new_resolver("run_folder", lambda *, _root_: wiring.run_name(_root_), replace=True)

# Hydra's help copies the store of all options for each group that it lists, which took two thirds of its time. Nobody
# changes the store's own nodes: it gives copies of them.
ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


def command_line() -> argparse.Namespace:
    """The arguments of this process, as Hydra takes them."""
    return get_args_parser().parse_args()


def run(task: TaskFunction, arguments: argparse.Namespace) -> None:
    """Do as the arguments say: run the task or a sweep of it, or show help or a configuration."""
    version.setbase(VERSION_BASE)
    _run_hydra(arguments, get_args_parser(), task, str(config_dir()), "train")


def grid(sweeper: Any, overrides: Sequence[str]) -> list[list[str]] | None:
    """The overrides of every job of a sweep; None for a sweeper that proposes jobs as it goes."""
    if sweeper["_target_"] != BasicSweeperConf._target_:
        return None
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return jobs


def launch(task: TaskFunction, jobs: Sequence[Sequence[str]], overrides: Sequence[str]) -> list[Any]:
    """Run jobs, each a list of overrides, with the launcher that `overrides` choose, which all jobs share.

    Returns what the jobs returned. Raises what the first failed one raised, once all have ended.
    """
    shared = [str(o.input_line) for o in OverridesParser.create().parse_overrides(list(overrides)) if not is_hydras(o)]
    with initialize_config_dir(str(config_dir()), version_base=VERSION_BASE):
        loader = GlobalHydra.instance().hydra.config_loader  # type: ignore[union-attr]
        config = loader.load_configuration("train", list(overrides), run_mode=RunMode.MULTIRUN)
        HydraConfig.instance().set_config(config)
        context = HydraContext(config_loader=loader, callbacks=Callbacks(config))
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
        Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        done: Sequence[JobReturn] = launcher.launch([[*shared, *job] for job in jobs], 0)
        return [job.return_value for job in done]
