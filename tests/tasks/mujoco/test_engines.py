"""Threads and company make no difference to an episode."""

import numpy as np
import pytest
import torch

from metarl_exp.tasks.mujoco import HalfCheetahDirection

DISTRIBUTIONS = {"half_cheetah": lambda physics: HalfCheetahDirection(physics, 100)}
CASES = [("half_cheetah", "gymnasium"), ("half_cheetah", "rllab")]


@pytest.fixture(params=CASES, ids="-".join)
def distribution(request):
    name, physics = request.param
    made = DISTRIBUTIONS[name](physics)
    yield made
    made.close()


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def states(env, steps=12):
    """All that happens in so many steps: observations and rewards."""
    generator = torch.Generator().manual_seed(5)
    seen = [env.reset()]
    for _ in range(steps):
        step = env.step(torch.randn(*env.shape, env.machine.model.nu, generator=generator))
        seen += [step.observation, step.reward]
    return seen


def test_one_thread_is_two_threads(make, distribution, threads):
    tasks = distribution.sample(5, torch.Generator().manual_seed(1)).tolist()
    found = []
    for number in (1, 2):
        threads(number)
        found.append(states(make(distribution, tasks, 7)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_an_episode_is_the_same_alone_and_in_a_batch(make, distribution):
    """Also with the batch in another order: an episode takes nothing from its neighbours."""
    env = make(distribution, trajectories=4)
    generator = torch.Generator().manual_seed(5)
    action = [torch.randn(*env.shape, env.machine.model.nu, generator=generator) for _ in range(12)]
    env.reset()
    together = [env.step(a) for a in action]
    alone = make(distribution, [env.task[6].tolist()], 1)
    alone.start = tuple(x[6:7] for x in env.start)
    alone.reset()
    for a, step in zip(action, together, strict=True):
        single = alone.step(a[1:, 2:3])
        assert torch.equal(single.observation, step.observation[1:, 2:3])
        assert torch.equal(single.reward, step.reward[1:, 2:3])


def test_results_are_not_overwritten_by_later_steps(make, distribution):
    env = make(distribution)
    first = env.reset()
    kept = first.clone()
    states(env, 2)
    assert torch.equal(first, kept)
    assert len({id(x) for x in states(env, 3)}) == 7


def test_a_closed_distribution_starts_its_threads_again(make, distribution):
    env = make(distribution)
    before = states(env)
    distribution.close()
    distribution.close()
    assert all(torch.equal(a, b) for a, b in zip(before, states(env), strict=True))
    assert np.isfinite(env.episodes.state).all()
