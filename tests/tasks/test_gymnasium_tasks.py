"""Any Gymnasium environment as a distribution of tasks, on an environment whose every number is known."""

import os
from collections import Counter

import gymnasium
import numpy as np
import pytest
import torch

from metarl_exp import MetaLearner, wiring
from metarl_exp.algorithm.sampler import Sampler
from metarl_exp.policy import CategoricalMLP, GaussianMLP
from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks import GymnasiumTasks, LiveEnv, TaskEnv, guard
from metarl_exp.tasks.base import Closeable
from metarl_exp.types import RendersFrames
from tests.environments import Camera, Faulty, Scripted

CPU = torch.device("cpu")
GAIN = {"attribute": "gain", "uniform": [1.0, 2.0]}


def scripted(vary=None, **settings):
    given = {
        "id": "tests.environments:Scripted-v0",
        "horizon": 10,
        "kwargs": {},
        "wrappers": [],
        "success_key": None,
        "workers": 0,
        "start_method": "fork",
        "requires": None,
    }
    return GymnasiumTasks(vary={"gain": GAIN} if vary is None else vary, **given | settings)


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def start(tasks, its_rows, trajectories=1, seed=0):
    env = tasks.make_env(its_rows, trajectories, torch.Generator().manual_seed(seed), CPU)
    return env, env.reset()


def act(env, value, shape):
    return env.step(torch.full((*shape, 1), value))


# ---- the batch


def test_observations_rewards_and_tasks_are_where_they_belong():
    """With gain g, total t = 2 a g after one step: bounds are ±2, so that an output a is an action 2 a."""
    tasks = scripted()
    assert tasks.spec == (3, 1, False, 10)
    assert tasks.parameter_names == ("gain",)
    env, observation = start(tasks, rows([1.0], [2.0], [3.0]), trajectories=2)
    assert observation.shape == (3, 2, 3)
    assert observation.dtype == torch.float32
    assert torch.equal(observation[..., :2], torch.zeros(3, 2, 2))
    for t in (1, 2):
        step = act(env, 0.5, (3, 2))
        expected = torch.tensor([1.0, 2.0, 3.0]).unsqueeze(1).expand(3, 2) * t
        assert torch.equal(step.reward, expected)
        assert torch.equal(step.observation[..., 1], expected)
        assert (step.observation[..., 0] == t).all()
        assert torch.equal(step.observation[..., 2], observation[..., 2])
        assert step.reward.dtype == torch.float32
        assert step.terminal.dtype == step.truncated.dtype == torch.bool


def test_actions_reach_the_episode_that_they_were_chosen_for():
    env, _ = start(scripted(), rows([1.0], [1.0]), trajectories=3)
    action = torch.arange(6.0).view(2, 3, 1) / 10
    torch.testing.assert_close(env.step(action).reward, 2 * action[..., 0])


def test_answers_of_a_batch_stay_as_they_were():
    env, observation = start(scripted(), rows([1.0]))
    before = observation.clone()
    step = act(env, 0.5, (1, 1))
    kept = [x.clone() for x in step[:4]]
    act(env, 0.5, (1, 1))
    assert torch.equal(observation, before)
    assert all(torch.equal(a, b) for a, b in zip(step[:4], kept, strict=True))


def test_every_episode_has_a_seed_of_its_own_drawn_from_the_generator():
    tasks, three = scripted(), rows([1.0], [1.0], [1.0])
    drawn = start(tasks, three, trajectories=4)[1][..., 2]
    assert len(drawn.unique()) == 12
    assert torch.equal(start(tasks, three, trajectories=4)[1][..., 2], drawn)
    assert torch.equal(start(scripted(), three, trajectories=4)[1][..., 2], drawn)  # in environments never used before
    assert not torch.equal(start(tasks, three, trajectories=4, seed=1)[1][..., 2], drawn)


def test_resetting_again_starts_the_same_episodes():
    env, first = start(scripted(), rows([1.5], [2.5]), trajectories=2)
    act(env, 0.5, (2, 2))
    assert torch.equal(env.reset(), first)
    assert act(env, 0.5, (2, 2)).observation[0, 0, :2].tolist() == [1.0, 1.5]


