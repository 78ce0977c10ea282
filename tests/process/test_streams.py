"""Named random generators: each depends on the seed and on its name, on nothing else."""

from dataclasses import fields

import pytest
import torch

from metarl_exp.process.streams import Streams, stream, streams

NAMES = [field.name for field in fields(Streams)]


def draw(generator):
    return torch.rand(8, generator=generator, dtype=torch.float64)


def test_the_seed_and_the_name_decide():
    assert torch.equal(draw(stream(0, "tasks")), draw(stream(0, "tasks")))
    others = [stream(0, "actions"), stream(1, "tasks"), stream(0, "evaluation/tasks"), stream(0, "task")]
    assert not any(torch.equal(draw(stream(0, "tasks")), draw(other)) for other in others)


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_the_streams_of_a_seed_all_differ(seed):
    drawn = [draw(getattr(streams(seed), name)) for name in NAMES]
    assert len({tuple(x.tolist()) for x in drawn}) == len(NAMES) == 4


def test_a_field_s_stream_is_the_one_of_its_name():
    assert torch.equal(draw(streams(3).tasks), draw(stream(3, "tasks")))
    assert torch.equal(draw(streams(3, "evaluation/").tasks), draw(stream(3, "evaluation/tasks")))


@pytest.mark.parametrize("used", NAMES)
def test_using_one_leaves_the_others(used):
    disturbed, left_alone = streams(0), streams(0)
    for _ in range(3):
        draw(getattr(disturbed, used))
    for name in NAMES:
        same = torch.equal(draw(getattr(disturbed, name)), draw(getattr(left_alone, name)))
        assert same == (name != used)


def test_torch_s_global_seed_does_not_matter():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = draw(stream(0, "tasks"))
        torch.manual_seed(2)
        assert torch.equal(first, draw(stream(0, "tasks")))


def test_restored_streams_go_on_where_they_were():
    source = streams(0)
    for name in NAMES:
        draw(getattr(source, name))
    state = source.state()
    expected = [draw(getattr(source, name)) for name in NAMES]
    target = streams(99)
    target.restore(state)
    for name, x in zip(NAMES, expected, strict=True):
        assert torch.equal(draw(getattr(target, name)), x)


def test_the_first_numbers_of_different_seeds_are_uncorrelated():
    """Neighbouring seeds, 2000 of them: uniform first draws, no drift from one to the next."""
    first = torch.stack([draw(stream(seed, "tasks"))[0] for seed in range(2000)])
    assert abs(first.mean() - 0.5) < 5 / (12 * 2000) ** 0.5  # five standard errors
    assert abs(torch.corrcoef(torch.stack([first[:-1], first[1:]]))[0, 1]) < 5 / 2000**0.5
