"""The oracle: the same tasks, dynamics and rewards; observations end with the task."""

import pytest
import torch

from metarl_exp import wiring
from metarl_exp.tasks import Navigation2D, TabularMDP
from metarl_exp.tasks.base import Closeable, DrawsPaths, Solvable
from metarl_exp.tasks.oracle import Oracle

CPU = torch.device("cpu")


def test_observations_end_with_the_task_and_all_else_is_the_same():
    plain = Navigation2D(100, "scaled", False)
    told, generator = Oracle(plain), torch.Generator()
    tasks = plain.test_tasks(3, generator)
    assert torch.equal(told.test_tasks(3, generator), tasks)
    assert told.spec == plain.spec._replace(observation_size=4)
    envs = [d.make_env(tasks, 2, generator, CPU) for d in (plain, told)]
    starts = [env.reset() for env in envs]
    steps = [env.step(torch.full((3, 2, 2), 0.3)) for env in envs]
    for without, with_task in zip([starts[0], steps[0].observation], [starts[1], steps[1].observation], strict=True):
        assert torch.equal(with_task[..., :2], without)
        assert torch.equal(with_task[..., 2:], tasks.float().unsqueeze(1).expand(3, 2, 2))
    for field in ("reward", "terminal", "truncated", "success"):
        assert torch.equal(getattr(steps[0], field), getattr(steps[1], field))


def test_an_oracle_sees_the_tables_of_a_key():
    mdps = TabularMDP(states=3, actions=2, horizon=4)
    told, generator = Oracle(mdps), torch.Generator().manual_seed(0)
    tasks = told.sample(2, generator)
    assert told.spec.observation_size == 3 + 3 * 2 * 4
    seen = told.make_env(tasks, 1, generator, CPU).reset()[:, 0, 3:]
    rewards, transitions = mdps.mdps(tasks)
    torch.testing.assert_close(seen, torch.cat([rewards.flatten(1), transitions.flatten(1)], 1).float())


def test_an_oracle_keeps_protocols_that_ignore_the_observation_and_invents_none():
    navigation, cartpole = Navigation2D(100, "scaled", False), wiring.component("tasks", wiring.compose().tasks)
    told = Oracle(navigation)
    assert isinstance(told, DrawsPaths)
    assert torch.equal(told.positions(torch.arange(8.0).view(2, 4)), torch.tensor([[0.0, 1.0], [4.0, 5.0]]))
    assert isinstance(Oracle(TabularMDP(3, 2, 4)), Solvable)
    assert not isinstance(told, Solvable)
    assert not isinstance(Oracle(cartpole), Closeable)


@pytest.mark.parametrize("option", ["navigation_2d", "cartpole", "bernoulli_bandit", "tabular_mdp", "pendulum"])
def test_one_key_makes_an_oracle_of_a_distribution(option):
    chosen = [f"tasks={option}", "oracle=true", "adaptation=none", "iterations=0"]
    plain = wiring.component("tasks", wiring.compose(chosen).tasks)
    learner = wiring.assemble(wiring.compose(chosen)).learner
    assert learner.policy.spec.observation_size > plain.spec.observation_size


def test_the_key_is_part_of_the_fingerprint_and_its_neutral_value_is_not():
    told, plain = wiring.compose(["oracle=true"]), wiring.compose()
    assert wiring.fingerprint(told) != wiring.fingerprint(plain)
    assert "oracle" not in wiring.fingerprinted(plain)
    assert wiring.environment_identity(told) == wiring.environment_identity(plain)
    with pytest.raises(ValueError, match="oracle=2: must be true or false"):
        wiring.assemble(wiring.compose(["oracle=2"]))
