"""Checkpoints: written atomically, read with `weights_only`, and never trusted unread.

`latest.pt` and `previous.pt` hold all that training needs to go on bit for bit; `best.pt` the θ that evaluation is
about. A file that cannot be read, or that belongs to another configuration, is refused with the reason.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch

from metarl_exp.files import write_atomically
from metarl_exp.maths.parameters import Parameters
from metarl_exp.types import NonFiniteError
from metarl_exp.validation import require_choice

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, and why."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write one checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomically(path, buffer.getvalue())


def save_latest(folder: Path, state: dict[str, Any]) -> None:
    """Write `latest.pt`, keeping the one before as `previous.pt`; at every moment one of them is whole."""
    latest = folder / "checkpoints" / "latest.pt"
    if latest.exists():
        os.replace(latest, latest.with_name("previous.pt"))
    save(latest, state)


def read(path: Path, fingerprint: str | None = None, seed: int | None = None) -> dict[str, Any]:
    """A checkpoint's state; CheckpointError if it is truncated, not one of ours, or of another configuration."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except Exception as error:  # a damaged file fails in many ways: zip, pickle, end of file
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}): truncated or not a checkpoint"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or "theta" not in state:
        raise CheckpointError(f"{path} is not a checkpoint of this program (format {FORMAT})")
    for name, wanted in (("fingerprint", fingerprint), ("seed", seed)):
        if wanted is not None and state.get(name) != wanted:
            raise CheckpointError(
                f"{path} belongs to another run: its {name} is {state.get(name)}, this run's {wanted}"
            )
    return state


def read_latest(folder: Path, fingerprint: str, seed: int) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest usable state, or None, and the reasons why newer files were refused."""
    refused = []
    for name in ("latest.pt", "previous.pt"):
        path = folder / "checkpoints" / name
        if path.exists():
            try:
                return read(path, fingerprint, seed), refused
            except CheckpointError as error:
                refused.append(str(error))
    return None, refused


def load_theta(run: Path, which: str, like: Parameters) -> Parameters:
    """θ from a run's folder, `which` being `best` or `latest`, checked against the names and shapes of `like`."""
    require_choice("checkpoint", which, ["best", "latest"])
    if not run.is_dir():
        raise CheckpointError(f"{run} is not a folder: give that of a run, such as outputs/…")
    theta = read(run / "checkpoints" / f"{which}.pt")["theta"]
    found, wanted = ({n: tuple(p.shape) for n, p in x.items()} for x in (theta, like))
    if found != wanted:
        raise CheckpointError(f"{run} has another policy: its parameters are {found}, this run's {wanted}")
    return {name: p.to(like[name].device) for name, p in theta.items()}


def keep_batch(path: Path, error: NonFiniteError) -> NonFiniteError:
    """The same error, which says where its batch is, for a person to look at: `torch.load(path, weights_only=True)`.

    As it was, where there is no such folder: on another machine than that of rank 0.
    """
    if not path.parent.is_dir():
        return error
    torch.save(_plain(error.batch), path)
    return NonFiniteError(error.quantity, f"{error.where}; the batch is in {path}", None)


def _plain(value: Any) -> Any:
    """Tuples of tensors as dicts; anything that is not data is left out."""
    if hasattr(value, "_asdict"):
        return {name: _plain(x) for name, x in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(x) for name, x in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(x) for x in value]
    return value.detach().cpu() if isinstance(value, torch.Tensor) else None
