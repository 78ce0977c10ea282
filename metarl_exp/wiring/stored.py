"""A stored run as it is read again: its learner, and its evaluation with other settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from metarl_exp.algorithm.evaluation import Evaluation
from metarl_exp.algorithm.learner import Learner
from metarl_exp.runs.checkpoint import load_theta, read
from metarl_exp.validation import nearest, require_flag
from metarl_exp.wiring.assembly import assemble
from metarl_exp.wiring.components import component
from metarl_exp.wiring.config_file import stored_config
from metarl_exp.wiring.devices import device_to_read_on
from metarl_exp.wiring.moved import current_key
from metarl_exp.wiring.overrides import typed
from metarl_exp.wiring.staleness import changed_since
from metarl_exp.wiring.trust import refuse_unless_data


def load_config(run: str | Path, trust: bool = False) -> DictConfig:
    """The configuration that a run was made from, for it to be built again.

    Raises ValueError if that would run foreign code, or follow links out of the folder, unless it is to be trusted.
    """
    config = stored_config(run)
    if not trust:
        refuse_unless_data(Path(run), config)
    return config


def load(run: str | Path, which: str = "best", stale: bool = False, trust: bool = False) -> Learner:
    """The learner of a run with its θ: `which` is `best`, `latest` or `initial`. Its task stream starts afresh.

    It is on the run's device, or on the CPU where there is no such device. Raises ValueError if code or environments
    have changed since the run, unless it may be `stale`; and, without `trust`, if the folder leads to code that comes
    with neither this package nor Gymnasium, or has links to somewhere else.
    """
    require_flag("stale", stale)
    require_flag("trust", trust)
    config = load_config(run, trust)
    if not stale and (changed := changed_since(Path(run), config)):
        raise ValueError(f"{changed}; run it again (restart=true), or accept it as it is (stale=true)")
    config.device = str(device_to_read_on(config.device))
    if which != "initial":
        config.init_from = None  # where the run started from: its θ is its own
    learner = assemble(config).learner
    if which != "initial":
        learner.theta = load_theta(Path(run), which, like=learner.theta)
    return learner


def evaluation_with(config: DictConfig, settings: dict[str, str], beside: Sequence[str] = ()) -> Evaluation:
    """A run's evaluation with some of its keys set anew, from text; `beside` are keys that the caller takes itself."""
    node = OmegaConf.to_container(config.evaluation, resolve=True)
    assert isinstance(node, dict)
    keys = [*beside, *(str(k) for k in node if k != "_target_")]
    for typed_key, text in settings.items():
        key = current_key(f"evaluation.{typed_key}").removeprefix("evaluation.")
        if key not in keys:
            raise ValueError(f"unknown key {key!r}{nearest(key, keys)}: keys are {', '.join(keys)}")
        node[key] = typed(text)
    return component("evaluation", OmegaConf.create(node))


def theta_iteration(run: str | Path, which: str) -> int:
    """How many outer steps are behind a θ of a run."""
    return 0 if which == "initial" else read(Path(run) / "checkpoints" / f"{which}.pt")["iteration"]
