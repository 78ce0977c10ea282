"""Where a result comes from: code, libraries, machine, seeds and the identity of the tasks."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

# Rises with every commit that moves a seeded result (CHANGELOG.md, "Changes numbers").
RESULTS_VERSION = 1

LIBRARIES = ("metarl_exp", "torch", "higher", "gymnasium", "hydra-core", "omegaconf", "wandb", "numpy", "scipy")


def collect(
    seed: int, fingerprint: str, command: str, device: torch.device, environment: dict[str, Any]
) -> dict[str, Any]:
    """What `provenance.json` says of a run at its start."""
    return {
        "fingerprint": fingerprint,
        "seed": seed,
        "results_version": RESULTS_VERSION,
        "environment": environment,
        "code": commit(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "command": command,
        "started": now(),
    }


def now() -> str:
    """Local time with its offset."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def commit() -> dict[str, Any]:
    """Commit of the checkout this code is in, and whether it was changed since; nulls outside a checkout."""
    package = Path(__file__).resolve().parent
    head = _git(package, "rev-parse", "HEAD")
    # The checkout must be this project's own, not one that a virtual environment happens to lie in.
    tracked = _git(package, "ls-files", "--error-unmatch", str(Path(__file__).resolve()))
    if head is None or tracked is None:
        return {"commit": None, "dirty": None}
    return {"commit": head, "dirty": bool(_git(package, "status", "--porcelain", "--untracked-files=no"))}


def machine(device: torch.device) -> dict[str, Any]:
    """Host name, platform, processors and accelerator."""
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "accelerator": accelerator,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