def test_an_end_a_limit_of_the_environment_and_the_horizon_are_three_things():
    """Trap 13. Scripted minds being stepped after its end; registered with a limit of 2, which must not count."""
    vary = {"ends": {"attribute": "ends", "integer": [1, 9]}, "limit": {"attribute": "limit", "integer": [1, 9]}}
    env, _ = start(scripted(vary), rows([3, 9], [9, 4], [4, 4], [9, 9]), trajectories=2)
    steps = [act(env, 0.5, (4, 2)) for _ in range(6)]
    terminal, truncated = (torch.stack(x)[:, :, 0].T.int().tolist() for x in zip(*[s[2:4] for s in steps], strict=True))
    assert terminal == [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0] * 6]
    assert truncated == [[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0], [0] * 6]
    assert steps[2].observation[0, 0, :2].tolist() == steps[5].observation[0, 0, :2].tolist() == [3, 3]
    assert [s.reward[0, 0].item() for s in steps] == [1, 2, 3, 0, 0, 0]


def test_a_rollout_of_a_policy_is_what_the_environment_says():
    """Through the sampler, against a loop over single environments with the same seeds and actions."""
    tasks = scripted({"gain": GAIN, "ends": {"attribute": "ends", "integer": [2, 20]}})
    policy = GaussianMLP([4], "tanh", 1.0, 1e-6, 100.0, tasks.spec, torch.Generator().manual_seed(0))
    theta = {name: p.detach().expand(2, *p.shape) for name, p in policy.named_parameters()}
    its_rows = rows([1.5, 4], [2.5, 20])
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    rolled = Sampler(policy, tasks, 3, CPU)(theta, its_rows, *generators)
    seeds = torch.randint(2**31 - 1, (2, 3), generator=torch.Generator().manual_seed(2))
    for i, (gain, ends) in enumerate(its_rows.tolist()):
        for j in range(3):
            env = gymnasium.make("Scripted-v0").unwrapped
            env.gain, env.ends = gain, ends
            observation, _ = env.reset(seed=seeds[i, j].item())
            assert rolled.mask[i, j].sum() == min(ends, 10)
            for t in range(int(rolled.mask[i, j].sum())):
                assert torch.equal(rolled.observations[i, j, t], torch.tensor(observation).float())
                action = (2 * rolled.actions[i, j, t]).clamp(-2, 2).numpy()
                observation, reward, terminal, _, _ = env.step(action)
                assert rolled.rewards[i, j, t] == pytest.approx(reward, rel=1e-6)
                assert rolled.terminal[i, j, t] == terminal
            torch.testing.assert_close(rolled.final_observations[i, j], torch.tensor(observation).float())


# ---- where a task goes


def test_arguments_make_the_environment_anew_only_when_they_change():
    vary = {
        "bias": {"argument": "bias", "choice": [0.0, 5.0]},
        "lanes": {"argument": "settings.lanes", "integer": [1, 9]},
    }
    tasks = scripted(vary, kwargs={"ends": 7, "settings": {"width": 2}})
    made = Scripted.made
    env, observation = start(tasks, rows([0.0, 3], [5.0, 4]))
    assert observation[:, 0, 1].tolist() == [0.0, 5.0]
    assert Scripted.made == made + 2
    inner = [e.env.unwrapped for e in env.pool.vector.envs]
    assert [e.settings for e in inner] == [{"lanes": 3, "width": 2}, {"lanes": 4, "width": 2}]
    assert [e.ends for e in inner] == [7, 7]
    start(tasks, rows([0.0, 3], [5.0, 4]), seed=1)
    assert Scripted.made == made + 2
    assert start(tasks, rows([0.0, 3], [0.0, 4]))[1][:, 0, 1].tolist() == [0.0, 0.0]
    assert Scripted.made == made + 3


