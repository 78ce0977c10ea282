"""Findings in the folder of a run that is started again: how it stood, where it goes on, which files are damaged.

What can be made again is: from the newest checkpoint that goes with the other files, or by training from the start,
which gives the same numbers. The rest is refused with what to type instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from metarl_exp.runs import checkpoint
from metarl_exp.runs.files import DamagedFile
from metarl_exp.runs.run_folder import FolderRefused, RunFolder

AGAIN = "restart=true runs it again, in a new folder"


class Found(NamedTuple):
    """How a run stands, and where it goes on."""

    before: dict[str, Any] | None  # its `status.json`; None if it never began, or that is damaged
    finished: bool  # nothing is left to do
    state: dict[str, Any] | None  # of the newest checkpoint that can be used; not looked for if the run is finished
    refused: dict[Path, str]  # checkpoints that cannot, and why
    damaged: list[str]  # a line for each other damaged file that is made again
    provenance_restored: bool


def find(folder: RunFolder, fingerprint: str, seed: int) -> Found:
    """Look through the folder of a run, which is held; write `provenance.json` again if it is damaged.

    Raises FolderRefused if it holds another run, or if something is lost that no file has.
    """
    before, damaged = _standing(folder)
    lost = _lost_provenance(folder, fingerprint, seed)
    ended = before is not None and before["state"] == "finished"
    finished = ended and not damaged
    state, refused = None, {}
    if lost or not finished:
        state, refused = checkpoint.read_latest(folder.path, fingerprint, seed, partial(_accept, folder))
    if ended and damaged and state is None:
        reasons = dict.fromkeys([*damaged, *refused.values()])  # all may be the same
        raise FolderRefused("; ".join([*reasons, f"no checkpoint is left to make it from; {AGAIN}"]))
    damaged = [f"{reason}; made again" for reason in damaged]
    if lost and (ended or checkpoint.kept(folder.path)):
        if state is None or "provenance" not in state:
            raise FolderRefused("; ".join([lost, *refused.values(), f"no checkpoint holds its content; {AGAIN}"]))
        folder.write_json("provenance.json", state["provenance"])
        damaged.append(f"{lost}; written again, from a checkpoint")
    elif lost:  # the run begins
        (folder.path / "provenance.json").unlink(missing_ok=True)
    return Found(before, finished, state, refused, damaged, bool(lost and state))


def _standing(folder: RunFolder) -> tuple[dict[str, Any] | None, list[str]]:
    """The status, and a line for each damaged file among it and what a finished run ends with."""
    try:
        status = folder.status()
    except DamagedFile as error:
        return None, [str(error)]
    if not status or status["state"] != "finished":
        return status, []
    ends = [partial(_evaluation, folder), folder.read_metrics]
    return status, list(_damages([*ends, *(partial(checkpoint.read, path) for path in _left(folder))]))


def _left(folder: RunFolder) -> list[Path]:
    """The checkpoints that a finished run leaves: none, if all were deleted to save space; or the best alone."""
    checkpoints = folder.path / "checkpoints"
    present = {path.stem for path in checkpoints.glob("*.pt")}
    newest = ["latest"] if present & {"latest", "previous"} else []
    return [checkpoints / f"{name}.pt" for name in (["best", *newest] if present else [])]


def _damages(reads: list[Callable[[], Any]]) -> Iterator[str]:
    for read in reads:
        try:
            read()
        except DamagedFile as error:
            yield str(error)


def _evaluation(folder: RunFolder) -> None:
    if folder.evaluation("validation", "protocol", "tasks") is None:
        raise DamagedFile(f"{folder.path / 'evaluation.json'} is missing")


def _lost_provenance(folder: RunFolder, fingerprint: str, seed: int) -> str | None:
    """Fault of the provenance, in a line; None without. Raises FolderRefused if it is that of another run."""
    try:
        known = folder.provenance()
    except DamagedFile as error:
        return str(error)
    if known is None:
        return f"{folder.path / 'provenance.json'} is missing"
    for key, wanted in (("fingerprint", fingerprint), ("seed", seed)):
        if known[key] != wanted:
            raise FolderRefused(f"{folder.path} holds another run: its {key} is {known[key]}, this run's {wanted}")
    return None


def _accept(folder: RunFolder, state: dict[str, Any]) -> None:
    """Take the metrics and the best θ that go with a checkpoint. Raises DamagedFile without them."""
    folder.keep_metrics(state["iteration"])
    if "theta" not in state["best"]:  # checkpoints were stored before they had it
        best = checkpoint.read(folder.path / "checkpoints" / "best.pt", state["fingerprint"], state["seed"])
        state["best"]["theta"] = best["theta"]
