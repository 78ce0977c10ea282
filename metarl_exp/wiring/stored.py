"""A stored run as it is read again: its configuration as data, and its evaluation with other settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from metarl_exp.algorithm.evaluation import Evaluation
from metarl_exp.runs.checkpoint import read
from metarl_exp.runs.files import DamagedFile
from metarl_exp.validation import nearest
from metarl_exp.wiring.components import component
from metarl_exp.wiring.composing import leaves
from metarl_exp.wiring.storing import require_config


def configuration(run: Path) -> DictConfig:
    """The configuration of a run, as data: nothing in it is looked up, and no class that it names.

    Raises DamagedFile if the file holds none, FileNotFoundError if there is no such file.
    """
    path = run / ".hydra" / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{run} is not the folder of a run: it has no {path.relative_to(run)}")
    require_config(path)
    try:
        config = OmegaConf.load(path)
    except Exception as error:  # of YAML, of Python's objects in it, of what only looks like an interpolation
        raise DamagedFile(f"{path}: not a configuration ({' '.join(str(error).split())})") from None
    if not isinstance(config, DictConfig) or not config:
        raise DamagedFile(f"{path}: not a configuration")
    for key, value in leaves(OmegaConf.to_container(config)):
        if "${" in str(value) or value == "???":
            raise DamagedFile(f"{path}: {key}={value!r} is to be looked up; a run's configuration holds values alone")
    return config


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
