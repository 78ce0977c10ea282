"""Files of a run that are empty, cut, missing or full of zeros.

The same command comes to the numbers of an undisturbed run, or says which file is damaged and what to type.
"""

from collections.abc import Callable

import pytest

from tests.torture.victim import STAGES, Victim

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


def require_survived(victim: Victim, stage: str, name: str, harm: str) -> str:
    """What became of it, once all is as it has to be."""
    victim.harm(stage, name, HARMS[harm](victim.content(stage, name)))
    outcome, said = victim.outcome()
    assert outcome in ("identical", "refused"), f"{stage}, {name} {harm}: {said}"
    assert outcome == "identical" or (name in said and "restart=true" in said), said
    return outcome


@pytest.mark.parametrize(("stage", "name", "harm"), SAMPLE)
def test_a_run_with_a_damaged_file_comes_to_the_same_end(victim, stage, name, harm):
    assert require_survived(victim, stage, name, harm) == "identical"


@pytest.mark.torture
def test_every_file_of_a_run_damaged_in_every_way(victim, tally):
    for stage in STAGES:
        for name in victim.files(stage):
            for harm in HARMS:
                tally("a file that is empty, cut, missing or all zeros", require_survived(victim, stage, name, harm))
