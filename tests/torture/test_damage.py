"""Files of a run that are empty, cut, missing or full of zeros.

The same command comes to the numbers of an undisturbed run, or says which file is damaged and what to type.
"""

from collections.abc import Callable
from itertools import product

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


def survived(victim: Victim, stage: str, name: str, harm: str) -> tuple[str, str]:
    """What the same command makes of a harm, and says."""
    victim.harm(stage, name, HARMS[harm](victim.content(stage, name)))
    return victim.outcome()


@pytest.mark.parametrize(("stage", "name", "harm"), SAMPLE)
def test_a_run_with_a_damaged_file_comes_to_the_same_end(victim, stage, name, harm):
    outcome, said = survived(victim, stage, name, harm)
    assert outcome == "identical", said
    assert name in said or (stage, name) == ("unfinished", "checkpoints/best.pt")  # which is written again anyway


@pytest.mark.torture
def test_every_file_of_a_run_damaged_in_every_way(victim, tally):
    wrong = []
    for stage, name, harm in product(STAGES, victim.files("finished"), HARMS):
        if name in victim.files(stage):
            outcome, said = survived(victim, stage, name, harm)
            tally("a file that is empty, cut, missing or all zeros", outcome)
            if outcome != "identical":
                wrong.append(f"{stage}, {name} {harm}: {said}")
    assert not wrong, "\n".join(wrong)
