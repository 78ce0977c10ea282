"""Jobs that are listed instead of swept, given to Hydra's launchers: what a study lacks is no product of overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, RunMode, TaskFunction

from metarl_exp.wiring.composing import config_dir
from metarl_exp.wiring.overrides import is_hydras


def launch(task: TaskFunction, jobs: Sequence[Sequence[str]], overrides: Sequence[str]) -> list[Any]:
    """Run jobs, each a list of overrides, with the launcher that `overrides` choose, which all jobs share.

    Returns what the jobs returned. Raises what the first failed one raised, once all have ended.
    """
    shared = [str(o.input_line) for o in OverridesParser.create().parse_overrides(list(overrides)) if not is_hydras(o)]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().hydra.config_loader  # type: ignore[union-attr]
        config = loader.load_configuration("train", list(overrides), run_mode=RunMode.MULTIRUN)
        HydraConfig.instance().set_config(config)
        context = HydraContext(config_loader=loader, callbacks=Callbacks(config))
        launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
        Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        done: Sequence[JobReturn] = launcher.launch([[*shared, *job] for job in jobs], 0)
        return [job.return_value for job in done]
