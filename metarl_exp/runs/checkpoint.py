"""Checkpoints: written atomically, read with `weights_only`, and never trusted unread.

`latest.pt` and `previous.pt` hold all that training needs to go on bit for bit, and to end: the best θ, and what
`provenance.json` says, too. `best.pt` is the best θ alone, to be evaluated. A file that cannot be read, whose
content has changed, or that belongs to another configuration, is refused with the reason.

They are ZIP archives, as `torch.save` writes them, whose comment is the SHA-256 of all before it. Those that were
written before they had one are checked by the CRC-32 of each member, which padding between members escapes.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metarl_exp.maths.parameters import Parameters
from metarl_exp.process.failures import NonFiniteError
from metarl_exp.runs.files import DamagedFile, digest, write_atomically
from metarl_exp.validation import require_choice

FORMAT = 1


class CheckpointError(DamagedFile):
    """A checkpoint that cannot be used, and why."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write one checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _archive({"format": FORMAT, **state}))


def _archive(content: Any) -> bytes:
    """Bytes as `torch.save` writes them, with their digest as the comment of the archive: its end."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    archive = buffer.getvalue()[:-2]  # without the length of the comment, which is 0
    comment = digest(archive).encode()
    return archive + len(comment).to_bytes(2, "little") + comment


def _require_whole(path: Path, archive: bytes) -> None:
    """Raise CheckpointError if an archive is not what its digest is of, or its members' sums if it has none."""
    opened = zipfile.ZipFile(io.BytesIO(archive))
    if opened.comment:
        if opened.comment != digest(archive[: -len(opened.comment) - 2]).encode():
            raise CheckpointError(f"{path} is damaged: its content does not match its SHA-256")
    elif member := opened.testzip():
        raise CheckpointError(f"{path} is damaged: {member} does not match its CRC-32")


def save_latest(folder: Path, state: dict[str, Any]) -> None:
    """Write `latest.pt`, keeping the one before as `previous.pt`; at every moment one of them is whole."""
    latest = folder / "checkpoints" / "latest.pt"
    if latest.exists():
        os.replace(latest, latest.with_name("previous.pt"))
    save(latest, state)


def read(path: Path, fingerprint: str | None = None, seed: int | None = None) -> dict[str, Any]:
    """A checkpoint's state; CheckpointError if it is damaged, not one of ours, or of another configuration."""
    try:
        archive = path.read_bytes()
        _require_whole(path, archive)
        state = torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except (CheckpointError, OSError):
        raise
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


def kept(folder: Path) -> list[Path]:
    """The checkpoints that a run may go on from, newest first."""
    return [path for name in ("latest.pt", "previous.pt") if (path := folder / "checkpoints" / name).exists()]


def read_latest(
    folder: Path, fingerprint: str, seed: int, accept: Callable[[dict[str, Any]], None] | None = None
) -> tuple[dict[str, Any] | None, dict[Path, str]]:
    """The newest usable state, or None, and the reasons why newer files were refused.

    `accept` raises DamagedFile for a state that the other files of the run do not go with.
    """
    refused = {}
    for path in kept(folder):
        try:
            state = read(path, fingerprint, seed)
            if accept:
                accept(state)
            return state, refused
        except DamagedFile as error:
            refused[path] = str(error)
    return None, refused


def load_theta(run: Path, which: str, like: Parameters) -> Parameters:
    """θ from a run's folder, `which` being `best` or `latest`, checked against the names and shapes of `like`."""
    require_choice("checkpoint", which, ["best", "latest"])
    if not run.is_dir():
        raise CheckpointError(f"{run} is not a folder: give that of a run, such as outputs/…")
    try:
        theta = read(run / "checkpoints" / f"{which}.pt")["theta"]
    except CheckpointError as error:
        again = "makes it again" if kept(run) else "runs it again, with restart=true"
        raise CheckpointError(f"{error}; the run's own command {again}") from error
    found, wanted = ({n: tuple(p.shape) for n, p in x.items()} for x in (theta, like))
    if found != wanted:
        raise CheckpointError(f"{run} has another policy: its parameters are {found}, this run's {wanted}")
    return {name: p.to(like[name].device) for name, p in theta.items()}


class Best:
    """The best θ of a run so far; `best.pt` has it, and so has each checkpoint."""

    def __init__(self, folder: Path, fingerprint: str, seed: int, theta: Parameters) -> None:
        self.path, self._run = folder / "checkpoints" / "best.pt", {"fingerprint": fingerprint, "seed": seed}
        self.iteration, self.score, self.theta = 0, -float("inf"), theta

    def keep(self, theta: Parameters, iteration: int, score: float) -> None:
        """Take θ, and write it, if none before scored as high."""
        if score > self.score:
            self.iteration, self.score, self.theta = iteration, score, theta
            self.write()

    def write(self) -> None:
        """Write `best.pt`."""
        save(self.path, self._run | self.state())

    def state(self) -> dict[str, Any]:
        """The content of a checkpoint's `best`."""
        return {"iteration": self.iteration, "score": self.score, "theta": self.theta}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state()` was taken, on the device on which θ is."""
        self.iteration, self.score = state["iteration"], state["score"]
        self.theta = {name: state["theta"][name].to(p.device) for name, p in self.theta.items()}


def keep_batch(path: Path, error: NonFiniteError) -> NonFiniteError:
    """Save the batch of an error; the error, saying where: `torch.load(path, weights_only=True)` reads it.

    As it was, where there is no such folder: on another machine than that of rank 0.
    """
    if not path.parent.is_dir():
        return error
    write_atomically(path, _archive(_plain(error.batch)))
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
