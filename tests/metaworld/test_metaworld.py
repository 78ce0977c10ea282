"""Meta-World as Meta-World has it: its tasks, its environments, its success. Run by `make test-metaworld`."""

import json
import pickle
import sys

import numpy as np
import pytest
import torch

from metarl_exp import wiring
from metarl_exp.commands import train
from metarl_exp.tasks import MetaWorld, metaworld_env
from metarl_exp.tasks.metaworld_tasks import split, turns

metaworld = pytest.importorskip("metaworld")
pytestmark = pytest.mark.metaworld

CPU = torch.device("cpu")
NAMES = list(metaworld.ALL_V3_ENVIRONMENTS)


def meta_world(benchmark="reach-v3", goal_seed=0, reward="v2", horizon=500, workers=0):
    return MetaWorld(benchmark, goal_seed, reward, horizon, workers, "spawn")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def content(task):
    """A task as Meta-World has it, without the vector, and the vector."""
    data = pickle.loads(task.data)
    return (task.env_name, data), data.pop("rand_vec").tolist()


def rebuilt(row):
    """The `metaworld.Task` of a row."""
    env = metaworld_env.task_environment("v2", row[0].item(), dict(enumerate(row[1:].tolist())))
    return metaworld_env.task_of(NAMES[int(row[0])], env._last_rand_vec)


def play(tasks, rows, actions):
    """First observation [N, M, S] and the steps that follow from actions [T, N, M, A]."""
    env = tasks.make_env(rows, actions.shape[2], generator(), CPU)
    return env.reset(), [env.step(action) for action in actions]


def play_by_hand(task, actions, reward="v2"):
    """The same with one environment of Meta-World's own: observations [T + 1, 39], rewards [T], successes [T]."""
    env = metaworld.ALL_V3_ENVIRONMENTS[task.env_name](reward_function_version=reward)
    env.set_task(task)
    observations, rewards, successes = [env.reset()[0]], [], []
    for action in actions:
        observation, its_reward, terminal, _, info = env.step(np.clip(action.numpy(), -1, 1))
        assert not terminal
        observations.append(observation)
        rewards.append(its_reward)
        successes.append(bool(info["success"]))
    return torch.from_numpy(np.array(observations)), torch.tensor(rewards), torch.tensor(successes)


