"""Checkpoints: atomic, refused when damaged or foreign, and always one that can be used."""

import os
import zipfile

import pytest
import torch

from metarl_exp.runs import checkpoint
from metarl_exp.runs.checkpoint import CheckpointError, load_theta, read, read_latest, save, save_latest

THETA = {"w": torch.arange(3.0)}


def state(iteration: int, fingerprint: str = "f", seed: int = 0) -> dict:
    return {"iteration": iteration, "theta": THETA, "fingerprint": fingerprint, "seed": seed}


def test_the_latest_is_read_and_the_one_before_is_kept(tmp_path):
    for i in range(3):
        save_latest(tmp_path, state(i))
    assert read_latest(tmp_path, "f", 0)[0]["iteration"] == 2
    assert read(tmp_path / "checkpoints" / "previous.pt")["iteration"] == 1


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_truncated_file_is_refused_and_the_previous_one_used(tmp_path, length):
    save_latest(tmp_path, state(0))
    save_latest(tmp_path, state(1))
    latest = tmp_path / "checkpoints" / "latest.pt"
    latest.write_bytes(latest.read_bytes()[:length])
    found, refused = read_latest(tmp_path, "f", 0)
    assert found["iteration"] == 0
    assert len(refused) == 1
    assert refused[latest].startswith(f"{latest} ")


def test_a_run_killed_between_any_two_file_operations_can_go_on(tmp_path, monkeypatch):
    """Dies at the first, second, … operation of a save; what is found then is the last or the one before."""
    save_latest(tmp_path, state(0))
    save_latest(tmp_path, state(1))

    class Killed(BaseException):
        pass

    for moment in range(5):
        calls = iter(range(100))

        def dying(function, calls=calls, moment=moment):
            def wrapped(*arguments):
                if next(calls) == moment:
                    raise Killed
                return function(*arguments)

            return wrapped

        with monkeypatch.context() as patched:
            patched.setattr(checkpoint.os, "replace", dying(os.replace))
            patched.setattr(checkpoint.os, "fsync", dying(os.fsync))
            try:
                save_latest(tmp_path, state(2))
                died = False
            except Killed:
                died = True
        found, _ = read_latest(tmp_path, "f", 0)
        assert found["iteration"] == (1 if moment < 3 else 2)  # the fourth has the new name put on disk
        save_latest(tmp_path, state(0))
        save_latest(tmp_path, state(1))
    assert not died


def test_a_wrong_bit_anywhere_is_refused_or_changes_nothing(tmp_path):
    """Padding between the members of the archive included, which their own sums do not see."""
    path = tmp_path / "x.pt"
    save(path, state(3))
    content, refused = path.read_bytes(), 0
    for place in range(0, len(content), 23):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            found = read(path)
        except CheckpointError:
            refused += 1
        else:
            assert torch.equal(found.pop("theta")["w"], THETA["w"])
            assert found == {"format": 1, "iteration": 3, "fingerprint": "f", "seed": 0}
    assert refused > 0.95 * len(content) / 23


def test_a_checkpoint_from_before_there_were_digests_is_read_and_its_members_sums_are_checked(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"format": 1, **state(3)}, path)
    assert read(path)["iteration"] == 3
    content = path.read_bytes()
    place = content.index(THETA["w"].numpy().tobytes())
    path.write_bytes(content[:place] + b"\1" + content[place + 1 :])
    with pytest.raises(CheckpointError, match="CRC-32"):
        read(path)


def test_others_can_read_a_checkpoint(tmp_path):
    save(tmp_path / "x.pt", state(3))
    assert torch.load(tmp_path / "x.pt", weights_only=True)["iteration"] == 3
    assert zipfile.ZipFile(tmp_path / "x.pt").testzip() is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"theta": THETA}, "not a checkpoint of this program"),
        ({"format": 1, "theta": THETA, "fingerprint": "g", "seed": 0}, "belongs to another run: its fingerprint is g"),
        ({"format": 1, "theta": THETA, "fingerprint": "f", "seed": 5}, "belongs to another run: its seed is 5"),
    ],
)
def test_a_foreign_file_is_refused_with_the_reason(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "x.pt", "f", 0)


def test_code_in_a_file_is_not_run(tmp_path):
    """`weights_only`: a pickle that would call something is refused."""
    marker = tmp_path / "called"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    torch.save({"format": 1, "theta": Evil()}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError):
        read(tmp_path / "x.pt")
    assert not marker.exists()


@pytest.mark.parametrize(("left", "said"), [(True, "makes it again"), (False, "runs it again, with restart=true")])
def test_a_damaged_theta_is_refused_with_what_makes_it_again(tmp_path, left, said):
    save(tmp_path / "checkpoints" / "best.pt", state(3))
    (tmp_path / "checkpoints" / "best.pt").write_bytes(b"half")
    if left:
        save_latest(tmp_path, state(3))
    with pytest.raises(CheckpointError, match=f"best.pt .*; the run's own command {said}$"):
        load_theta(tmp_path, "best", like=THETA)


def test_theta_of_another_policy_is_refused(tmp_path):
    save(tmp_path / "checkpoints" / "best.pt", state(3))
    assert torch.equal(load_theta(tmp_path, "best", like=THETA)["w"], THETA["w"])
    with pytest.raises(CheckpointError, match="another policy"):
        load_theta(tmp_path, "best", like={"w": torch.zeros(4)})