def test_attributes_options_and_wrappers_are_given_their_part_of_the_task():
    vary = {
        "mass": {"attribute": "inner.masses[1]", "uniform": [0, 1]},
        "lanes": {"attribute": "settings[lanes]", "integer": [1, 9]},
        "where": {"option": "start", "uniform": [0, 1]},
        "factor": {"wrapper": "Doubled", "uniform": [0, 1]},
    }
    wrappers = ["tests.environments.Doubled", {"wrapper": "tests.environments.Plus", "bonus": 100.0}]
    tasks = scripted(vary, wrappers=wrappers)
    env, observation = start(tasks, rows([0.25, 4, 3.0, 10.0], [0.5, 5, 7.0, -1.0]))
    assert observation[:, 0, 1].tolist() == [3.0, 7.0]
    inner = [e.env.unwrapped for e in env.pool.vector.envs]
    assert [e.inner.masses.tolist() for e in inner] == [[1, 0.25, 1], [1, 0.5, 1]]
    assert [e.settings["lanes"] for e in inner] == [4, 5]
    assert act(env, 0.0, (2, 1)).reward[:, 0].tolist() == [130.0, 93.0]  # 10 · 3 and −1 · 7, and the bonus outside


def test_a_task_is_put_in_at_every_reset_whatever_was_there():
    tasks = scripted()
    for gain in (1.0, 3.0, 1.0):
        env, _ = start(tasks, rows([gain]))
        assert act(env, 0.5, (1, 1)).reward.item() == gain


def test_a_method_is_called_before_every_reset():
    tasks = scripted({"mass": {"method": "inner.set_masses", "uniform": [0, 1]}})
    env, _ = start(tasks, rows([0.25], [0.5]))
    inner = [e.env.unwrapped.inner for e in env.pool.vector.envs]
    assert [i.masses.tolist() for i in inner] == [[0.25] * 3, [0.5] * 3]
    inner[0].masses[:] = 7
    env.reset()
    assert inner[0].masses.tolist() == [0.25] * 3
    env, _ = start(tasks, rows([0.75], [0.5]))
    assert inner[0].masses.tolist() == [0.75] * 3


def test_an_exception_of_a_method_is_a_failure_of_its_task():
    env = scripted({"mass": {"method": "inner.set_masses", "uniform": [0, 1]}}).make_env(
        rows([-1.0]), 1, torch.Generator(), CPU
    )
    with pytest.raises(
        EnvironmentFailure,
        match=r"task 0 \(mass=-1\), .*: tasks.vary.mass.method='inner.set_masses' called with -1.0: RuntimeError",
    ):
        env.reset()


def test_an_attribute_that_the_reset_puts_back_is_a_failure():
    env = scripted({"x": {"attribute": "forgotten", "uniform": [0, 0.5]}}).make_env(
        rows([0.25]), 1, torch.Generator(), CPU
    )
    with pytest.raises(
        EnvironmentFailure, match=r"task 0 \(x=0.25\), trajectory 0: ValueError: reset\(\) sets forgotten"
    ):
        env.reset()


def test_success_is_told_where_a_key_says_so():
    env, _ = start(scripted(success_key="reached"), rows([1.0], [2.0]), trajectories=2)
    reached = [act(env, 0.0, (2, 2)).success for _ in range(3)]
    assert [x.unique().tolist() for x in reached] == [[False], [True], [False]]
    assert reached[0].dtype == torch.bool
    assert reached[0].shape == (2, 2)
    env, _ = start(scripted(), rows([1.0]))
    assert act(env, 0.0, (1, 1)).success is None


# ---- what is observed


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_pixels_are_the_same_to_a_policy_in_training_and_in_a_live_environment(workers):
    """A brightness of 51 is a fifth of 255; the steps are one-hot."""
    tasks = scripted(
        {"x": {"attribute": "brightness", "choice": [51, 255]}}, id="tests.environments:Camera-v0", workers=workers
    )
    env, observation = start(tasks, rows([51.0], [255.0]))
    live = LiveEnv(gymnasium.make("Camera-v0"), tasks.spec, torch.Generator(), CPU)
    live.env.unwrapped.brightness = 51
    for steps, seen in ((0, observation), (1, env.step(torch.zeros(2, 1)).observation)):
        one_hot = [float(i == steps) for i in range(9)]
        torch.testing.assert_close(seen[:, 0], torch.tensor([[0.2] * 6 + one_hot, [1.0] * 6 + one_hot]))
        alone = live.reset() if steps == 0 else live.step(torch.zeros(1, 1)).observation
        assert torch.equal(seen[0], alone[0])
    tasks.close()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.full((2, 3, 1), 0.5),
            r"observation\['image'\] has numbers of float64: not in Box\(0, 255, \(2, 3, 1\), uint8",
        ),
        (
            np.zeros((3, 2, 1), np.uint8),
            r"observation\['image'\] has shape \(3, 2, 1\): not in Box\(0, 255, \(2, 3, 1\)",
        ),
    ],
)
def test_an_observation_that_is_not_in_its_space_is_a_failure_of_its_task(monkeypatch, image, message):
    monkeypatch.setattr(Camera, "observation", lambda self: {"image": image, "steps": 0})
    tasks = scripted({"x": {"attribute": "brightness", "choice": [3]}}, id="tests.environments:Camera-v0")
    with pytest.raises(EnvironmentFailure, match=rf"^task 0 \(x=3\), trajectory 0: ValueError: {message}"):
        start(tasks, rows([3.0]))


