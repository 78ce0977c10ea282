"""The configuration of a run in its folder: `.hydra/`, written once, and read by all that look at the run."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from metarl_exp.runs.files import DamagedFile, read_yaml, write_yaml
from metarl_exp.runs.run_folder import RunFolder

# Keys without which a file is not the configuration of a run.
REQUIRED = {"config.yaml": ("seed", "tasks._target_", "policy._target_")}


def store_config(config: DictConfig, run: Path, anew: bool = False) -> list[str]:
    """Write `.hydra/`, or what of it is missing or damaged, while Hydra runs; a line for each damaged file.

    The device is that which the run began on, of which its `provenance.json` tells.
    """
    config, said = config.copy(), []
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
