"""Films of runs: which episodes are shown, that they are those of the protocol, and what is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metarl_exp import figures, wiring
from metarl_exp.algorithm.evaluation import Evaluation
from metarl_exp.algorithm.learner import Learner
from metarl_exp.algorithm.meta_learner import MetaLearner
from metarl_exp.commands import replay, train
from metarl_exp.commands.replay import Camera, Filming, make_film
from metarl_exp.figures import film
from metarl_exp.policy import CategoricalMLP
from metarl_exp.runs.checkpoint import load_theta
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.tasks.base import uniform
from metarl_exp.types import Spec, Step

TINY = [
    "experiment=smoke", "tracker=none", "policy.hidden_sizes=[6]", "iterations=1", "threads=1", "trajectories=3",
    "evaluation.trajectories=3",
]  # fmt: skip
CARTPOLE = ["tasks=cartpole_hidden_sign", "inner_optimizer.lr=1.0"]


def run(output: Path, *overrides: str) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["metarl-train", *TINY, f"output_root={output}", *overrides])
        for figure in ("learning_curve", "gradient_steps", "paths"):
            patched.setattr(figures, figure, lambda *_: None)  # they have tests of their own, and take seconds
        train.main()
    (folder,) = output.iterdir()
    return folder


@pytest.fixture(scope="module")
def navigation(tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("navigation"), "tasks.horizon=5", "replay=true")


def panels(path: Path, frame: int, rows: int) -> list[list[np.ndarray]]:
    """The pixels of a frame, cut into rows of before and after without the column heads."""
    with Image.open(path) as image:
        image.seek(frame)
        pixels = np.asarray(image.convert("RGB"))[35:]
    middle = pixels.shape[1] // 2
    return [[row[:, :middle], row[:, middle:]] for row in np.array_split(pixels, rows)]


def number_of_frames(path: Path) -> int:
    with Image.open(path) as image:
        return image.n_frames


# ---- runs


def test_a_navigation_run_is_filmed_before_and_after_and_the_same_again(navigation):
    """The first time by the run itself, as `replay=true` asks for."""
    path = navigation / "figures" / "replay.gif"
    assert number_of_frames(path) == 6
    start, end = panels(path, 0, rows=3), panels(path, 5, rows=3)
    for before, after in end:
        assert not np.array_equal(before[40:], after[40:])
        black = [(side[40:] < 40).all(-1) for side in (before, after)]
        assert all(side.sum() > 100 for side in black)  # the star of the goal, the dot of the start
    assert not np.array_equal(start[0][0], end[0][0])
    content = path.read_bytes()
    assert replay.replay(navigation, []) == path
    assert path.read_bytes() == content


def test_a_film_that_fails_is_said_fails_no_run_and_can_be_made_later(tmp_path, monkeypatch, capfd):
    def fail(*_):
        raise ValueError("no film in the camera")

    with monkeypatch.context() as patched:
        patched.setattr(replay, "make_film", fail)
        folder = RunFolder(run(tmp_path / "runs", *CARTPOLE, "tasks.horizon=30", "replay=true"))
    assert folder.state() == "finished"
    printed = capfd.readouterr().out
    assert "no film (no film in the camera)" in printed
    assert f"metarl-replay {folder.path}" in printed
    assert "Traceback" in folder.log.read_text()
    output = tmp_path / "else" / "where.gif"
    monkeypatch.setattr(sys, "argv", ["metarl-replay", str(folder.path), f"output={output}", "tasks=1", "fps=10"])
    replay.main()
    assert f"written: {output}" in capfd.readouterr().out
    assert 8 < number_of_frames(output) <= 31
    assert not list(folder.figures.glob("replay*"))


def test_a_film_is_not_part_of_a_run_s_identity():
    assert wiring.fingerprint(wiring.compose(["replay=true"])) == wiring.fingerprint(wiring.compose())
    with pytest.raises(ValueError, match="replay='yes': must be true or false"):
        wiring.assemble(wiring.compose(["replay='yes'"]))


def test_a_film_shows_the_episodes_that_the_protocol_measures(navigation, monkeypatch):
    """The rewards of each take are those of the first episode before and after K steps, on the chosen tasks."""
    shown = {}
    monkeypatch.setattr(film, "write_film", lambda scenes, heads, *_: shown.update(scenes=scenes, heads=heads))
    replay.replay(navigation, ["tasks=[4,0]", "theta=latest", "steps=2", "step_size_schedule=[0.5]"])
    learner = wiring.load(navigation, "latest")
    evaluation = wiring.evaluation_with(wiring.load_config(navigation), {"steps": "2", "step_size_schedule": "[0.5]"})
    measured = evaluation.measure(learner, learner.theta, "test", [4, 0])
    for row, scene in enumerate(shown["scenes"]):
        for take, batch in zip(scene.takes, (measured[0], measured[2]), strict=True):
            assert take.rewards.tolist() == batch.rewards[row, 0][batch.mask[row, 0]].tolist()
    assert shown["heads"] == ["before adaptation", "after 2 gradient steps"]
    goal = evaluation.tasks(learner, "test")[4]
    title = f"test task 4: goal_x {goal[0]:.3g}, goal_y {goal[1]:.3g}"
    assert shown["scenes"][0].title == title.replace("-", "−")


def test_a_strip_of_stills_is_named_for_its_settings(navigation):
    path = replay.replay(navigation, ["format=png", "theta=initial", "tasks=[2]", "steps=1"])
    assert path == navigation / "figures" / "replay_steps-1_tasks-2_theta-initial_d449cebe68.png"
    with Image.open(path) as image:
        assert image.width > 1.5 * image.height


def test_a_run_that_only_began_has_a_film_of_what_it_has(navigation, tmp_path):
    """Interrupted before its first checkpoint: `best` is the initial θ, `latest` is not there."""
    for name in (".hydra/config.yaml", "checkpoints/best.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((navigation / name).read_bytes())
    assert replay.replay(tmp_path, ["tasks=1", "format=png"]).is_file()
    with pytest.raises(ValueError, match="latest.pt does not exist"):
        replay.replay(tmp_path, ["theta=latest"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stepz=5", "unknown key 'stepz' .did you mean 'steps'.*: keys are tasks, format, fps, theta, output, stale, "),
        ("steps=0", "evaluation.steps=0: must be an integer ≥ 1"),
        ("theta=bset", "theta='bset': allowed are best, latest, initial .did you mean 'best'"),
        ("format=jif", "format='jif': allowed are gif, mp4, png, pdf"),
        ("fps=0", "fps=0: must be a number ≥ 1 and ≤ 50"),
        ("fps=fast", "fps='fast': must be a number"),
        ("tasks=0", "tasks=0: must be an integer ≥ 1"),
        ("tasks=all", "tasks='all': must be an integer ≥ 1"),
        ("tasks=[]", r"tasks=\[\]: must be an integer ≥ 1"),
        ("tasks=[0,-1]", r"tasks=-1: must be an integer ≥ 0"),
        ("tasks=[0,6]", r"tasks=\[0, 6\]: must be test tasks from 0 to 5"),
        ("tasks", "'tasks': settings are written key=value"),
        ("output=film.mov", "format='mov': allowed are gif, mp4, png, pdf"),
        ("output=film.gif format=png", "ending of output='.gif': allowed are .png"),
    ],
)
def test_a_mistake_is_one_clear_line(navigation, monkeypatch, setting, message):
    monkeypatch.setattr(sys, "argv", ["metarl-replay", str(navigation), *setting.split()])
    with pytest.raises(SystemExit, match=f"^metarl-replay: {message}"):
        replay.main()


def test_a_folder_without_a_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["metarl-replay", str(tmp_path)])
    with pytest.raises(SystemExit, match="metarl-replay: .* is not the folder of a run"):
        replay.main()


# ---- environments that are photographed


class Countdown:
    """Episode (i, j) of task c ends after c + j steps; a frame is grey, as light as the number of steps taken.

    Rewards are the task's number times the step. S = 1, constant.
    """

    spec = Spec(observation_size=1, action_size=2, discrete=True, horizon=9)
    parameter_names = ("c",)
    version = 1

    def __init__(self, env=None):
        self.made, self.env = [], env or CountdownEnv

    def sample(self, num_tasks, generator):
        return uniform((num_tasks, 1), 3, 8, generator).floor()

    def test_tasks(self, num_tasks, generator):
        return torch.arange(3.0, 3.0 + num_tasks, dtype=torch.float64).unsqueeze(1)

    def make_env(self, tasks, trajectories, generator, device):
        self.made.append(self.env(tasks.float(), trajectories))
        return self.made[-1]


class CountdownEnv:
    def __init__(self, c, trajectories):
        self.c, self.lengths = c, c + torch.arange(trajectories)
        self.pictures = []

    def reset(self):
        self.t = 0
        return torch.ones(*self.lengths.shape, 1)

    def step(self, action):
        self.t += 1
        ended = self.t >= self.lengths
        rewards = (self.c * self.t).expand(self.lengths.shape)
        return Step(torch.ones(*self.lengths.shape, 1), rewards, ended, ended & False)

    def frame(self, task, trajectory):
        assert self.t <= self.lengths[task, trajectory], "a picture of an episode that is over"
        self.pictures.append((task, trajectory, self.t))
        return np.full((20, 30, 3), 10 * self.t, dtype=np.uint8)


class Blind:
    def __init__(self, *settings):
        env = CountdownEnv(*settings)
        self.reset, self.step = env.reset, env.step


class Restless(CountdownEnv):
    """Never twice the same."""

    number = 0.0

    def step(self, action):
        Restless.number += 1
        return super().step(action)._replace(reward=torch.full(self.lengths.shape, Restless.number))


def learner_of(distribution, **settings) -> Learner:
    torch.manual_seed(0)
    policy = CategoricalMLP([4], "tanh", distribution.spec)
    return MetaLearner(distribution, policy, inner_lr=0.1, outer_lr=1e-3, inner_steps=1, batch_size=2, **settings)


def protocol(**changes) -> Evaluation:
    settings = dict(
        steps=2, step_size_schedule=[1.0], trajectories=2, test_tasks=4, validation_tasks=2, validate_every=1,
        best_by="validation", deterministic=False, task_seed=1,
    )  # fmt: skip
    return Evaluation(**settings | changes)


def filmed(distribution, path, filming=None, **changes):
    learner = learner_of(distribution)
    return make_film(learner, protocol(**changes), learner.theta, filming or Filming(tasks=[0, 2]), path)


@pytest.mark.parametrize("deterministic", [False, True])
def test_photographs_are_of_the_shown_episodes_to_their_ends_and_not_beyond(tmp_path, deterministic):
    distribution = Countdown()
    path = filmed(distribution, tmp_path / "film.gif", deterministic=deterministic)
    taken = [env.pictures for env in distribution.made if env.pictures]
    steps = [(0, 0, t) for t in range(4)] + [(1, 0, t) for t in range(6)]  # tasks 0 and 2 end after 3 and 5 steps
    assert [sorted(pictures) for pictures in taken] == [steps, steps]
    assert number_of_frames(path) == 6
    for (before, after), level in zip(panels(path, 5, rows=2), (30, 50), strict=True):
        for side in (before, after):
            height, width, _ = side.shape
            assert side[height // 2, width // 2] == pytest.approx([level] * 3, abs=4)  # up to the palette


def test_a_long_episode_is_shown_with_a_stride_and_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "FRAMES", 4)
    distribution = Countdown()
    path = filmed(distribution, tmp_path / "film.gif", Filming(tasks=[2]))
    assert [t for env in distribution.made for _, _, t in env.pictures] == [0, 2, 4, 5] * 2
    assert number_of_frames(path) == 4


def test_a_camera_sees_each_step_once():
    camera, env = Camera([0, 2, 4], [3, 9]), CountdownEnv(torch.tensor([[3.0], [9.0]]), 1)
    env.reset()
    camera(env)
    for _ in range(4):
        env.step(None)
        camera(env)
    assert [sorted(frames) for frames in camera.frames] == [[0, 2, 3], [0, 2, 4]]
    assert camera.frames[0][3].max() == 30


def test_environments_that_cannot_be_filmed_are_refused_at_once(tmp_path):
    distribution = Countdown(env=Blind)
    with pytest.raises(ValueError, match=r"cannot be shown: it has no `draw`.*environments, Blind, no `frame`"):
        filmed(distribution, tmp_path / "film.gif")


def test_environments_that_never_do_the_same_twice_are_refused(tmp_path):
    learner = learner_of(Countdown(env=Restless), allow_stateful=True)
    with pytest.raises(ValueError, match="behave differently with the same seed"):
        make_film(learner, protocol(), learner.theta, Filming(tasks=[0, 2]), tmp_path / "film.gif")


def test_all_tasks_are_not_more_than_there_are(tmp_path):
    assert Filming(tasks=9).rows(4) == [0, 1, 2, 3]
    assert Filming(tasks=2).rows(4) == [0, 1]
    assert Filming(tasks=[3, 1]).rows(4) == [3, 1]


def test_a_title_names_no_more_parameters_than_it_has_room_for():
    distribution = Countdown()
    distribution.parameter_names = tuple(f"p{i}" for i in range(8))
    words = replay.values(distribution, torch.tensor([-1.256, 2.0, 1234567.0, 0, 0, 0, 0, 0]))
    assert words == "p0 −1.26, p1 2, p2 1234567, p3 0, p4 0, p5 0 and 2 more"


def test_environments_are_given_back(navigation, monkeypatch):
    from metarl_exp.tasks import Navigation2D

    closed, shot = [], []

    def refuse(learner, *_):
        shot.append(learner.task_distribution)
        raise ValueError("no film")

    monkeypatch.setattr(Navigation2D, "close", lambda self: closed.append(self), raising=False)
    monkeypatch.setattr(replay, "make_film", refuse)
    with pytest.raises(ValueError, match="no film"):
        replay.replay(navigation, [])
    assert closed[-1] is shot[0]


def test_no_display_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    seen = []

    class Looking(CountdownEnv):
        def frame(self, task, trajectory):
            seen.append(replay.os.environ["SDL_VIDEODRIVER"])
            return super().frame(task, trajectory)

    filmed(Countdown(env=Looking), tmp_path / "strip.png", Filming(tasks=1, format="png"))
    assert set(seen) == {"offscreen"}


def test_the_best_theta_is_filmed_unless_another_is_asked_for(navigation, monkeypatch):
    thetas = []
    monkeypatch.setattr(replay, "make_film", lambda learner, evaluation, theta, *_: thetas.append(theta))
    for setting in ([], ["theta=best"], ["theta=latest"]):
        replay.replay(navigation, setting)
    best, latest = (load_theta(navigation, which, like=thetas[0]) for which in ("best", "latest"))
    for theta, wanted in zip(thetas, (best, best, latest), strict=True):
        assert all(torch.equal(p, wanted[name]) for name, p in theta.items())
