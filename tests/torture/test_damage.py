"""Files of a run that are empty, cut, missing or full of zeros.

The same command comes to the numbers of an undisturbed run, or says which file is damaged and what to type.
"""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch

from metarl_exp.runs import checkpoint
from metarl_exp.runs.files import DIGEST, read_json
from tests.torture.victim import STAGES, Victim, right

HARMS: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "missing": lambda content: None,
    "zeros": lambda content: bytes(len(content)),  # as a power cut leaves it
}
# One of each kind of file and harm, that of a run which could not go on or end before, for every day.
SAMPLE = [
    ("unfinished", "checkpoints/best.pt", "missing"),
    ("unfinished", "checkpoints/latest.pt", "half"),
    ("unfinished", "metrics.jsonl", "zeros"),
    ("unfinished", "provenance.json", "missing"),
    ("unfinished", ".hydra/config.yaml", "empty"),
    ("finished", "checkpoints/best.pt", "half"),
    ("finished", "status.json", "empty"),
    ("finished", "evaluation.json", "half"),
    ("finished", "provenance.json", "empty"),
    ("finished", ".hydra/overrides.yaml", "zeros"),
]


def survived(victim: Victim, stage: str, name: str, harm: str) -> tuple[str, str]:
    """What the same command makes of a harm, and says."""
    victim.harm(stage, name, HARMS[harm](victim.content(stage, name)))
    return victim.outcome()


@pytest.mark.parametrize(("stage", "name", "harm"), SAMPLE)
def test_a_run_with_a_damaged_file_comes_to_the_same_end(victim, stage, name, harm):
    outcome, said = survived(victim, stage, name, harm)
    assert outcome == "identical", said
    assert name in said or (stage, name) == ("unfinished", "checkpoints/best.pt")  # which is written again anyway


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_from_before_there_were_digests_goes_on_as_before(victim, stage):
    victim.harm(stage, "metrics.jsonl", victim.content(stage, "metrics.jsonl"))
    for name in victim.files(stage):
        without_digest(victim.folder.path / name)
    outcome, said = victim.outcome()
    assert outcome == "identical", said
    assert ("already finished" in said) == (stage == "finished")


@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_beyond_repair_is_refused_and_left_as_it_was(victim, stage):
    """A run from before checkpoints had its provenance and the best θ."""
    victim.harm(stage, "provenance.json", b"")
    for name in victim.files(stage):
        without_digest(victim.folder.path / name)
    before = contents(victim)
    outcome, said = victim.outcome()
    assert outcome == "refused"
    assert "provenance.json: it is empty" in said
    assert "restart=true" in said
    assert contents(victim) == before


def without_digest(path: Path) -> None:
    """A file as it was written before there were digests."""
    if path.suffix == ".json" and path.stat().st_size:
        path.write_text(json.dumps(read_json(path)))
    elif path.suffix == ".jsonl":
        records = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({k: v for k, v in r.items() if k != DIGEST}) + "\n" for r in records))
    elif path.suffix == ".yaml":
        path.write_text(path.read_text().rpartition("# ")[0])
    elif path.suffix == ".pt":
        state = checkpoint.read(path)
        state.pop("provenance", None)
        state.get("best", {}).pop("theta", None)
        torch.save(state, path)


def contents(victim: Victim) -> dict[Path, bytes]:
    files = (path for path in victim.folder.path.rglob("*") if path.is_file() and path.name != "lock")
    return {path: path.read_bytes() for path in files}


@pytest.mark.torture
def test_every_file_of_a_run_damaged_in_every_way(victim, tally):
    wrong = []
    for stage, name, harm in product(STAGES, victim.files("finished"), HARMS):
        if name in victim.files(stage):
            outcome, said = survived(victim, stage, name, harm)
            tally("a file that is empty, cut, missing or all zeros", outcome)
            if not right(outcome, said, name):
                wrong.append(f"{stage}, {name} {harm}: {said}")
    assert not wrong, "\n".join(wrong)
