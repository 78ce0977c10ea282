"""Oracles: Gymnasium's own environments, and one MjData stepped by hand: the same state, the same actions."""

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from metarl_exp.tasks.mujoco import AntDirection, HalfCheetahDirection
from metarl_exp.tasks.mujoco.engines import Rollouts
from metarl_exp.tasks.mujoco.models import ASSETS

OBSERVING_PLACE = {"exclude_current_positions_from_observation": False}
ORACLES = {
    "half_cheetah": ("HalfCheetah-v5", {}),
    "ant": ("Ant-v5", {}),
    "ant_goal": ("Ant-v5", OBSERVING_PLACE),
    "walker2d": ("Walker2d-v5", {}),
    "hopper": ("Hopper-v5", {}),
    "humanoid": ("Humanoid-v5", {}),
}
BODIES = ("walker2d", "hopper")


def control(env, action):
    """What the motors of the only robot get of a policy's output [1, 1, A]."""
    return np.clip(action[0, 0].numpy(), -1, 1) * env.machine.model.actuator_ctrlrange[:, 1]


def oracle_of(name, env):
    """Gymnasium's environment, put into the first state of ours."""
    made, settings = ORACLES[name]
    oracle = gymnasium.make(made, **settings).unwrapped
    oracle.reset()
    mujoco.mj_resetData(oracle.model, oracle.data)
    oracle.set_state(*(x[0] for x in env.start))
    return oracle


def nominal(distribution, env_name):
    """The task at which a distribution is Gymnasium's environment."""
    return [[0.0] * len(distribution.parameter_names)] if env_name in BODIES else [[1.0]]


def assert_same(env, oracle, actions, forget):
    """Step both until the end: observations and rewards (float32) and ends, bit for bit; how many steps it took."""
    np.testing.assert_array_equal(env.reset()[0, 0], oracle._get_obs().astype(np.float32))
    for number, action in enumerate(actions, start=1):
        if forget:
            oracle.data.qacc_warmstart[:] = 0
        observation, reward, terminal, _, _ = oracle.step(control(env, action))
        step = env.step(action)
        np.testing.assert_array_equal(step.observation[0, 0], observation.astype(np.float32))
        assert step.reward.item() == np.float32(reward)
        assert step.terminal.item() == terminal
        assert not step.truncated.any()
        if terminal:
            return number
    return len(actions)


@pytest.mark.parametrize("name", [name for name in ORACLES if name != "ant_goal"])
def test_ahead_is_gymnasiums_environment_bit_for_bit(distributions, make, actions, name):
    """`Threads` carries the solver's warm start as Gymnasium does; for `Rollouts` Gymnasium's is forgotten as well."""
    distribution = distributions(name)
    env = make(distribution, nominal(distribution, name), 1)
    cold = isinstance(distribution.machine.engine, Rollouts)
    steps = assert_same(env, oracle_of(name, env), actions(env, 100, spread=0.5), forget=cold)
    # The planar robots and the humanoid fall; when the ant does, if at all, is up to MuJoCo's version.
    assert {"half_cheetah": steps == 100, "ant": steps > 10}.get(name, 10 < steps < 100)


@pytest.mark.parametrize("kind", [HalfCheetahDirection, AntDirection])
def test_an_elliptic_cone_is_gymnasiums_environment_with_that_cone_bit_for_bit(make, actions, kind):
    distribution = kind("gymnasium", 100, cone="elliptic")
    env = make(distribution, [[1.0]], 1)
    oracle = oracle_of("ant" if kind is AntDirection else "half_cheetah", env)
    oracle.model.opt.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    cold = isinstance(distribution.machine.engine, Rollouts)
    assert assert_same(env, oracle, actions(env, 100, spread=0.5), forget=cold) > 10
    distribution.close()


@pytest.mark.parametrize("name", BODIES)
def test_another_body_is_gymnasiums_environment_with_these_numbers(distributions, make, actions, name):
    distribution = distributions(name)
    env = make(distribution, seed=4)
    task = env.task[:1]
    env = make(distribution, task.tolist(), 1)
    oracle = oracle_of(name, env)
    factors, start = np.exp(task[0]), 0
    for field in ("body_mass", "body_inertia", "dof_damping", "geom_friction"):
        value = getattr(oracle.model, field)
        entries = np.argwhere(value)
        for index, factor in zip(entries, factors[start : start + len(entries)], strict=True):
            value[tuple(index)] *= factor
        start += len(entries)
    assert start == len(factors)
    mujoco.mj_setConst(oracle.model, oracle.data)
    oracle.set_state(*(x[0] for x in env.start))
    assert assert_same(env, oracle, actions(env, 60, spread=0.3), forget=True) > 5
    nominal_env = make(distribution, nominal(distribution, name), 1)
    nominal_env.reset()
    assert not torch.equal(nominal_env.step(actions(env, 1)[0]).observation, env.step(actions(env, 1)[0]).observation)