# ---- environments that change what belongs to the whole process


@pytest.fixture
def _process_as_it_was(monkeypatch):
    monkeypatch.setattr(guard, "theirs", dict(guard.AT_FIRST))
    folder = os.getcwd()
    yield
    torch.set_grad_enabled(True)
    os.chdir(folder)


@pytest.mark.usefixtures("_process_as_it_was")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("id", ["Descent-v0", "Switches-v0"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_environments_that_take_gradients_or_turn_them_off_are_trained_on(id, workers):
    """w falls from its start by a fifth or two fifths of it at each step, whatever gradients belong to."""
    folder = os.getcwd()
    tasks = scripted(
        {"start": {"attribute": "start", "uniform": [0.5, 1.5]}},
        id=f"tests.environments:{id}",
        workers=workers,
        horizon=5,
    )
    policy = CategoricalMLP([4], "tanh", tasks.spec, torch.Generator().manual_seed(0))
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    learner = MetaLearner(tasks, policy, 0.1, 1e-2, inner_steps=1, batch_size=2, trajectories=2)
    learner.train(1)
    assert os.getcwd() == folder
    assert torch.is_grad_enabled()
    assert any(not torch.equal(p, before[name]) for name, p in learner.theta.items())
    sampled = learner.inner_update(rows([0.5], [1.5])).experiences[0]
    shrunk = (1 - 0.2 * (1 + sampled.actions)).cumprod(-1)
    expected = torch.tensor([0.5, 1.5]).view(2, 1, 1) * torch.cat([torch.ones(2, 2, 1), shrunk[..., :-1]], dim=-1)
    torch.testing.assert_close(sampled.observations[..., 0], expected)
    tasks.close()


@pytest.mark.usefixtures("_process_as_it_was")
def test_a_live_environment_that_takes_gradients_is_adapted_to():
    tasks = scripted({"start": {"attribute": "start", "uniform": [0.5, 1.5]}}, id="tests.environments:Descent-v0")
    policy = CategoricalMLP([4], "tanh", tasks.spec, torch.Generator().manual_seed(0))
    learner = MetaLearner(tasks, policy, 0.1, 1e-2, inner_steps=1, batch_size=2, trajectories=2)
    adapted = learner.adapt(gymnasium.make("Descent-v0", max_episode_steps=5), episodes=2)
    assert adapted.returns.shape == (1, 2)


# ---- drawing tasks


def test_columns_are_drawn_one_after_the_other():
    tasks = scripted({"gain": GAIN, "ends": {"attribute": "ends", "choice": [3, 8]}})
    drawn = tasks.sample(1000, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.float64
    assert drawn.shape == (1000, 2)
    assert drawn[:, 0].min() >= 1
    assert drawn[:, 0].max() < 2
    assert set(drawn[:, 1].tolist()) == {3, 8}
    assert torch.equal(tasks.test_tasks(1000, torch.Generator().manual_seed(0)), drawn)


# ---- keeping environments


def test_environments_are_made_lazily_kept_for_two_sizes_and_given_back():
    made = Scripted.made
    tasks = scripted()
    assert Scripted.made == made + 1  # to look at its spaces
    assert isinstance(tasks, Closeable)
    for size in (2, 3, 2, 3, 2, 3):
        start(tasks, rows(*[[1.0]] * size))
    assert Scripted.made == made + 1 + 5
    start(tasks, rows([1.0]))  # a third size pushes the one out that was used longest ago
    assert sorted(tasks.fleet.pools.kept) == [1, 3]
    tasks.close()
    assert not tasks.fleet.pools.kept
    tasks.close()
    start(tasks, rows([1.0], [1.0]))
    assert Scripted.made == made + 1 + 5 + 1 + 2


def test_two_batches_of_one_size_do_not_mix():
    tasks = scripted()
    first, _ = start(tasks, rows([1.0]))
    second, _ = start(tasks, rows([2.0]))
    act(second, 0.5, (1, 1))
    with pytest.raises(RuntimeError, match="in use for another batch"):
        act(first, 0.5, (1, 1))
    first.reset()
    assert act(first, 0.5, (1, 1)).reward.item() == 1.0
    tasks.close()
    with pytest.raises(RuntimeError, match="have been closed"):
        act(first, 0.5, (1, 1))


# ---- pictures


def test_a_picture_is_of_the_episode_s_present_state():
    env, _ = start(scripted(), rows([1.0], [2.0]), trajectories=2)
    made = Scripted.made
    assert isinstance(env, RendersFrames)
    picture = env.frame(1, 1)
    assert (picture.shape, picture.dtype, picture.max()) == ((4, 6, 3), np.uint8, 0)
    for t in range(1, 4):
        env.step(torch.tensor([[[0.1], [0.2]], [[0.3], [0.4]]]))
        assert env.frame(1, 1).max() == int(10 * 0.8 * 2 * t)
    assert env.frame(0, 1).max() == 12  # asked for late: 10 · 0.4 · 3
    assert Scripted.made == made + 2
    env.reset()
    assert env.frame(0, 1).max() == 0


def test_an_environment_without_pictures_says_so():
    tasks = scripted(
        {"m": {"attribute": "mass", "uniform": [0, 1]}}, id="tests.environments:Faulty-v0", kwargs={"deed": ""}
    )
    env, _ = start(tasks, rows([0.5]))
    with pytest.raises(EnvironmentFailure, match="render_mode"):
        env.frame(0, 0)


# ---- as a Gymnasium environment again


def test_a_task_of_it_is_a_gymnasium_environment():
    env = TaskEnv(scripted({"gain": GAIN, "ends": {"attribute": "ends", "integer": [1, 9]}}), [2.0, 3])
    env.reset(seed=0)
    answers = [env.step(np.array([0.5], np.float32)) for _ in range(3)]
    assert [a[1] for a in answers] == [2, 4, 6]
    assert [a[2] for a in answers] == [False, False, True]


# ---- guards


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, r"tasks.horizon=0"),
        ({"workers": -1}, r"tasks.workers=-1"),
        ({"start_method": "forks"}, r"tasks.start_method='forks': .*did you mean 'fork"),
        ({"vary": {}}, r"tasks.vary=\{\}: must name at least one"),
        ({"id": "Pendulm-v1"}, r"tasks.id='Pendulm-v1': .*Pendulum"),
        ({"vary": {"m": {"attribute": "gainn", "uniform": [0, 1]}}}, r"tasks.vary.m.attribute='gainn'.*mean 'gain'"),
        ({"vary": {"m": {"method": "inner.set_mass", "uniform": [0, 1]}}}, r"tasks.vary.m.method=.*mean 'set_masses'"),
        ({"vary": {"m": {"method": "gain", "uniform": [0, 1]}}}, r"m.method='gain' is no method, but 1.0 \(float\)"),
        (
            {"vary": {"m": {"attribute": "render", "uniform": [0, 1]}}},
            r"m.attribute='render' is a method; write `method`",
        ),
        (
            {"vary": {"m": {"attribute": "inner.counts[0]", "uniform": [4.8, 4.9]}}},
            r"was set to 4.8\d+ and reads 4 \(int64\)",
        ),
        ({"vary": {"m": {"attribute": "inner.halves[0]", "uniform": [4.8, 4.9]}}}, r"reads .* \(float16\)"),
        ({"vary": {"m": {"attribute": "inner.heaviest", "uniform": [4.8, 4.9]}}}, r"cannot be set to .*no setter"),
        ({"vary": {"m": {"argument": "biass", "uniform": [0, 1]}}}, r"tasks.vary.m.argument='biass'.*mean 'bias'"),
        ({"vary": {"m": {"wrapper": "Double", "uniform": [0, 1]}}}, r"tasks.vary.m.wrapper='Double'.*here none"),
        ({"kwargs": {"biass": 1}}, r"tasks.kwargs.biass='biass'.*mean 'bias'"),
        ({"wrappers": ["tests.environments.Tripled"]}, r"tasks.wrappers='tests.environments.Tripled'"),
        ({"wrappers": [{"bonus": 1}]}, r"tasks.wrappers=\{'bonus': 1\}"),
        ({"wrappers": ["Doubled"]}, r"tasks.wrappers='Doubled'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        scripted(**settings)


def test_a_wrapper_s_name_is_suggested():
    vary = {"m": {"wrapper": "Double", "uniform": [0, 1]}}
    with pytest.raises(ValueError, match=r"here Doubled \(did you mean 'Doubled'\?\)"):
        scripted(vary, wrappers=["tests.environments.Doubled"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"attribute": "inner.masses[-1]"}, {"attribute": "inner.masses[2]"}),
        ({"attribute": "inner.masses[1]"}, {"attribute": "inner.alias[0]"}),
        ({"attribute": "inner.masses[1]"}, {"method": "inner.set_masses"}),
        ({"method": "inner.set_masses"}, {"attribute": "inner.masses[1]"}),
        ({"attribute": "gain"}, {"attribute": "gain"}),
        ({"attribute": "bias"}, {"argument": "bias"}),
    ],
    ids=str,
)
def test_two_columns_that_write_the_same_place_are_refused_however_it_is_spelt(one, other):
    """But a method that was called before an attribute was set has had its say."""
    vary = {"one": one | {"uniform": [0, 1]}, "other": other | {"uniform": [0, 1]}}
    if "method" in one:
        scripted(vary)
        return
    with pytest.raises(ValueError, match=r"tasks.vary.other.* writes the same place|are one place"):
        scripted(vary)


def test_a_wrapper_that_takes_tasks_twice_is_refused():
    vary = {"factor": {"wrapper": "Doubled", "uniform": [0, 1]}}
    with pytest.raises(ValueError, match=r"tasks.wrappers: two wrappers called Doubled take tasks"):
        scripted(vary, wrappers=["tests.environments.Doubled", "tests.environments.Doubled"])


def test_a_library_that_is_not_there_is_asked_for():
    with pytest.raises(ModuleNotFoundError, match=r"tasks.id=.* needs nowhere, .*pip install 'metarl_exp\[games\]'"):
        scripted(requires={"module": "nowhere", "extra": "games"})


def test_a_task_that_changes_the_spaces_is_a_failure():
    tasks = scripted({"size": {"argument": "size", "choice": [3]}})
    env = tasks.make_env(rows([3.0]), 1, torch.Generator(), CPU)
    tasks.variations[0].draw.values[4.0] = 4
    env.episodes = [env.episodes[0]._replace(row=(4.0,))]
    with pytest.raises(
        EnvironmentFailure,
        match=r"this task's environment has 4 observed numbers and 1 continuous actions, that of other tasks 3",
    ):
        env.reset()


@pytest.mark.parametrize("when", ["__init__", "close"])
@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("raises", r"Unpicklable: \('broken'"),
        ("exits", "SystemExit: 3"),
        ("dies", r"SystemExit: os._exit\(7\)"),
        ("hangs", "TimeoutError: no answer within 0.2 s"),
    ],
)
def test_an_environment_that_cannot_be_made_or_closed_is_named(when, deed, said, monkeypatch):
    """By what makes distributions, as a run, the check before it and metarl-check do, with the limit."""
    monkeypatch.setattr(Faulty, "calls", Counter())
    node = wiring.compose(["tasks=pendulum"]).tasks
    node.id, node.kwargs = "tests.environments:Faulty-v0", {"deed": deed, "when": when}
    node.vary = {"mass": {"attribute": "mass", "uniform": [0.9, 1.3]}}
    with pytest.raises(EnvironmentFailure, match=f"^{when} of tasks.id=tests.environments:Faulty-v0: {said}"):
        wiring.tasks_of(node, 0.2)
