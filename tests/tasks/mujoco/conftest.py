"""Every distribution once, and environments of them. MuJoCo writes its warnings into a file where one stands."""

import pytest
import torch

from metarl_exp.tasks import mujoco

DISTRIBUTIONS = {
    "half_cheetah": lambda: mujoco.HalfCheetahDirection("gymnasium", 100),
    "half_cheetah_rllab": lambda: mujoco.HalfCheetahDirection("rllab", 200),
    "half_cheetah_velocity": lambda: mujoco.HalfCheetahVelocity("gymnasium", 200, [0.0, 3.0]),
    "half_cheetah_velocity_rllab": lambda: mujoco.HalfCheetahVelocity("rllab", 200, [0.0, 2.0]),
    "ant": lambda: mujoco.AntDirection("gymnasium", 200),
    "ant_rllab": lambda: mujoco.AntDirection("rllab", 200),
    "ant_velocity": lambda: mujoco.AntVelocity("gymnasium", 200, [0.0, 3.0], 0.0),
    "ant_velocity_rllab": lambda: mujoco.AntVelocity("rllab", 200, [0.0, 3.0], 1.0),
    "ant_goal": lambda: mujoco.AntGoal("gymnasium", 200, "disc", 3.0, 4.0),
    "ant_goal_rllab": lambda: mujoco.AntGoal("rllab", 200, "square", 3.0, 4.0),
    "walker2d": lambda: mujoco.Walker2dBody("gymnasium", 200, 3.0),
    "hopper": lambda: mujoco.HopperBody("gymnasium", 200, 3.0),
    "humanoid": lambda: mujoco.HumanoidDirection("gymnasium", 200),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def distributions():
    """By name; each made when first asked for."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = DISTRIBUTIONS[name]()
        return made[name]

    yield get
    for distribution in made.values():
        distribution.close()


@pytest.fixture
def make():
    """An environment of a distribution: N = 2 drawn tasks and M = 3 unless said otherwise."""

    def build(distribution, tasks=None, trajectories=3, seed=0):
        generator = torch.Generator().manual_seed(seed)
        tasks = distribution.sample(2, generator) if tasks is None else torch.tensor(tasks, dtype=torch.float64)
        return distribution.make_env(tasks, trajectories, generator, torch.device("cpu"))

    return build


@pytest.fixture
def actions():
    """Random outputs of a policy for an environment, some beyond the range: [steps, N, M, A]."""

    def draw(env, steps, seed=1, spread=0.7):
        generator = torch.Generator().manual_seed(seed)
        size = env.machine.model.nu
        return spread * torch.randn(steps, *env.shape, size, generator=generator, dtype=torch.float64)

    return draw