def test_a_cold_solver_differs_from_a_warm_one_by_its_tolerance(distributions, make, actions):
    """The state that `Rollouts` makes of the oracle's own, against the oracle's next."""
    env = make(distributions("half_cheetah"), [[1.0]], 1)
    oracle = oracle_of("half_cheetah", env)
    env.reset()
    worst = 0.0
    for action in actions(env, 100):
        oracle.step(control(env, action))
        env.step(action)
        worst = max(worst, np.abs(env.episodes.qvel[0] - oracle.data.qvel).max())
        env.episodes.qpos[0], env.episodes.qvel[0] = oracle.data.qpos, oracle.data.qvel
    assert 0 < worst < 1e-5  # of velocities around 10


def test_a_goal_of_the_ant_is_seen_from_gymnasiums_ant_and_paid_by_the_distance(distributions, make, actions):
    goal = np.array([1.0, -2.0])
    env = make(distributions("ant_goal"), [goal.tolist()], 1)
    oracle = oracle_of("ant_goal", env)
    env.reset()
    for action in actions(env, 20):
        observation, _, _, _, info = oracle.step(control(env, action))
        step = env.step(action)
        np.testing.assert_array_equal(step.observation[0, 0], observation.astype(np.float32))
        distance = np.abs(oracle.data.body("torso").xpos[:2] - goal).sum()
        others = info["reward_ctrl"] + info["reward_contact"] + info["reward_survive"]
        assert step.reward.item() == pytest.approx(4 - distance + others, abs=1e-5)


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_the_cheetah_of_rllab_is_one_mjdata_stepped_by_hand(distributions, make, actions, direction):
    """One time step an action; centre of mass and its velocity as MuJoCo computes them from the new state."""
    env = make(distributions("half_cheetah_rllab"), [[direction]], 1)
    observed, data = env.reset(), mujoco.MjData(env.machine.model)
    data.qpos[:], data.qvel[:] = (x[0] for x in env.start)
    for action in [None, *actions(env, 200)]:
        if action is not None:
            data.ctrl[:] = control(env, action)
            data.qacc_warmstart[:] = 0
            mujoco.mj_step(env.machine.model, data)
            step = env.step(action)
            observed = step.observation
        mujoco.mj_forward(env.machine.model, data)
        mujoco.mj_subtreeVel(env.machine.model, data)
        expected = np.concatenate([data.qpos[1:], data.qvel, data.subtree_com[1]])
        np.testing.assert_allclose(observed[0, 0], expected.astype(np.float32), rtol=2e-7, atol=1e-8)
        if action is not None:
            reward = direction * data.subtree_linvel[1, 0] - 0.05 * np.square(data.ctrl).sum()
            np.testing.assert_allclose(step.reward.item(), reward, rtol=2e-6, atol=1e-6)
            assert not step.terminal.any()
    assert env.machine.seconds == 0.01


@pytest.mark.parametrize(
    ("name", "task", "forward"),
    [
        ("ant_rllab", [-1.0], lambda place, speed: -speed),
        ("ant_velocity_rllab", [1.3], lambda place, speed: 1 - abs(speed - 1.3)),
        ("ant_goal_rllab", [2.0, -1.0], lambda place, speed: 4 - abs(place[0] - 2) - abs(place[1] + 1)),
    ],
)
def test_the_ant_of_rllab_is_one_mjdata_stepped_by_hand(distributions, make, actions, name, task, forward):
    """After a step everything is computed anew, as mj_forward did in rllab; the warm start goes on."""
    env = make(distributions(name), [task], 1)
    observed, model = env.reset(), env.machine.model
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = (x[0] for x in env.start)
    touched = 0
    for action in [None, *actions(env, 40)]:
        if action is not None:
            data.ctrl[:] = control(env, action)
            mujoco.mj_step(model, data)
            step = env.step(action)
            observed = step.observation
        for settle in (mujoco.mj_forward, mujoco.mj_rnePostConstraint, mujoco.mj_subtreeVel):
            settle(model, data)
        contact = np.clip(data.cfrc_ext, -1, 1)
        expected = np.concatenate([data.qpos, data.qvel, contact.ravel(), data.xmat[1], data.subtree_com[1]])
        np.testing.assert_array_equal(observed[0, 0], expected.astype(np.float32))
        if action is not None:
            paid = forward(data.subtree_com[1], data.subtree_linvel[1, 0])
            cost = 0.005 * np.square(data.ctrl).sum() + 0.0005 * np.square(contact).sum()
            assert step.reward.item() == pytest.approx(paid + 0.05 - cost, abs=1e-6)
            assert step.terminal.item() == (not 0.2 <= data.qpos[2] <= 1.0)
            touched += contact[1:].any()
    assert 5 < touched < 40
    assert env.machine.seconds == 0.02


