"""The configuration of a run in its folder: `.hydra/`, written once, and read by all that look at the run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from metarl_exp.runs.files import DamagedFile, read_yaml, write_yaml
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.wiring.composing import leaves
from metarl_exp.wiring.distributions import discrete_actions
from metarl_exp.wiring.keys import ADDED
from metarl_exp.wiring.moved import gone, with_current_keys
from metarl_exp.wiring.policies import policy_node

# Keys without which a file is not the configuration of a run.
REQUIRED = {"config.yaml": ("seed", "tasks._target_", "policy._target_")}


def store_config(config: DictConfig, run: Path, anew: bool = False) -> list[str]:
    """Write `.hydra/`, or what of it is missing or damaged, while Hydra runs; a line for each damaged file.

    The device is that which the run began on, of which its `provenance.json` tells; the policy has its head.
    """
    config, said = config.copy(), []
    config.policy = policy_node(config.policy, partial(discrete_actions, config))
    config.device = (RunFolder(run).provenance() or {}).get("device", config.device)
    contents = {
        "config.yaml": OmegaConf.to_yaml(config, resolve=True),
        "hydra.yaml": OmegaConf.to_yaml(HydraConfig.instance().cfg),
        "overrides.yaml": OmegaConf.to_yaml(HydraConfig.get().overrides.task),
    }
    for name, text in contents.items():
        path = run / ".hydra" / name
        damage = None if anew else _damage(path)
        if anew or damage:
            path.parent.mkdir(exist_ok=True)
            write_yaml(path, text)
        if damage:
            said.append(f"{damage}; written again, as this command has it")
    return said


def require_config(path: Path) -> None:
    """Raise DamagedFile if a file of `.hydra/` is damaged, FileNotFoundError if it is not there."""
    read_yaml(path, *REQUIRED.get(path.name, ()))


def _damage(path: Path) -> str | None:
    try:
        require_config(path)
    except FileNotFoundError:
        return f"{path} is missing"
    except DamagedFile as error:
        return str(error)
    return None


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
            raise DamagedFile(
                f"{path}: {key}={value!r} is missing or an interpolation; a stored run has plain values only"
            )
    return config


def stored_config(run: str | Path) -> DictConfig:
    """The configuration of a run as data, with the keys that there are today. Raises as `configuration` does."""
    config = with_current_keys(configuration(Path(run)))
    for key, value in ADDED.items():
        if OmegaConf.select(config, key) is None:  # stored before there was this key
            OmegaConf.update(config, key, value, force_add=True)
    for node in config.values():
        former = gone(node.get("_target_")) if isinstance(node, DictConfig) else {}
        for key in [key for key, value in former.items() if node.get(key) == value]:
            del node[key]
    return config
