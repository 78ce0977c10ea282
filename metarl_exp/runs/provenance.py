"""Where a result comes from: code, libraries, machine, seeds and the identity of the tasks."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from metarl_exp.checker.identity import Identified, differences
from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.runs import sources
from metarl_exp.runs.run_folder import now

# Rises with every commit that moves a seeded result (CHANGELOG.md, "Changes numbers").
RESULTS_VERSION = 1

LIBRARIES = ("metarl_exp", "torch", "higher", "gymnasium", "hydra-core", "omegaconf", "wandb", "numpy", "scipy")


def collect(
    seed: int,
    fingerprint: str,
    command: str,
    device: torch.device,
    environments: Identified,
    code: dict[str, str],
) -> dict[str, Any]:
    """Content of `provenance.json` at a run's start; `code` are the digests of `sources`."""
    return {
        "fingerprint": fingerprint,
        "seed": seed,
        "results_version": RESULTS_VERSION,
        **environments._asdict(),
        "sources": code,
        "code": commit(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "machine": machine(device),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "command": command,
        "started": now(),
    }


def changes(record: Mapping[str, Any], identify: Callable[[], Identified] | None) -> list[str]:
    """Changes since a run, in words; none if its numbers would be the same today, as far as can be told.

    `record` is its `provenance.json`, or some of it: the code of one's own, the environments' identity, the results
    version. Other versions of libraries are told if anything else has changed. `identify` identifies the environments
    of today; None for those that may remember. Some cannot be made here.
    """
    found = [f"the code of {module} has changed" for module in sources.changed(record.get("sources") or {})]
    if record.get("results_version", RESULTS_VERSION) != RESULTS_VERSION:
        found.append(f"the results version is {RESULTS_VERSION}, was {record['results_version']}")
    if identify:
        try:
            found += differences(record, identify())
        except EnvironmentFailure as failure:
            found.append(str(failure))
        except (ImportError, ValueError):
            pass  # of an extra that is not installed, or a class that is not there
    if found:
        libraries = record.get("libraries", {}) | record.get("environment", {}).get("libraries", {})
        found += [f"{name} is {now}, was {then}" for name, then in libraries.items() if (now := _version(name)) != then]
    return found


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
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