def test_the_ants_model_in_rllabs_physics(distributions):
    """What rllab's file says otherwise than Gymnasium's, and nothing else."""
    ours = distributions("ant_rllab").machine.model
    file = mujoco.MjModel.from_xml_path(str(ASSETS / "ant.xml"))
    assert ours.opt.timestep == 0.02
    assert ours.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    np.testing.assert_array_equal(ours.geom_solref, [[0.02, 1]] * ours.ngeom)
    np.testing.assert_array_equal(ours.geom_solimp[:, :3], [[0.8, 0.8, 0.01]] * ours.ngeom)
    # There the range is ±150 at gear 1.
    np.testing.assert_array_equal(ours.actuator_gear[:, 0] * ours.actuator_ctrlrange[:, 1], [150] * 8)
    for name in dir(file):
        value = getattr(file, name)
        if isinstance(value, np.ndarray) and name not in ("geom_solref", "geom_solimp"):
            np.testing.assert_array_equal(getattr(ours, name), value, err_msg=name)


@pytest.mark.parametrize(
    ("name", "position", "velocity", "bounded"),
    [
        ("half_cheetah", 0.1, 0.1, (True, False)),
        ("half_cheetah_rllab", 0.01, 0.1, (False, False)),
        ("ant", 0.1, 0.1, (True, False)),
        ("ant_rllab", 0.01, 0.1, (False, False)),
        ("walker2d", 0.005, 0.005, (True, True)),
        ("hopper", 0.005, 0.005, (True, True)),
        ("humanoid", 0.01, 0.01, (True, True)),
    ],
)
def test_start(distributions, make, name, position, velocity, bounded):
    """Gymnasium's positions are uniform in ±0.1 around the model's pose, rllab's normal around bent legs; and so on."""
    distribution = distributions(name)
    model = distribution.machine.model
    pose = [0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1] if name == "ant_rllab" else model.qpos0
    env = make(distribution, [[1.0] * len(distribution.parameter_names)], 4000)
    noises = (env.start[0] - pose, position, bounded[0]), (env.start[1], velocity, bounded[1])
    for noise, scale, uniform in noises:
        spread = scale / 3**0.5 if uniform else scale
        np.testing.assert_allclose(noise.std(0), spread, rtol=0.06)
        np.testing.assert_allclose(noise.mean(0), 0, atol=4.5 * spread / 4000**0.5)
        assert (np.abs(noise).max() <= scale) == uniform


@pytest.mark.parametrize("name", ["ant", "walker2d", "hopper", "humanoid"])
def test_health_is_judged_as_by_gymnasium(distributions, make, name):
    """Of states near the limits, and of broken ones."""
    distribution = distributions(name)
    env = make(distribution, nominal(distribution, name), 300)
    oracle = oracle_of(name, env)
    env.reset()
    generator, qpos, qvel = np.random.default_rng(0), env.episodes.qpos, env.episodes.qvel
    height = 2 if name in ("ant", "humanoid") else 1
    qpos[:, height] = generator.uniform(0.0, 2.4, 300)
    if name in BODIES:
        qpos[:, 2] = generator.uniform(-1.5, 1.5, 300) * (1 if name == "walker2d" else 0.2)
        qpos[::50, -1], qvel[::30, 0] = 101, -101
    if name == "ant":
        qvel[::40, 3] = np.inf
    expected = []
    for position, velocity in zip(qpos, qvel, strict=True):
        oracle.data.qpos[:], oracle.data.qvel[:] = position, velocity
        expected.append(bool(oracle.is_healthy))
    assert 30 < sum(expected) < 270
    np.testing.assert_array_equal(env.machine.robot.healthy(env.episodes), expected)


@pytest.mark.parametrize(("name", "weight"), [("half_cheetah_velocity", 0.1), ("half_cheetah_velocity_rllab", 0.05)])
def test_the_cheetahs_velocity_is_paid_by_the_distance_to_the_goal(distributions, make, actions, name, weight):
    env = make(distributions(name), [[1.3]], 1)
    env.reset()
    before = env.episodes.qpos[0, 0]
    action = actions(env, 1)[0]
    reward = env.step(action).reward.item()
    if env.machine.physics == "gymnasium":
        speed = (env.episodes.qpos[0, 0] - before) / 0.05
    else:
        speed = env.episodes["mass_velocity"][0, 0]
    assert reward == pytest.approx(-abs(speed - 1.3) - weight * np.square(control(env, action)).sum(), abs=1e-6)
