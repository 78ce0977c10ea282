"""The environments: ends, time limits, actions, instability, pictures."""

import numpy as np
import pytest
import torch

from metarl_exp.algorithm.sampler import Sampler
from metarl_exp.policy import GaussianMLP
from metarl_exp.tasks.mujoco.drawing import picture
from metarl_exp.types import RendersFrames


def test_an_episode_that_fell_is_not_stepped_on(distributions, make, actions):
    env = make(distributions("hopper"), trajectories=10)
    env.reset()
    ended = torch.zeros(env.shape, dtype=torch.bool)
    for action in actions(env, 60):
        state = env.episodes.state.copy()
        step = env.step(action)
        still = torch.from_numpy((env.episodes.state == state).all(1)).reshape(env.shape)
        assert torch.equal(still, ended)
        ended |= step.terminal
    assert 10 < ended.sum() <= 20


def test_a_time_limit_is_no_end(distributions):
    """The cheetah never ends: `horizon` steps each, none terminal. The hopper's ends are terminal, at its fall."""
    for name in ("half_cheetah", "hopper"):
        distribution = distributions(name)
        policy = GaussianMLP([8], "tanh", 1.0, 1e-6, 1e3, distribution.spec, torch.Generator(), torch.float32)
        parameters = {n: p.detach().expand(2, *p.shape) for n, p in policy.named_parameters()}
        tasks = distribution.sample(2, torch.Generator().manual_seed(0))
        sampler = Sampler(policy, distribution, 3, torch.device("cpu"))
        found = sampler(parameters, tasks, torch.Generator(), torch.Generator())
        lengths = found.mask.sum(-1)
        if name == "half_cheetah":
            assert (lengths == 100).all()
            assert not found.terminal.any()
        else:
            assert (lengths < 200).all()
            assert torch.equal(found.terminal.sum(-1), torch.ones_like(lengths))


def test_actions_are_stretched_onto_the_controls_and_clipped(distributions, make):
    """The humanoid's motors take ±0.4: an output of 1 is all they give, and of 7 too."""
    env = make(distributions("humanoid"), [[1.0]], 3)
    env.start = tuple(x[:1].repeat(3, 0) for x in env.start)
    env.reset()
    action = torch.ones(1, 3, 17)
    action[0, 1], action[0, 2] = 7.0, 0.5
    step = env.step(action)
    np.testing.assert_allclose(env.episodes.state[:, -17:], [[0.4] * 17, [0.4] * 17, [0.2] * 17], rtol=1e-15)
    assert torch.equal(step.observation[0, 0], step.observation[0, 1])
    assert not torch.equal(step.observation[0, 0], step.observation[0, 2])


def test_the_last_reward_of_rllabs_ant_has_its_bonus_and_that_of_gymnasiums_has_not(distributions, make):
    """On its back at a height of 1.5 m, with no control: nothing but the bonus and the speed."""
    for name, bonus in (("ant_rllab", 0.05), ("ant", 0.0)):
        env = make(distributions(name), [[1.0]], 1)
        env.start[0][:, 2] = 1.5
        env.start[1][:] = 0
        env.reset()
        step = env.step(torch.zeros(1, 1, 8))
        assert step.terminal.all()
        assert step.reward.item() == pytest.approx(bonus + env.motion.speed[0], abs=1e-6)


def test_an_unstable_simulation_is_an_error(distributions, make, actions, capfd):
    """MuJoCo alone would reset the robot, warn and go on."""
    for name in ("half_cheetah", "ant"):
        env = make(distributions(name))
        env.reset()
        env.episodes.qvel[4, 5] = 1e12
        with pytest.raises(ArithmeticError, match=r"unstable 0.05 s into episode \(1, 1\)"):
            env.step(actions(env, 1)[0])


def test_numbers_are_float32_and_finite(distributions, make, actions):
    for name in ("half_cheetah_rllab", "ant_goal_rllab"):
        env = make(distributions(name))
        observation, step = env.reset(), env.step(actions(env, 1)[0].float())
        assert observation.shape == step.observation.shape == (2, 3, distributions(name).spec.observation_size)
        assert observation.dtype == step.observation.dtype == step.reward.dtype == torch.float32
        assert step.terminal.shape == step.truncated.shape == step.reward.shape == (2, 3)
        assert step.observation.isfinite().all()


def test_a_frame_shows_the_robot_of_that_episode(distributions, make, actions):
    env = make(distributions("half_cheetah"))
    assert isinstance(env, RendersFrames)
    env.reset()
    first = env.frame(1, 2)
    assert first.shape == (320, 480, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, env.frame(1, 2))
    assert (first != env.frame(0, 0)).any()
    for action in actions(env, 10):
        env.step(action)
    assert (first != env.frame(1, 2)).any()


def test_a_frame_of_a_goal_shows_the_goal(distributions, make):
    """In red, to the right of and below the middle for a goal ahead and near."""
    env = make(distributions("ant_goal"), [[3.0, -2.0]], 1)
    env.reset()
    red = np.argwhere((env.frame(0, 0) == [200, 40, 40]).all(-1)).mean(0)
    np.testing.assert_allclose(red, [160 + 48 * 2 * np.sin(np.pi / 3), 240 + 48 * 3], atol=2)


def test_a_sphere_is_drawn_where_it_is():
    class Scene:
        """A ball of radius 0.5 m at (1, 0, 1)."""

        ngeom, geom_type, geom_size = 1, np.array([2]), np.array([[0.5, 0, 0]])
        geom_rgba = np.array([[0.0, 0.0, 1.0, 1.0]])
        geom_xpos, geom_xmat = np.array([[1.0, 0.0, 1.0]]), np.eye(3).reshape(1, 9)

    image = picture(Scene, Scene, np.zeros(3), metres=4.8, elevation=0.0, mark=None)
    blue = np.argwhere((image == [0, 0, 255]).all(-1))
    np.testing.assert_allclose(blue.mean(0), [160 - 100, 240 + 100], atol=1)
    assert len(blue) == pytest.approx(np.pi * 50**2, rel=0.02)
