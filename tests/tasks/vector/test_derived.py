"""What follows from a task's attributes: environments are what a new one with the same numbers would be."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from metarl_exp.tasks import CartPole, GymnasiumTasks
from metarl_exp.tasks.cartpole import NOMINAL
from metarl_exp.tasks.vector import derived
from metarl_exp.tasks.vector.derived import renewals, require_free
from metarl_exp.tasks.vector.path import Path

CPU = torch.device("cpu")
mujoco = pytest.importorskip("mujoco")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """MuJoCo writes its warnings into a file where one stands."""
    monkeypatch.chdir(tmp_path)


def tasks_of(id, workers=0, **columns):
    vary = {name: {"attribute": attribute, "uniform": [0.5, 1.5]} for name, attribute in columns.items()}
    return GymnasiumTasks(id, 60, {}, vary, [], None, workers, "fork", None)


def played(tasks, row, actions):
    """Observations, rewards and the seed of an episode of a task under a policy's actions [T, A] or [T]."""
    env = tasks.make_env(torch.tensor([row], dtype=torch.float64), 1, torch.Generator().manual_seed(0), CPU)
    seen, rewards = [env.reset()[0, 0].tolist()], []
    for action in actions:
        step = env.step(action[None, None])
        seen.append(step.observation[0, 0].tolist())
        rewards.append(step.reward.item())
        if step.terminal.any():
            break
    return seen, rewards, env.episodes[0].seed


def stepped(env, actions, seed):
    """Play one live environment, with actions in its own form."""
    seen, rewards = [np.float32(env.reset(seed=seed)[0]).tolist()], []
    for action in actions:
        observation, reward, terminal, *_ = env.step(action)
        seen.append(np.float32(observation).tolist())
        rewards.append(float(np.float32(reward)))
        if terminal:
            break
    return seen, rewards


# ---- classic control


@pytest.mark.parametrize(
    ("attribute", "parameter", "value"),
    [("masspole", "pole_mass", 2.0), ("length", "length", 2.0), ("masscart", "cart_mass", 5.0)],
)
def test_gymnasiums_cartpole_falls_as_one_with_that_mass_or_length(attribute, parameter, value):
    """As this package's own CartPole, which computes the total mass at every step, from the same start."""
    actions = torch.arange(60) % 2
    seen, rewards, _ = played(tasks_of("CartPole-v1", x=attribute), [value], actions)
    ours = CartPole(**{"horizon": 60, "hidden": "none", **NOMINAL, parameter: [value, value]})
    env = ours.make_env(ours.sample(1, torch.Generator()), 1, torch.Generator().manual_seed(0), CPU)
    env.start = torch.tensor(seen[0], dtype=torch.float64)[None, None]
    env.reset()
    steps = [env.step(action[None, None]) for action in actions[: len(rewards)]]
    torch.testing.assert_close(
        torch.cat([s.observation[0] for s in steps]), torch.tensor(seen[1:]), rtol=1e-4, atol=1e-4
    )
    assert [bool(s.terminal) for s in steps] == [False] * (len(steps) - 1) + [len(steps) < 60]


@pytest.mark.parametrize(
    ("id", "attribute", "value"), [("Pendulum-v1", "max_torque", 4.0), ("MountainCarContinuous-v0", "max_action", 3.0)]
)
def test_the_largest_action_is_that_of_the_task(id, attribute, value):
    """A policy's 1 is the upper bound, whichever task was there before."""
    tasks = tasks_of(id, x=attribute)
    played(tasks, [1.2], torch.ones(1, 1))
    seen, rewards, seed = played(tasks, [value], torch.ones(5, 1))
    env = gymnasium.make(id).unwrapped
    setattr(env, attribute, value)
    assert (seen, rewards) == stepped(env, [np.float32([value])] * 5, seed)
    assert not np.allclose(seen, stepped(gymnasium.make(id).unwrapped, [np.float32([1.2])] * 5, seed)[0])


@pytest.mark.parametrize("attribute", ["total_mass", "polemass_length"])
def test_an_attribute_that_follows_from_others_is_no_place_for_a_task(attribute):
    with pytest.raises(ValueError, match=f"x.attribute='{attribute}': is computed from masspole and .*; vary these"):
        tasks_of("CartPole-v1", x=attribute)


# ---- MuJoCo


