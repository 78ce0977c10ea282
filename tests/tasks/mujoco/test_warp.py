"""MuJoCo Warp against the C engine, from the same states and under the same actions; on Warp's own CPU device."""

import pytest
import torch

from metarl_exp import wiring
from metarl_exp.algorithm.sampler import Sampler
from metarl_exp.tasks.mujoco import HalfCheetahDirection, HalfCheetahVelocity

CPU = torch.device("cpu")
MAKERS = {
    "direction": lambda engine: HalfCheetahDirection("gymnasium", 50, engine),
    "velocity": lambda engine: HalfCheetahVelocity("gymnasium", 50, [0.0, 3.0], engine),
}


def warped(make):
    pytest.importorskip("mujoco_warp")
    return make("warp")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pair(name, device="cpu"):
    """The same environments, in C on the host and in Warp on the device, reset."""
    make = MAKERS[name]
    there, here = warped(make), make("c")
    tasks = here.sample(3, seeded())
    envs = [d.make_env(tasks, 4, seeded(1), torch.device(name)) for d, name in ((here, "cpu"), (there, device))]
    assert torch.equal(*(env.reset().cpu() for env in envs))
    return envs


def actions(steps):
    """Some beyond the range of the controls."""
    return 0.7 * torch.randn(steps, 3, 4, 6, generator=seeded(2))


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("name", MAKERS)
def test_a_few_steps_go_as_in_c(name, device):
    """Positions, velocities and rewards, while the robots fall onto the floor and push themselves off it.

    float32 leaves 1e-7 of a quantity, at each of an action's five time steps. Contacts are stiff, which makes of it up
    to 1e-4 in velocities of some m/s (5e-5 was seen), and each action takes over what those before have left. Rewards
    are speeds from differences of places over 0.05 s: 1e-7 m are 2e-6 m/s.
    """
    here, there = pair(name, device)
    for t, action in enumerate(actions(5)):
        one, two = here.step(action), there.step(action.to(device))
        assert two.observation.device.type == device
        torch.testing.assert_close(two.observation.cpu(), one.observation, rtol=1e-4, atol=2e-4 * (t + 1))
        torch.testing.assert_close(two.reward.cpu(), one.reward, rtol=1e-4, atol=2e-5 * (t + 1))
        assert not two.terminal.any()
        assert not two.truncated.any()


def test_one_step_goes_as_in_c_wherever_the_robots_have_come_to():
    """From states of the C engine throughout an episode, with up to all of a robot on the floor."""
    here, there = pair("direction")
    errors = []
    for action in actions(40):
        before = torch.from_numpy(here.episodes.qpos), torch.from_numpy(here.episodes.qvel)
        there.states = type(there.states)(*(x.float().clone() for x in before))
        one, two = here.step(action), there.step(action)
        errors.append((two.observation - one.observation).abs().flatten(2).amax(-1))
    errors = torch.stack(errors)
    assert errors.median() < 5e-5
    # Where a contact begins within the step, rounding decides in which of its time steps: rarely, and by little.
    assert errors.quantile(0.99) < 1e-3


def test_an_episode_does_not_depend_on_who_else_is_stepped():
    """Nor on what the same room in Warp was used for before."""
    distribution = warped(MAKERS["direction"])
    tasks = distribution.sample(3, seeded())
    envs = [distribution.make_env(tasks, 4, seeded(seed), CPU) for seed in (1, 1, 5)]
    for env in envs:
        env.reset()
    for action in actions(6):
        one, two, other = (env.step(action) for env in envs)
        assert torch.equal(one.observation, two.observation)
        assert not torch.equal(one.observation, other.observation)


def test_nothing_is_copied_out_of_warp():
    distribution = warped(MAKERS["direction"])
    worlds = distribution.warp.worlds(12, CPU)
    assert worlds.qpos.data_ptr() == worlds.data.qpos.ptr
    assert worlds.control.data_ptr() == worlds.data.ctrl.ptr
    assert distribution.warp.worlds(12, CPU) is worlds


def test_there_is_room_for_all_contacts_at_once():
    """Every capsule on the floor at once, every joint at its limit: nothing may be left out in silence."""
    there = pair("direction")[1]
    qpos = there.states.qpos.clone()
    qpos[:, 1] = -5.0  # m: below the floor
    qpos[:, 3:] = 3.0  # rad: beyond the limits
    there.states = there.states._replace(qpos=qpos)
    there.worlds.frame_skip = 1  # it is thrown out at once
    there.step(torch.zeros(3, 4, 6))
    data = there.worlds.data
    assert not data.overflow.numpy().any()
    assert data.nefc.numpy().min() == 4 * 2 * 8 + 6


def test_a_rollout_is_one_of_any_tasks():
    distribution = warped(MAKERS["velocity"])
    config = wiring.compose(["tasks=half_cheetah_velocity"])
    policy = wiring.component("policy", config.policy, spec=distribution.spec, generator=seeded())
    parameters = {n: p.detach().expand(2, *p.shape) for n, p in policy.named_parameters()}
    tasks = distribution.sample(2, seeded())
    found = Sampler(policy, distribution, 3, CPU)(parameters, tasks, seeded(), seeded())
    assert found.observations.shape == (2, 3, 50, 17)
    assert found.mask.all()


def test_the_identity_of_the_tasks_tells_the_engine():
    c, warp = (wiring.compose(["tasks=half_cheetah_direction", f"tasks.engine={e}"]) for e in ("c", "warp"))
    assert wiring.fingerprint(c) != wiring.fingerprint(warp)
    assert "engine" not in wiring.environment_identity(c)["settings"]  # as runs have it that were stored before
    pytest.importorskip("mujoco_warp")
    identity = wiring.environment_identity(warp)
    assert identity["settings"]["engine"] == "warp"
    assert set(identity["libraries"]) == {"mujoco", "mujoco-warp", "warp-lang"}


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ("ant_direction", "ant.xml, physics=gymnasium: what is observed does not follow .* .contact forces"),
        ("humanoid_direction", "contact forces"),
        ("half_cheetah_direction_rllab", "half_cheetah.xml, physics=rllab: .* centre of mass"),
        ("walker2d_body", "each task has a body of its own"),
    ],
)
def test_robots_that_warp_cannot_step_are_refused_with_the_reason(tasks, reason):
    with pytest.raises(ValueError, match=f"^tasks.engine='warp' with .*{reason}.*; take c$"):
        wiring.task_distribution(wiring.compose([f"tasks={tasks}", "tasks.engine=warp"]))


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="tasks.engine='wrap': allowed are c, warp .did you mean 'warp'"):
        wiring.task_distribution(wiring.compose(["tasks=half_cheetah_direction", "tasks.engine=wrap"]))


def test_without_the_extra_the_message_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "warp", None)
    with pytest.raises(ModuleNotFoundError, match=r"tasks.engine=warp needs warp, .* pip install 'metarl_exp\[warp\]'"):
        MAKERS["direction"]("warp")
