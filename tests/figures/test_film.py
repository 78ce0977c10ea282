"""Films and strips, of takes whose every picture is known."""

import io
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from metarl_exp.figures import film
from metarl_exp.figures.film import Scene, Screen, Take

COLOURS = np.array([[230, 20, 20], [20, 230, 20], [20, 20, 230]], dtype=np.uint8)
HEADS = ["before adaptation", "after 1 gradient step"]


def take(length: int, colours=COLOURS) -> Take:
    """Photographs of one colour each, a colour for each of the steps 0 … length; rewards 1, 2, 3 …"""
    frames = {step: np.broadcast_to(colours[step], (30, 40, 3)) for step in range(length + 1)}
    return Take(film.picture(frames), np.arange(1.0, length + 1))


SCENES = [Scene("task a", [take(2), take(1)]), Scene("task b", [take(1, COLOURS[::-1]), take(2)])]


def frames_of(path) -> list[np.ndarray]:
    with Image.open(path) as image:
        shown = []
        for number in range(image.n_frames):
            image.seek(number)
            shown.append(np.asarray(image.convert("RGB")))
        return shown


def centres(frame: np.ndarray) -> list[list[int]]:
    """Which of COLOURS fills each panel, or −1: rows of 2, found by cutting the picture in four."""
    height, width = frame.shape[0] // 2, frame.shape[1] // 2
    found = []
    for row in range(2):
        parts = [frame[row * height :][:height, column * width :][:, :width] for column in range(2)]
        near = [(np.abs(part[:, :, None].astype(int) - COLOURS).max(-1) < 16).mean((0, 1)) for part in parts]
        found.append([int(shares.argmax()) if shares.max() > 0.3 else -1 for shares in near])
    return found


def nearest(frame: np.ndarray) -> np.ndarray:
    """The same with the nearest of COLOURS wherever there is any colour: videos round them."""
    distance = np.abs(frame[..., None, :].astype(int) - COLOURS).sum(-1)
    return np.where((np.ptp(frame, -1) > 100)[..., None], COLOURS[distance.argmin(-1)], 255)


# ---- which moments


@pytest.mark.parametrize("length", [1, 2, 5, 119, 120, 121, 200, 999, 1000])
@pytest.mark.parametrize("most", [2, 6, 120])
def test_moments_are_few_evenly_apart_and_include_both_ends(length, most):
    steps = film.moments(length, most)
    assert steps[0] == 0
    assert steps[-1] == length
    assert len(steps) <= most
    gaps = np.diff(steps)
    assert (gaps[:-1] == gaps[0]).all()
    assert 0 < gaps[-1] <= gaps[0]
    if length < most:
        assert steps == list(range(length + 1))


def test_stills_are_evenly_apart():
    assert film.evenly(100, 6) == [0, 20, 40, 60, 80, 100]
    assert film.evenly(3, 6) == [0, 1, 2, 3]


# ---- what a screen shows


def test_a_screen_holds_the_end_and_says_step_and_return():
    seen = []
    screen = Screen(Take(lambda axes, step: seen.append(step), np.array([1.0, -3.0])), Figure().subplots())
    captions = []
    for step in (0, 1, 2, 7):
        screen.show(step)
        captions.append(screen.axes.get_title(loc="left"))
    assert seen == [0, 1, 2, 2]
    assert captions == ["step 0 · return 0", "step 1 · return 1", *["step 2 (end) · return −2"] * 2]


@pytest.mark.parametrize(("reward", "shown"), [(3.0, "3"), (0.126, "0.13"), (-12.34, "−12.3")])
def test_a_return_has_as_many_digits_as_it_needs(reward, shown):
    assert Screen(Take(None, np.array([reward])), Figure().subplots()).caption(1).endswith(f"return {shown}")


def test_a_screen_is_empty_before_it_is_painted_again():
    def paint(axes, step):
        axes.plot([0, step], [0, 1])
        axes.bar([0], [1])
        axes.text(0, 0, "here")
        axes.annotate("", xy=(0, 0), xytext=(1, 1), arrowprops={})
        axes.imshow(np.zeros((2, 2)))

    screen = Screen(Take(paint, np.ones(5)), Figure().subplots())
    counts, colours = [], []
    for step in range(3):
        screen.show(step)
        counts.append(len(screen.axes.get_children()))
        colours.append(screen.axes.lines[0].get_color())
    assert len(set(counts)) == len(set(colours)) == 1


def test_the_takes_of_a_task_are_seen_at_the_same_scale():
    left, right = Figure().subplots(1, 2)
    left.set(xlim=(-1, 1), ylim=(3, 0))
    right.set(xlim=(-2, 0), ylim=(2, -1))
    film._share_view([left, right])
    assert left.get_xlim() == right.get_xlim() == (-2, 1)
    assert left.get_ylim() == right.get_ylim() == (3, -1)  # downwards, as in photographs


