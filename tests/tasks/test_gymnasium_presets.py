"""The shipped Gymnasium tasks: each row means what it says, in environments new and used."""

import gymnasium
import numpy as np
import pytest
import torch

from metarl_exp import wiring
from metarl_exp.tasks import GymnasiumTasks

CPU = torch.device("cpu")
PRESETS = {
    "pendulum": None,
    "acrobot": None,
    "lunar_lander": "Box2D",
    "minigrid_hidden_goal": "minigrid",
    "highway": "highway_env",
}


def preset(name) -> GymnasiumTasks:
    if PRESETS[name]:
        pytest.importorskip(PRESETS[name])
    return wiring.component("tasks", wiring.compose([f"tasks={name}"]).tasks)


def start(tasks, *rows, trajectories=1, seed=0):
    env = tasks.make_env(
        torch.tensor(rows, dtype=torch.float64), trajectories, torch.Generator().manual_seed(seed), CPU
    )
    return env, env.reset()


def random_actions(tasks, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if tasks.spec.discrete:
        return torch.randint(tasks.spec.action_size, shape, generator=generator)
    return torch.randn(*shape, tasks.spec.action_size, generator=generator)


@pytest.mark.parametrize("name", PRESETS)
def test_a_used_environment_is_as_good_as_a_new_one(name):
    """Bit for bit, whatever task and episode it was used for; a run that continues starts with new ones."""
    tasks = preset(name)
    rows = tasks.sample(2, torch.Generator().manual_seed(0))

    def roll(its_rows, seed):
        env = tasks.make_env(its_rows, 2, torch.Generator().manual_seed(seed), CPU)
        answers = [env.reset()]
        for t in range(6):
            answers += env.step(random_actions(tasks, (2, 2), t))[:4]
        return answers

    new = roll(rows, 1)
    roll(tasks.sample(2, torch.Generator().manual_seed(1)), 2)
    used = roll(rows, 1)
    assert all(torch.equal(a, b) for a, b in zip(new, used, strict=True))
    assert new[0].shape == (2, 2, tasks.spec.observation_size)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_can_be_filmed(name):
    pytest.importorskip("pygame")
    env, _ = start(tasks := preset(name), tasks_row(tasks))
    env.step(random_actions(tasks, (1, 1)))
    picture = env.frame(0, 0)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert len(np.unique(picture)) > 2


def tasks_row(tasks):
    return tasks.sample(1, torch.Generator().manual_seed(0))[0].tolist()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_its_numbers_come_from(name):
    libraries = preset(name).libraries
    assert libraries[0] == "gymnasium"
    assert len(libraries) == 1 + (PRESETS[name] is not None)


def test_the_pendulum_swings_by_its_own_mass_and_length():
    """One step of the equation of motion: ω′ = ω + (3 g / 2 l · sin ϑ + 3 / (m l²) · u) dt, |ω′| ≤ 8."""
    env, observation = start(preset("pendulum"), [0.5, 1.5], [1.5, 0.5])
    cosine, sine, speed = observation[:, 0].double().unbind(-1)
    mass, length = torch.tensor([0.5, 1.5]), torch.tensor([1.5, 0.5])
    torque = 2.0 * 0.25  # output 0.25 of ±2 N m
    expected = speed + (15 / length * sine + 3 / (mass * length**2) * torque) * 0.05
    step = env.step(torch.full((2, 1, 1), 0.25))
    torch.testing.assert_close(step.observation[:, 0, 2].double(), expected.clamp(-8, 8), rtol=1e-5, atol=1e-5)
    cost = torch.atan2(sine, cosine) ** 2 + 0.1 * speed**2 + 0.001 * torque**2
    torch.testing.assert_close(step.reward[:, 0].double(), -cost, rtol=1e-5, atol=1e-5)


def test_the_acrobot_swings_by_its_own_links_and_motor():
    """As Gymnasium's with the same constants, the second way of the motor being [3, 0, −3] N m."""
    links = [0.8, 1.2, 0.9]
    tasks = preset("acrobot")
    env, _ = start(tasks, [1.0, *links])
    theirs = gymnasium.make("Acrobot-v1").unwrapped
    theirs.LINK_MASS_1, theirs.LINK_MASS_2, theirs.LINK_LENGTH_1 = links
    theirs.AVAIL_TORQUE = [3.0, 0.0, -3.0]
    theirs.reset(seed=env.episodes[0].seed)
    for action in random_actions(tasks, (30,)).tolist():
        expected, reward, *_ = theirs.step(action)
        step = env.step(torch.tensor([[action]]))
        assert torch.equal(step.observation[0, 0], torch.tensor(expected))
        assert step.reward.item() == reward


def test_the_lander_falls_by_its_own_gravity_and_is_moved_by_its_own_wind():
    """Without thrust the same start falls faster the heavier, and only what has wind is moved by it."""
    env, _ = start(preset("lunar_lander"), [-6.0, 0.0, 0.0], [-11.9, 0.0, 0.0], [-6.0, 20.0, 2.0])
    env.episodes = [episode._replace(seed=7) for episode in env.episodes]
    env.reset()
    speeds = [env.step(torch.zeros(3, 1, dtype=torch.int64)).observation[:, 0, [2, 3, 5]] for _ in range(10)]
    gained = speeds[9] - speeds[0]  # sideways, upwards, turning; in units of their own
    assert gained[1, 1] / gained[0, 1] == pytest.approx(11.9 / 6.0, rel=0.02)
    assert gained[2, 1] == pytest.approx(gained[0, 1].item(), rel=0.02)
    assert gained[:2, [0, 2]].abs().max() < 1e-3 < gained[2, [0, 2]].abs().min()


# ---- the hidden goal

LEFT, RIGHT, FORWARD = 0, 1, 2


def test_the_goal_is_where_the_task_says_and_pays_by_the_steps_to_it():
    """From (1, 1), looking right: twice forward to (3, 1), a turn, forward to (3, 2). 1 − 0.9 · 4 / 20."""
    env, observation = start(preset("minigrid_hidden_goal"), [3, 2], [2, 2])
    assert observation[0, 0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]  # x, y and direction, one-hot
    steps = [env.step(torch.full((2, 1), action)) for action in (FORWARD, FORWARD, RIGHT, FORWARD)]
    assert [s.reward[0, 0].item() for s in steps] == pytest.approx([0, 0, 0, 0.82])
    assert [s.terminal[0, 0].item() for s in steps] == [s.success[0, 0].item() for s in steps] == [False] * 3 + [True]
    assert steps[3].observation[0, 0].tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0]
    assert not steps[3].terminal[1, 0]