def edited(id, path, value):
    """Gymnasium's environment with another number in its model, and constants that belong to it."""
    env = gymnasium.make(id, max_episode_steps=-1, disable_env_checker=True).unwrapped
    Path(path, "").put(env, value)
    mujoco.mj_setConst(env.model, mujoco.MjData(env.model))
    return env


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("id", "path", "value"),
    [
        ("Walker2d-v5", "model.body_mass[1]", 30.0),
        ("Hopper-v5", "model.body_mass[-1]", 30.0),
        ("HalfCheetah-v5", "model.body_mass[1]", 30.0),
        ("HalfCheetah-v5", "model.body_inertia[2][1]", 0.9),
        ("HalfCheetah-v5", "model.geom_friction[0][0]", 0.05),
        ("HalfCheetah-v5", "model.opt.gravity[2]", -5.0),
        ("HalfCheetah-v5", "model.actuator_gear[0][0]", 200.0),
        ("HalfCheetah-v5", "model.body_pos[2][0]", -0.7),
    ],
)
def test_mujocos_constants_are_those_of_the_task(id, path, value, workers):
    """Bit for bit, after another task was in the same environment."""
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 6)).astype(np.float32)
    with_it = edited(id, path, value)
    actions = actions[:, : with_it.model.nu]
    tasks = tasks_of(id, workers, x=path)
    played(tasks, [1.5 * value], torch.from_numpy(actions[:3]))
    seen, rewards, seed = played(tasks, [value], torch.from_numpy(actions))
    tasks.close()
    assert (seen, rewards) == stepped(with_it, actions * with_it.action_space.high, seed)


def test_mujocos_constants_are_those_of_a_task_that_a_wrapper_puts_in():
    vary = {"mass": {"wrapper": "Weighted", "uniform": [0.5, 1.5]}}
    tasks = GymnasiumTasks("HalfCheetah-v5", 60, {}, vary, ["tests.environments.Weighted"], None, 0, "fork", None)
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 6)).astype(np.float32)
    seen, rewards, seed = played(tasks, [30.0], torch.from_numpy(actions))
    assert (seen, rewards) == stepped(edited("HalfCheetah-v5", "model.body_mass[1]", 30.0), actions, seed)


def test_the_range_of_a_motor_is_what_a_policy_s_output_is_stretched_onto():
    """An actuator of twice the range under an output is one of the nominal range under twice the action."""
    path = "model.actuator_ctrlrange[0][1]"
    seen, _, seed = played(tasks_of("Hopper-v5", x=path), [3.0], torch.full((10, 3), 0.5))
    env = edited("Hopper-v5", path, 3.0)
    assert seen == stepped(env, [np.float32([2.0, 0.5, 0.5])] * 10, seed)[0]  # −1 … 3 at 0.5


def test_a_start_that_follows_from_the_model_is_its():
    env = gymnasium.make("HalfCheetah-v5", reset_noise_scale=0.0).unwrapped
    path = Path("model.qpos0[2]", "")
    path.put(env, 0.3)
    for renew in renewals(env, [path]):
        renew()
    env.reset(seed=0)
    assert env.data.qpos[2] == 0.3


MODEL = """
<mujoco>
  <worldbody>
    <body name="torso" pos="0 0 1">
      <joint name="root" type="hinge" axis="0 1 0"/>
      <inertial pos="0.01 0 0" mass="{mass}" diaginertia="0.3 {inertia} 0.1"/>
      <geom type="capsule" size="0.1 0.3"/><geom type="sphere" size="0.1" pos="{place} 0 0"/><site name="a"/>
      <body name="leg" pos="{place} 0 -0.4">
        <joint name="hip" axis="0 1 0" stiffness="2" armature="{armature}"/>
        <inertial pos="0 0 -0.02" mass="0.7" diaginertia="0.03 0.02 0.01"/>
        <geom type="capsule" size="0.05 0.2"/><site name="b" pos="0 0 -0.1"/>
      </body>
    </body>
  </worldbody>
  <tendon><spatial name="t" stiffness="3" springlength="0.4"><site site="a"/><site site="b"/></spatial></tendon>
  <actuator><motor joint="hip" gear="{gear}"/><general tendon="t" gainprm="2"/></actuator>
</mujoco>"""
NUMBERS = {"mass": 2.0, "inertia": 0.2, "armature": 0.02, "gear": 10.0, "place": 0.3}