def test_a_photograph_is_made_no_larger_than_it_is_shown():
    large = film.scaled(np.zeros((600, 900, 3), dtype=np.uint8))
    assert large.shape == (240, 360, 3)
    small = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    assert np.array_equal(film.scaled(small), small)


# ---- files


def test_a_gif_shows_each_task_in_a_row_before_and_after_side_by_side(tmp_path):
    path = film.write_film(SCENES, HEADS, [0, 1, 2], tmp_path / "film.gif", fps=10)
    shown = frames_of(path)
    assert len(shown) == 3
    assert [centres(frame) for frame in shown] == [[[0, 0], [2, 0]], [[1, 1], [1, 1]], [[2, 1], [1, 2]]]
    assert (shown[0][0, 0] == 255).all()
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        assert image.info["duration"] == 100
        image.seek(2)
        assert image.info["duration"] == 1000 * film.HOLD


def test_an_mp4_shows_the_same_and_holds_its_end(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    path = film.write_film(SCENES, HEADS, [0, 1, 2], tmp_path / "film.mp4", fps=10)
    read = subprocess.run([ffmpeg, "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True)
    about = read.stderr.decode()
    width, height = map(int, re.search(r" (\d{2,})x(\d{2,})", about).groups())
    assert "h264" in about
    assert " 10 fps" in about
    shown = np.frombuffer(read.stdout, np.uint8).reshape(-1, height, width, 3)
    assert len(shown) == 3 + film.HOLD * 10
    assert [centres(nearest(frame)) for frame in shown[:3]] == [[[0, 0], [2, 0]], [[1, 1], [1, 1]], [[2, 1], [1, 2]]]
    assert centres(nearest(shown[-1])) == centres(nearest(shown[2]))
    assert list(tmp_path.iterdir()) == [path]


def test_an_mp4_without_its_library_says_what_to_install(monkeypatch):
    film.require_format("gif")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ModuleNotFoundError, match=r"format=mp4 needs imageio_ffmpeg.*metarl_exp\[video\]"):
        film.require_format("mp4")
    film.require_format("gif")


def test_many_rows_share_the_height_and_a_title_never_leaves_the_picture(tmp_path):
    size = {}
    for rows in (1, 3, 4):
        scenes = [Scene("task: " + ", ".join(f"parameter_{i} 0.123" for i in range(30)), [take(1), take(1)])] * rows
        with Image.open(film.write_film(scenes, HEADS, [0, 1], tmp_path / "film.gif", fps=10)) as image:
            size[rows] = image.size
    assert size[1][0] > size[4][0]
    assert size[4][1] < 1.3 * size[3][1]
    assert all(side % 2 == 0 for pair in size.values() for side in pair)
    with matplotlib.rc_context(film.FRAMED):
        figure, _ = film._board([scenes[0].title], HEADS, 0.75, film.WIDTH, 1)
        figure.canvas.draw()
        assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in figure.texts)
        assert "[...]" in figure.texts[-1].get_text()  # cut, visibly


def test_a_strip_has_a_row_before_and_one_after_and_shows_an_end_once(tmp_path, monkeypatch):
    saved = []
    original = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (saved.append(self), original(self, *a, **k))[1])
    path = film.write_strip(SCENES, HEADS, [0, 1, 2], tmp_path / "strip.png")
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert image.format == "PNG"
    axes = np.array(saved[0].axes).reshape(4, 3)  # task a before, after; task b before, after
    assert [sum(a.get_visible() for a in row) for row in axes] == [3, 2, 2, 3]
    assert not axes[1, 2].get_visible()
    assert [row[0].get_ylabel() for row in axes][:2] == ["before\nadaptation", "after 1\ngradient\nstep"]
    assert axes[0, 2].images[0].get_array()[0, 0].tolist() == COLOURS[2].tolist()


@pytest.mark.parametrize("name", ["film.gif", "film.mp4", "strip.png", "strip.pdf"])
def test_the_same_scenes_give_the_same_bytes(tmp_path, name):
    def write(path):
        path.parent.mkdir()
        if name.startswith("film"):
            return film.write_film(SCENES, HEADS, [0, 1, 2], path, fps=5).read_bytes()
        return film.write_strip(SCENES, HEADS, [0, 2], path).read_bytes()

    if name.endswith("mp4"):
        pytest.importorskip("imageio_ffmpeg")
    assert write(tmp_path / "one" / name) == write(tmp_path / "two" / name)