def test_the_goal_is_not_seen():
    """Until it is reached, what is observed is the same in every task."""
    tasks = preset("minigrid_hidden_goal")
    env, first = start(tasks, [4, 4], [1, 4], [4, 2])
    seen = [first, *(env.step(torch.full((3, 1), a)).observation for a in (FORWARD, RIGHT, FORWARD, LEFT, FORWARD))]
    for observation in seen:
        assert torch.equal(observation, observation[:1].expand_as(observation))


def test_a_grid_of_symbols_that_is_declared_as_pixels_stays_as_it_is_behind_a_wrapper():
    """As docs/your-own-tasks.md says. MiniGrid's numbers are at most 10: a wall is 2, a goal 8."""
    pytest.importorskip("minigrid")
    image, symbols = "minigrid.wrappers.ImgObsWrapper", "gymnasium.wrappers.DtypeObservation"
    seen = []
    for wrappers in ([image], [image, {"wrapper": symbols, "dtype": "float32"}]):
        vary = {"steps": {"attribute": "max_steps", "integer": [10, 20]}}
        tasks = GymnasiumTasks("minigrid:MiniGrid-Empty-6x6-v0", 20, {}, vary, wrappers, None, 0, "fork", None)
        seen.append(start(tasks, [15])[1])
    assert seen[1].unique().tolist() == [0, 1, 2, 5, 8]
    torch.testing.assert_close(seen[0], seen[1] / 255)


def test_the_time_of_the_game_runs_out_without_an_end():
    env, _ = start(preset("minigrid_hidden_goal"), [4, 4])
    steps = [env.step(torch.tensor([[LEFT]])) for _ in range(20)]
    assert [s.truncated.item() for s in steps] == [False] * 19 + [True]
    assert not any(s.terminal.item() for s in steps)


# ---- highway


def test_the_road_pays_what_the_task_says():
    """The same traffic: rewards of two tasks differ by the difference of weights times lane, or times speed."""
    tasks = preset("highway")
    env, _ = start(tasks, [0.0, 0.0, 1.0], [0.4, 0.0, 1.0], [0.0, 0.5, 1.0])
    env.episodes = [episode._replace(seed=3) for episode in env.episodes]
    env.reset()
    for _ in range(3):
        step = env.step(torch.full((3, 1), 2))  # to the right
        assert torch.equal(step.observation, step.observation[:1].expand(3, -1, -1))
        ours, right, speed = step.reward[:, 0].tolist()
        vehicle = env.pool.vector.envs[0].env.unwrapped.vehicle
        assert right - ours == pytest.approx(0.4 * vehicle.target_lane_index[2] / 2, abs=1e-6)
        fast = np.clip((vehicle.speed * np.cos(vehicle.heading) - 20) / 10, 0, 1)
        assert speed - ours == pytest.approx(0.5 * fast, abs=1e-6)


def test_few_tasks_are_declared_and_ranges_are_not():
    assert preset("minigrid_hidden_goal").train_test_overlap == "there are 12 tasks in all"
    assert preset("pendulum").train_test_overlap is None
