"""Threads and company make no difference to an episode."""

import numpy as np
import pytest
import torch

NAMES = ["half_cheetah", "half_cheetah_rllab", "ant", "ant_rllab", "walker2d", "hopper", "humanoid"]


@pytest.fixture(params=NAMES)
def distribution(request, distributions):
    return distributions(request.param)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def seen(env, actions):
    """All that happens: observations and rewards."""
    found = [env.reset()]
    for action in actions:
        step = env.step(action)
        found += [step.observation, step.reward]
    return found


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_any_number_of_threads_gives_the_same(make, actions, distribution, threads):
    tasks = distribution.sample(3, torch.Generator().manual_seed(1)).tolist()
    found = []
    for number in (1, 2, 5):
        threads(number)
        env = make(distribution, tasks, 5)
        found.append(seen(env, actions(env, 12)))
        assert len(distribution.machine.engine.data) == number
    assert equal(found[0], found[1])
    assert equal(found[0], found[2])


def test_an_episode_is_the_same_alone_and_in_a_batch(make, actions, distribution):
    """To the end of the longest, though the others' episodes end before."""
    env = make(distribution, trajectories=4)
    action = actions(env, 40)
    env.reset()
    together, lengths = [], np.zeros(8, dtype=int)
    for a in action:
        lengths += env.alive
        together.append(env.step(a))
    chosen = int(lengths.argmax())
    n, m = divmod(chosen, 4)
    alone = make(distribution, [env.task[chosen].tolist()], 1)
    alone.start = tuple(x[chosen : chosen + 1] for x in env.start)
    alone.reset()
    for a, step in zip(action[: lengths[chosen]], together, strict=False):
        single = alone.step(a[n : n + 1, m : m + 1])
        assert torch.equal(single.observation[0, 0], step.observation[n, m])
        assert torch.equal(single.reward[0, 0], step.reward[n, m])
        assert torch.equal(single.terminal[0, 0], step.terminal[n, m])
    if env.machine.robot.healthy_bonus and distribution.machine.robot.asset != "ant.xml":
        assert len(set(lengths.tolist())) > 1


def test_returned_arrays_are_not_written_to_again(make, actions, distribution):
    env = make(distribution)
    action = actions(env, 4)
    first = seen(env, action)
    kept = [x.clone() for x in first]
    seen(env, -action)
    assert equal(first, kept)
    assert len({x.data_ptr() for x in first}) == len(first)


def test_a_closed_distribution_starts_its_threads_again(make, actions, distribution, threads):
    threads(2)
    env = make(distribution)
    before = seen(env, actions(env, 3))
    distribution.close()
    distribution.close()
    assert distribution.machine.engine.pool is None
    assert equal(before, seen(env, actions(env, 3)))


def test_an_error_in_another_thread_arrives(make, distributions, threads):
    threads(2)
    env = make(distributions("ant"))
    env.reset()
    env.episodes.rows[0] = np.zeros(3)
    with pytest.raises(TypeError):
        env.machine.engine.step(env.episodes, np.zeros((6, 8)), None)
