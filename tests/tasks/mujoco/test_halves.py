"""Rollouts of robots in two halves, each in a thread: the numbers, and what goes wrong, are those of the whole."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from metarl_exp.algorithm.sampler import action_noise, sample_episodes
from metarl_exp.policy import RNN, GaussianHead, GaussianMLP
from metarl_exp.process.failures import EnvironmentFailure, NonFiniteError
from metarl_exp.types import Separable


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def mlp(spec):
    return GaussianMLP([32, 32], "tanh", 1.0, 1e-6, 10.0, spec, torch.Generator().manual_seed(0))


def gru(spec):
    return RNN("gru", 16, GaussianHead(1.0, 1e-6, 10.0, spec), torch.Generator().manual_seed(0))


def roll(env, policy, parameters=None, **options):
    """Every task acts with parameters of its own."""
    if parameters is None:
        factors = torch.linspace(0.5, 1.5, env.shape[0])
        parameters = {n: torch.stack([f * p.detach() for f in factors]) for n, p in policy.named_parameters()}
    noise = action_noise(policy, env.shape, torch.Generator().manual_seed(1))
    return sample_episodes(env, policy, parameters, noise, **options)


def equal(one, other):
    return all((a is None and b is None) or torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", ["half_cheetah", "half_cheetah_rllab", "walker2d", "hopper"])
def test_any_number_of_threads_gives_the_same_trajectories(distributions, make, threads, name):
    """Five tasks, so that the halves differ in size; those of the hopper differ in length."""
    distribution = distributions(name)
    tasks = distribution.sample(5, torch.Generator().manual_seed(1)).tolist()
    found = []
    for number in (1, 2, 5):
        threads(number)
        found.append(roll(make(distribution, tasks, 2), mlp(distribution.spec)))
        assert torch.get_num_threads() == number
        used = [len(engine.data) for engine in distribution.machine.halves]
        assert number == 1 or used == [number - 1] * 2
    assert equal(found[0], found[1])
    assert equal(found[0], found[2])


def test_memory_is_cut_in_halves_too(distributions, make, threads):
    distribution = distributions("half_cheetah_rllab")
    found = []
    for number in (1, 2):
        threads(number)
        found.append(roll(make(distribution, [[1.0], [-1.0]] * 2, 3), gru(distribution.spec)))
    assert equal(*found)


def test_halves_choose_actions_while_they_hold_the_turn_and_release_it_for_physics(distributions, make, threads):
    threads(2)
    distribution = distributions("half_cheetah_rllab")
    env = make(distribution, [[1.0]] * 4, 2)
    assert isinstance(env, Separable)
    made, held = [], []

    def halves(gil_turn):
        made.append(gil_turn)
        parts = type(env).halves(env, gil_turn)

        @contextmanager
        def watched():
            held.append(gil_turn.lock.locked())
            with gil_turn.released():
                yield
            held.append(gil_turn.lock.locked())

        for part in parts:
            assert part.episodes.without_python == gil_turn.released
            part.episodes.without_python = watched
        return parts

    env.halves = halves
    trajectories = roll(env, mlp(distribution.spec))
    assert [gil_turn.lock.locked() for gil_turn in made] == [False]
    assert held == [True] * (2 * 2 * trajectories.mask.shape[2])


def test_only_physics_that_leaves_python_to_others_is_cut(distributions, make):
    """An ant's threads need Python's lock for every robot."""
    assert isinstance(make(distributions("walker2d")), Separable)
    assert not isinstance(make(distributions("ant_rllab")), Separable)


def test_a_watcher_sees_the_whole(distributions, make, threads):
    threads(2)
    distribution = distributions("half_cheetah_rllab")
    env, seen = make(distribution, [[1.0]] * 4, 1), set()
    roll(env, mlp(distribution.spec), watch=lambda env: seen.add(id(env)))
    assert seen == {id(env)}


@pytest.mark.parametrize("task", [0, 3])
def test_an_unstable_simulation_is_told_by_its_place_in_the_whole(distributions, make, threads, task, capfd):
    threads(2)
    distribution = distributions("half_cheetah_rllab")
    env = make(distribution, [[1.0]] * 4, 2)
    env.start[1][2 * task + 1] = 1e12
    with pytest.raises(EnvironmentFailure, match=rf"^step 0: Arithmetic.*\({task}, 1\) \(task, trajectory\)"):
        roll(env, mlp(distribution.spec))
    assert torch.get_num_threads() == 2


def test_nan_in_a_half_is_reported_by_its_place_in_the_whole(distributions, make, threads, monkeypatch):
    threads(2)
    distribution = distributions("half_cheetah_rllab")
    env = make(distribution, [[1.0], [1.0], [1.0], [2.0]], 2)
    goal = distribution.goal.reward
    monkeypatch.setattr(
        distribution.goal, "reward", lambda motion, task: np.where(task[:, 0] == 2, np.nan, goal(motion, task))
    )
    with pytest.raises(NonFiniteError, match=r"rewards.*first at \[3, 0, 0\]"):
        roll(env, mlp(distribution.spec))


def test_an_interrupt_ends_both_halves(distributions, make, threads):
    threads(2)
    distribution = distributions("half_cheetah_rllab")
    env = make(distribution, [[1.0]] * 4, 2)
    steps = []

    def halves(gil_turn):
        first, second = type(env).halves(env, gil_turn)
        step = second.step
        second.step = lambda action: steps.append(None) or step(action)

        def interrupt(action):
            raise KeyboardInterrupt

        first.step = interrupt
        return first, second

    env.halves = halves
    with pytest.raises(KeyboardInterrupt):
        roll(env, mlp(distribution.spec))
    assert len(steps) < distribution.spec.horizon
    assert torch.get_num_threads() == 2
