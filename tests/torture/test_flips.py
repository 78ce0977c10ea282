"""Single bits that are another way round, anywhere in the files of a run: nothing is read or continued otherwise."""

import random

import pytest

from metarl_exp.runs.files import DIGEST
from tests.torture.victim import STAGES, Victim, right, same

FLIPS = 600  # over all files, each as often


def flipped(victim: Victim, number: int) -> tuple[str, str]:
    """Put one bit of one file the other way round; the stage and the file, another one each time."""
    chance = random.Random(number)
    stage = STAGES[number % len(STAGES)]
    files = victim.files(stage)
    name = files[number // len(STAGES) % len(files)]
    content = bytearray(victim.content(stage, name))
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    victim.harm(stage, name, bytes(content))
    return stage, name


@pytest.fixture(scope="module")
def whole(victim) -> dict:
    """Content of the undisturbed files, by stage."""
    found = {}
    for stage in STAGES:
        victim.harm(stage, "status.json", victim.content(stage, "status.json"))
        found[stage] = victim.read()
    return found


def require_read_as_before_or_refused(victim: Victim, whole: dict, stage: str, name: str) -> None:
    for what, content in victim.read().items():
        refused = isinstance(content, str) and str(victim.folder.path / name) in content
        assert refused or same(_without_misnamed_digest(content), whole[stage][what]), f"{stage}, {name}: {content}"


def _without_misnamed_digest(content):
    """A digest whose name has the wrong bit is a key more; all that it was of is as it was."""
    if isinstance(content, list):
        return [_without_misnamed_digest(item) for item in content]
    if isinstance(content, dict):
        return {k: v for k, v in content.items() if len(str(k)) != len(DIGEST) or len(str(v)) != 64}
    return content


def test_a_file_with_a_wrong_bit_is_read_as_before_or_refused(victim, whole):
    for number in range(60):
        require_read_as_before_or_refused(victim, whole, *flipped(victim, number))


@pytest.mark.torture
def test_a_run_with_a_wrong_bit_in_any_file_comes_to_the_same_end(victim, whole, tally):
    wrong = []
    for number in range(FLIPS):
        stage, name = flipped(victim, number)
        require_read_as_before_or_refused(victim, whole, stage, name)
        outcome, said = victim.outcome()
        tally("a bit of a file flipped", outcome)
        if not right(outcome, said, name):
            wrong.append(f"{number}: {stage}, {name}: {said}")
    assert not wrong, "\n".join(wrong)
