"""Oracles: Gymnasium's own environment, and MuJoCo stepped by hand, from the same state and with the same actions."""

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from metarl_exp.tasks.mujoco import HalfCheetahDirection, HalfCheetahVelocity

AHEAD = [[1.0]]


def actions(env, steps, seed=1):
    """Random actions, some beyond the range: [steps, N, M, A]."""
    generator = torch.Generator().manual_seed(seed)
    size = env.machine.model.nu
    return 0.7 * torch.randn(steps, *env.shape, size, generator=generator, dtype=torch.float64)


def control(env, action):
    """What the robot's motors get of a policy's output."""
    high = env.machine.model.actuator_ctrlrange[:, 1]
    return np.clip(action.numpy(), -1, 1) * high


def same_start(env, oracle):
    """Put Gymnasium's environment into the first state of ours; its observation."""
    oracle.reset()
    mujoco.mj_resetData(oracle.model, oracle.data)
    qpos, qvel = env.start
    oracle.set_state(qpos[0], qvel[0])
    return oracle._get_obs()


@pytest.mark.parametrize(
    ("distribution", "name"), [(HalfCheetahDirection("gymnasium", 100), "HalfCheetah-v5")], ids=["half_cheetah"]
)
def test_forward_is_gymnasiums_environment_bit_for_bit(make, distribution, name):
    """In float32, as observations and rewards are; with the solver cold at each step, as `Rollouts` says."""
    env, oracle = make(distribution, AHEAD, 1), gymnasium.make(name).unwrapped
    np.testing.assert_array_equal(env.reset()[0, 0], same_start(env, oracle).astype(np.float32))
    for action in actions(env, 100):
        oracle.data.qacc_warmstart[:] = 0
        observation, reward, terminal, _, _ = oracle.step(control(env, action[0, 0]))
        step = env.step(action)
        np.testing.assert_array_equal(step.observation[0, 0], observation.astype(np.float32))
        assert step.reward.item() == np.float32(reward)
        assert step.terminal.item() == terminal
        assert not step.truncated.any()


def test_a_cold_solver_differs_from_a_warm_one_by_its_tolerance(make):
    env, oracle = make(HalfCheetahDirection("gymnasium", 100), AHEAD, 1), gymnasium.make("HalfCheetah-v5").unwrapped
    env.reset()
    same_start(env, oracle)
    worst = 0.0
    for action in actions(env, 100):
        oracle.step(control(env, action[0, 0]))
        env.step(action)
        worst = max(worst, np.abs(env.episodes.qvel[0] - oracle.data.qvel).max())
        env.episodes.qpos[0], env.episodes.qvel[0] = oracle.data.qpos, oracle.data.qvel  # the same state again
    assert 0 < worst < 1e-5  # of velocities of some 10


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_the_cheetah_of_rllab_is_one_mjdata_stepped_by_hand(make, direction):
    """One time step an action; centre of mass and its velocity as MuJoCo computes them from the new state."""
    env = make(HalfCheetahDirection("rllab", 200), [[direction]], 1)
    observed = env.reset()[0, 0]
    model = env.machine.model
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = (x[0] for x in env.start)
    assert model.opt.timestep == 0.01
    for action in [None, *actions(env, 200)]:
        if action is not None:
            data.ctrl[:] = control(env, action[0, 0])
            data.qacc_warmstart[:] = 0
            mujoco.mj_step(model, data)
            step = env.step(action)
            observed = step.observation[0, 0]
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        expected = np.concatenate([data.qpos[1:], data.qvel, data.subtree_com[1]])
        np.testing.assert_allclose(observed, expected.astype(np.float32), rtol=2e-7, atol=1e-8)
        if action is not None:
            reward = direction * data.subtree_linvel[1, 0] - 0.05 * np.square(data.ctrl).sum()
            np.testing.assert_allclose(step.reward.item(), reward, rtol=2e-6, atol=1e-6)
            assert not step.terminal.any()


@pytest.mark.parametrize(("physics", "weight"), [("gymnasium", 0.1), ("rllab", 0.05)])
def test_velocity_is_paid_by_the_distance_to_the_goal(make, physics, weight):
    goal = 1.3
    env = make(HalfCheetahVelocity(physics, 200, [0.0, 3.0]), [[goal]], 1)
    env.reset()
    before = env.episodes.qpos[0, 0]
    action = actions(env, 1)[0]
    step = env.step(action)
    speed = (env.episodes.qpos[0, 0] - before) / 0.05 if physics == "gymnasium" else env.episodes["mass_velocity"][0, 0]
    cost = weight * np.square(control(env, action)).sum()
    assert step.reward.item() == pytest.approx(-abs(speed - goal) - cost, abs=1e-6)


@pytest.mark.parametrize(("physics", "spread"), [("gymnasium", 0.1 / 3**0.5), ("rllab", 0.01)])
def test_start_noise(make, physics, spread):
    """Gymnasium's positions are uniform in ±0.1, rllab's normal with 0.01; velocities normal with 0.1 in both."""
    env = make(HalfCheetahDirection(physics, 100), [[1.0], [-1.0]], 4000)
    env.reset()
    qpos, qvel = env.episodes.qpos, env.episodes.qvel
    np.testing.assert_allclose(qpos.std(0), spread, rtol=0.03)
    np.testing.assert_allclose(qvel.std(0), 0.1, rtol=0.03)
    np.testing.assert_allclose(qpos.mean(0), 0, atol=4 * spread / 8000**0.5)
    if physics == "gymnasium":
        assert np.abs(qpos).max() <= 0.1