@pytest.fixture(scope="module")
def all_environments():
    """The rows of ML45 for its seed 3, and Meta-World's own: 45 + 5 environments, here with two goals in each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metaworld, "_N_GOALS", 2)
        benchmark = metaworld.ML45(seed=3)
        patch.setattr(metaworld, "ML45", lambda seed: {3: benchmark}[seed])
        rows = split("ML45", 3)
    yield rows, benchmark
    split.cache_clear()


# ---- tasks


@pytest.mark.parametrize("name", ["reach-v3", "door-open-v3"])
def test_ml1_has_the_training_and_test_tasks_of_the_benchmark(name):
    """Of random vectors with 6 and with 3 numbers; every row is one task, exactly, and no test task is trained on."""
    benchmark, tasks = metaworld.ML1(name, seed=7), meta_world(name, goal_seed=7)
    train, test = tasks.sample(50, generator()), tasks.test_tasks(50, generator())
    own = [content(task) for task in benchmark.test_tasks]
    assert [content(rebuilt(row)) for row in test] == own
    own = [content(task) for task in benchmark.train_tasks]
    assert sorted(content(rebuilt(row))[1] for row in train) == sorted(vector for _, vector in own)
    assert not {tuple(row.tolist()) for row in train} & {tuple(row.tolist()) for row in test}
    assert train.dtype == torch.float64
    assert train.shape == (50, len(tasks.parameter_names))


def test_other_seeds_have_other_goals():
    assert not torch.equal(meta_world(goal_seed=1).test_tasks(5, generator()), meta_world().test_tasks(5, generator()))


def test_ml45_has_the_training_and_test_tasks_of_the_benchmark(all_environments):
    rows, benchmark = all_environments
    for mine, own, size in ((rows.train, benchmark.train_tasks, 45), (rows.test, benchmark.test_tasks, 5)):
        assert mine.shape == (size, 2, 7)
        assert [content(rebuilt(row)) for row in mine.flatten(0, 1)] == [content(task) for task in own]
    assert not set(rows.train[..., 0].flatten().tolist()) & set(rows.test[..., 0].flatten().tolist())


@pytest.mark.usefixtures("all_environments")
def test_environments_take_turns_and_no_task_comes_twice():
    tasks = meta_world("ML45", goal_seed=3)
    drawn = tasks.sample(180, generator())
    for turn in drawn.view(4, 45, 7):
        assert len(turn[:, 0].unique()) == 45
    assert len(drawn[:90].unique(dim=0)) == len(drawn[90:].unique(dim=0)) == 90
    assert torch.equal(drawn[:20], tasks.sample(20, generator()))
    assert len(tasks.test_tasks(5, generator())[:, 0].unique()) == 5


def test_no_more_test_tasks_than_there_are():
    with pytest.raises(ValueError, match=r"evaluation\.test_tasks=51: reach-v3 has 50"):
        meta_world().test_tasks(51, generator())


# ---- environments


@pytest.mark.parametrize("index", range(50), ids=lambda i: NAMES[i])
def test_a_row_is_stepped_as_meta_world_steps_its_task(index, all_environments):
    """Two tasks of an environment and two different episodes of each, all on shared models; all 50 environments."""
    rows, benchmark = all_environments
    chosen = [i for i, row in enumerate(torch.cat(rows)[:, 0, 0]) if row == index]
    (place,) = chosen
    own = (benchmark.train_tasks + benchmark.test_tasks)[2 * place : 2 * place + 2]
    actions = 1.2 * torch.randn(15, 2, 2, 4, generator=generator(index))
    tasks = meta_world(NAMES[index])
    start, steps = play(tasks, torch.cat(rows)[place], actions)
    for n, m in np.ndindex(2, 2):
        observations, rewards, successes = play_by_hand(own[n], actions[:, n, m])
        assert torch.equal(start[n, m], observations[0].float())
        assert torch.equal(torch.stack([s.observation[n, m] for s in steps]), observations[1:].float())
        assert torch.equal(torch.stack([s.reward[n, m] for s in steps]), rewards.float())
        assert torch.equal(torch.stack([s.success[n, m] for s in steps]), successes)


def test_episodes_of_a_task_share_a_model_and_of_two_tasks_do_not(all_environments):
    rows = turns(all_environments[0].train)
    a, b, other = (
        metaworld_env.task_environment("v2", row[0].item(), dict(enumerate(row[1:].tolist())))
        for row in (rows[0], rows[0], rows[45])
    )
    assert a.model is b.model
    assert a.model is not other.model
    assert type(a).__mro__[1] is type(other).__mro__[1] is metaworld.ALL_V3_ENVIRONMENTS[NAMES[int(rows[0, 0])]]


def test_an_episode_does_not_notice_when_another_of_its_task_is_reset():
    """As when one is drawn by an environment of its own while the others are on their way."""
    row, actions = meta_world().test_tasks(1, generator())[0], torch.randn(30, 4, generator=generator())

    def made():
        return metaworld_env.task_environment("v2", row[0].item(), dict(enumerate(row[1:].tolist())))

    alone, disturbed, other = made(), made(), made()
    for env in (alone, disturbed):
        env.reset()
    for t, action in enumerate(actions.clamp(-1, 1).numpy()):
        expected = alone.step(action)
        if t % 10 == 5:
            other.reset()
        found = disturbed.step(action)
        assert np.array_equal(found[0], expected[0])
        assert found[1] == expected[1]


def test_the_goal_is_hidden():
    """Same object, other goal: the observations are the same, only the rewards tell. The goal's place is zero."""
    row = meta_world().test_tasks(1, generator())[0]
    rows = torch.stack([row, row.clone()])
    rows[1, 4:] = torch.tensor([0.05, 0.85, 0.2])
    start, steps = play(meta_world(), rows, torch.zeros(5, 2, 1, 4))
    for observation in (start, *(step.observation for step in steps)):
        assert torch.equal(observation[0], observation[1])
        assert not observation[..., 36:].any()
    assert all(step.reward[0] != step.reward[1] for step in steps)


def test_success_is_what_the_environment_says():
    """A hand that is moved straight to the goal is there after some steps, and not before."""
    tasks = meta_world()
    rows = tasks.test_tasks(3, generator())
    env, goals = tasks.make_env(rows, 1, generator(), CPU), rows[:, None, 4:].float()
    observation, reached = env.reset(), []
    for _ in range(80):
        action = torch.cat([10 * (goals - observation[..., :3]), torch.zeros(3, 1, 1)], dim=-1)
        step = env.step(action)
        observation = step.observation
        reached.append(step.success)
        assert not step.terminal.any()
    assert not reached[0].any()
    assert reached[-1].all()