class Hinge:
    """An environment as far as it has a model."""

    def __init__(self, **numbers):
        self.model = mujoco.MjModel.from_xml_string(MODEL.format(**NUMBERS | numbers))

    @property
    def mass(self):
        return self.model.body_mass[1]

    @mass.setter
    def mass(self, value):
        self.model.body_mass[1] = value


def numbers_of(model):
    arrays = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {name: x.copy() for name, x in arrays.items() if isinstance(x, np.ndarray)}


@pytest.mark.parametrize(
    ("number", "value", "paths"),
    [
        ("mass", 3.0, ["model.body_mass[1]"]),
        ("mass", 3.0, ["mass"]),
        ("inertia", 0.25, ["model.body_inertia[1][1]"]),
        ("armature", 0.3, ["model.dof_armature[1]"]),
        ("gear", 25.0, ["model.actuator_gear[0][0]"]),
        ("place", 0.5, ["model.body_pos[2][0]", "model.geom_pos[1][0]"]),
    ],
)
def test_a_model_is_the_one_that_is_compiled_with_the_number(number, value, paths):
    """All arrays of MuJoCo's compiler, which knows nothing of tasks; before, some of them differ."""
    env, compiled = Hinge(), numbers_of(Hinge(**{number: value}).model)
    paths = [Path(path, "") for path in paths]
    for path in paths:
        path.put(env, value)
    assert any(not np.array_equal(x, compiled[name]) for name, x in numbers_of(env.model).items())
    for renew in renewals(env, paths):
        renew()
    for name, x in numbers_of(env.model).items():
        np.testing.assert_allclose(x, compiled[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_constants_are_left_alone_where_no_task_writes_to_the_model():
    """Whatever MuJoCo's compiler was told of them."""
    env = Hinge()
    env.speed = 1.0
    assert renewals(env, [Path("speed", "")]) == []
    assert len(renewals(env, [Path("model.body_mass[1]", ""), Path("model.body_mass[2]", "")])) == 1
    assert len(renewals(env, [], code_ran=True)) == 1


def test_a_wrapped_model_is_found():
    """dm_control has the model behind one of its own, which is part of the physics."""
    env = Hinge()
    env.physics = Hinge()
    env.physics.model = type("Wrapped", (), {"ptr": env.physics.model, "body_mass": env.physics.model.body_mass})()
    (renew,) = renewals(env.physics, [Path("model.body_mass[1]", "")])
    env.physics.model.body_mass[1] = 5.0
    renew()
    assert env.physics.model.ptr.body_subtreemass[1] == pytest.approx(5.7)


def test_bounds_of_contacts_that_this_mujoco_would_not_renew_are_refused(monkeypatch):
    path = Path("model.geom_size[0][0]", "tasks.vary.x.attribute")
    monkeypatch.setattr(mujoco, "__version__", "3.16.0")
    with pytest.raises(
        ValueError, match=r"x.attribute='model.geom_size\[0\]\[0\]': MuJoCo 3.16.0 .*needs 3.17 or later"
    ):
        require_free(path, Hinge())
    monkeypatch.setattr(mujoco, "__version__", "4.0.0")
    require_free(path, Hinge())


# ---- which tasks give other numbers than before there was any renewal


@pytest.mark.parametrize(
    ("id", "attribute", "version"),
    [
        ("CartPole-v1", "masspole", 2),
        ("CartPole-v1", "force_mag", 1),
        ("Pendulum-v1", "m", 1),
        ("Hopper-v5", "model.body_mass[1]", 2),
        ("Hopper-v5", "_forward_reward_weight", 1),
        ("tests.environments:Camera-v0", "brightness", 2),
    ],
)
def test_only_tasks_whose_numbers_have_changed_have_another_version(id, attribute, version):
    assert tasks_of(id, x=attribute).version == version


def test_derived_attributes_are_those_of_a_new_environment():
    """Formulas of the nominal environments, against what their constructors computed."""
    for id in ("CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0", "HalfCheetah-v5", "Humanoid-v5"):
        env = gymnasium.make(id).unwrapped
        known = list(derived._derived(env))
        assert known
        for one in known:
            found, computed = getattr(env, one.name), one.formula(env)
            assert found == computed if isinstance(found, Box | float) else np.array_equal(found, computed)