def test_an_episode_ends_after_five_hundred_steps_by_the_limit():
    tasks = meta_world()
    _, steps = play(tasks, tasks.test_tasks(1, generator()), torch.zeros(500, 1, 1, 4))
    assert [step.truncated.item() for step in steps] == [False] * 499 + [True]
    assert not any(step.terminal.item() for step in steps)


def test_the_two_rewards_differ_and_nothing_else_does():
    rows, actions = meta_world("push-v3").test_tasks(1, generator()), torch.randn(5, 1, 1, 4, generator=generator())
    (start, steps), (start_v1, steps_v1) = (play(meta_world("push-v3", reward=r), rows, actions) for r in ("v2", "v1"))
    assert torch.equal(start, start_v1)
    assert torch.equal(steps[-1].observation, steps_v1[-1].observation)
    assert not torch.equal(steps[-1].reward, steps_v1[-1].reward)
    task = metaworld.ML1("push-v3", seed=0).test_tasks[0]
    assert torch.equal(
        torch.stack([step.reward[0, 0] for step in steps_v1]),
        play_by_hand(task, actions[:, 0, 0], reward="v1")[1].float(),
    )


@pytest.mark.usefixtures("all_environments")
def test_workers_change_nothing():
    """Of different environments in one batch, and of other tasks afterwards."""
    rows = meta_world("ML45", goal_seed=3).sample(8, generator())
    actions = torch.randn(10, 4, 2, 4, generator=generator())
    found = []
    for workers in (0, 1, 2):
        tasks = meta_world("ML45", workers=workers)
        for batch in (rows[:4], rows[4:]):
            start, steps = play(tasks, batch, actions)
            found.append(torch.cat([start, *(s.observation for s in steps), *(s.reward[..., None] for s in steps)], -1))
        tasks.close()
    for one, two in (found[2:4], found[4:6]):
        assert torch.equal(one, found[0])
        assert torch.equal(two, found[1])


# ---- guards


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        (r"benchmark='reach-v2': .*did you mean 'reach-v3'", {"benchmark": "reach-v2"}),
        ("goal_seed=-1", {"goal_seed": -1}),
        ("reward='v3'", {"reward": "v3"}),
        ("horizon=0", {"horizon": 0}),
        ("horizon=501: must be at most 500", {"horizon": 501}),
        ("workers=-1", {"workers": -1}),
    ],
)
def test_settings_that_mean_nothing_are_refused(field, settings):
    with pytest.raises(ValueError, match=rf"tasks\.{field}"):
        meta_world(**settings)


# ---- from the configuration


@pytest.mark.parametrize(("option", "name"), [("ml1", "reach-v3"), ("ml10", "ML10"), ("ml45", "ML45")])
def test_the_options_build(option, name):
    parts = wiring.assemble(wiring.compose([f"tasks=metaworld_{option}"]))
    assert parts.learner.task_distribution.benchmark == name
    assert parts.learner.policy.spec == (39, 4, False, 500)


def test_a_run_logs_success_and_evaluates_it_on_the_test_goals(tmp_path, monkeypatch, capfd):
    arguments = ["tasks=metaworld_ml1", "experiment=smoke", "tasks.horizon=10", "tasks.workers=0", "tracker=none"]
    arguments += ["policy.hidden_sizes=[8]", "iterations=2", "meta_batch_size=3", "trajectories=2", "threads=1"]
    arguments += ["evaluation.steps=1", "evaluation.trajectories=2", "evaluation.test_tasks=4"]
    monkeypatch.setattr(sys, "argv", ["metarl-train", *arguments, f"output_root={tmp_path}"])
    train.main()
    (folder,) = tmp_path.iterdir()
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= record[f"success/step_{k}"] <= 1 for record in records for k in (0, 1))
    evaluation = json.loads((folder / "evaluation.json").read_text())
    rates = torch.tensor(evaluation["theta"]["best"]["success"]["rates"])
    assert rates.shape == (4, 2)
    assert "reach the goal" in capfd.readouterr().out
    expected = metaworld.ML1("reach-v3", seed=0).test_tasks[:4]
    rows = torch.tensor(evaluation["tasks"]["values"], dtype=torch.float64)
    assert [content(rebuilt(row)) for row in rows] == [content(task) for task in expected]
