"""Films and strips of stills: episodes side by side, moment by moment, from whatever paints them to one file.

A `Take` is an episode with something that paints it, a `Scene` a task with a take for each column. A GIF goes through
Pillow, which matplotlib needs anyway, an MP4 through imageio-ffmpeg. No display is needed. The same scenes give the
same file, byte for byte.
"""

from __future__ import annotations

import io
import os
import subprocess
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from metarl_exp.figures.style import STYLE
from metarl_exp.runs.files import write_atomically
from metarl_exp.validation import require_extra

FRAMES = 120  # of a film at most: longer episodes are shown with a stride
STILLS = 6  # moments in a strip
HOLD = 1.5  # s that a film stays at its end
WIDTH = 3.6  # inches of a panel of a film at most; a strip's are half as wide
HEIGHT = 7.0  # inches that all rows of a film take together, unless that would leave a panel no room for its caption
DPI = 100
COLOURS = 128  # in a GIF's palette, which all of its frames share
LINE, LETTER, GAP = 0.2, 0.075, 0.15  # inches: of a line of text and one of its letters, between panels
FRAMED = STYLE | {"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True, "axes.edgecolor": "0.6"}

Paint = Callable[[Any, int], None]  # paints an episode on empty axes as it stands after a number of steps


class Take(NamedTuple):
    """One episode of T steps."""

    paint: Paint
    rewards: np.ndarray  # [T]


class Scene(NamedTuple):
    """One task: what it is called, and an episode for each column of a film."""

    title: str
    takes: Sequence[Take]


def picture(frames: dict[int, np.ndarray]) -> Paint:
    """Shows photographs, taken after some numbers of steps."""

    def paint(axes: Axes, step: int) -> None:
        axes.imshow(frames[step])
        axes.set(xticks=[], yticks=[])

    return paint


def scaled(frame: np.ndarray) -> np.ndarray:
    """A photograph as large as a panel shows it, if it is larger: films keep hundreds of them."""
    image = Image.fromarray(frame)
    image.thumbnail((int(WIDTH * DPI), int(2 * WIDTH * DPI)))
    return np.asarray(image)


def moments(length: int, most: int) -> list[int]:
    """Steps 0 … `length` of a film with at most `most` frames, evenly apart but for the last; both ends included."""
    stride = max(1, -(-length // (most - 1)))
    return [*range(0, length, stride), length]


def evenly(length: int, number: int) -> list[int]:
    """`number` steps from 0 to `length`, both included, or all of them if they are fewer."""
    return np.unique(np.linspace(0, length, number).round().astype(int)).tolist()


def write_film(scenes: Sequence[Scene], heads: Sequence[str], steps: Sequence[int], path: Path, fps: float) -> Path:
    """A film: a row for each scene, a column for each head; a GIF or, if the path ends so, an MP4."""
    with matplotlib.rc_context(FRAMED):
        shape = _shape(scenes)
        width = min(WIDTH, max(WIDTH / 2, HEIGHT / len(scenes) / shape))
        figure, board = _board([scene.title for scene in scenes], heads, shape, width, 1)
        canvas, frames = FigureCanvasAgg(figure), []
        screens = [list(map(Screen, scene.takes, row)) for scene, row in zip(scenes, board, strict=True)]
        for step in steps:
            for row in screens:
                for screen in row:
                    screen.show(step)
                _share_view([screen.axes for screen in row])
            canvas.draw()
            frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    (_write_mp4 if path.suffix == ".mp4" else _write_gif)(frames, path, fps)
    return path


def write_strip(scenes: Sequence[Scene], heads: Sequence[str], steps: Sequence[int], path: Path) -> Path:
    """A strip for papers, PNG or PDF: for each scene and head a row of stills, one at each step."""
    with matplotlib.rc_context(FRAMED):
        titles = [scene.title for scene in scenes]
        figure, board = _board(titles, [""] * len(steps), _shape(scenes), WIDTH / 2, len(heads))
        for number, scene in enumerate(scenes):
            rows = board[number * len(heads) : (number + 1) * len(heads)]
            for head, take, row in zip(heads, scene.takes, rows, strict=True):
                for step, before, axes in zip(steps, [-1, *steps], row, strict=False):
                    if before < len(take.rewards):  # the end is shown once
                        Screen(take, axes, size=7).show(step)
                    else:
                        axes.set_visible(False)
                row[0].set_ylabel(textwrap.fill(head, 10), fontsize=8)
            _share_view([axes for row in rows for axes in row])
        metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
        content = io.BytesIO()
        figure.savefig(content, format=path.suffix.removeprefix("."), metadata=metadata)
    write_atomically(path, content.getvalue())
    return path


class Screen:
    """Axes that show one take, at whatever step."""

    def __init__(self, take: Take, axes: Axes, size: int = 9) -> None:
        self.take, self.axes, self.size = take, axes, size
        self.returns = np.concatenate([[0.0], np.cumsum(take.rewards)])
        self.frame = set(axes.get_children())

    def show(self, step: int) -> None:
        """Paint the take after `step` steps, or at its end if that came before, and say how it stands."""
        for artist in self.axes.get_children():
            if artist not in self.frame:  # `axes.clear()` would build the frame anew, which takes longer than all else
                artist.remove()
        self.axes.set_prop_cycle(None)
        reached = min(step, len(self.take.rewards))
        self.take.paint(self.axes, reached)
        self.axes.set_title(self.caption(reached), fontsize=self.size, loc="left", pad=3)

    def caption(self, step: int) -> str:
        """The step and the return so far, with as many digits as the whole episode asks for."""
        whole = not np.mod(self.take.rewards, 1).any()
        digits = 0 if whole else 1 if np.abs(self.returns).max() >= 10 else 2
        end = " (end)" if step == len(self.take.rewards) else ""
        return f"step {step}{end} · return {self.returns[step]:.{digits}f}".replace("-", "−")


def _share_view(board: Sequence[Axes]) -> None:
    """Show the same part of the plane on all axes: what any of them shows."""
    for get, put in ((Axes.get_xlim, Axes.set_xlim), (Axes.get_ylim, Axes.set_ylim)):
        starts, ends = zip(*map(get, board), strict=True)
        up = starts[0] < ends[0]  # the rows of a photograph run down
        limits = (min(starts), max(ends)) if up else (max(starts), min(ends))
        for axes in board:
            put(axes, limits)


def _shape(scenes: Sequence[Scene]) -> float:
    """Height over width of what is painted; three quarters where that is left to the axes."""
    axes = Figure().subplots()
    scenes[0].takes[0].paint(axes, 0)
    return axes.get_data_ratio() if axes.get_aspect() == 1 else 0.75


def _board(
    titles: Sequence[str], heads: Sequence[str], shape: float, width: float, rows: int
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with `rows` rows of axes under each title, and a column under each head."""
    columns, height = len(heads), width * shape
    across = columns * (width + GAP) + GAP
    texts = ["\n".join(textwrap.wrap(title, int(across / LETTER), max_lines=2)) for title in titles]
    above = [LINE * (text.count("\n") + 1) for text in texts]
    head = LINE + GAP if any(heads) else GAP
    tall = head + sum(above) + len(texts) * (rows * (height + LINE) + GAP)
    size = (2 * round(across * DPI / 2) / DPI, 2 * round(tall * DPI / 2) / DPI)  # even: video encoders take no others
    figure, board, y = Figure(figsize=size, dpi=DPI), [], tall - head
    lefts = [GAP + column * (width + GAP) for column in range(columns)]
    for left, text in zip(lefts, heads, strict=True):
        place = (left + width / 2) / across, 1 - GAP / 2 / tall
        figure.text(*place, text, ha="center", va="top", weight="bold", size=11)
    for text, space in zip(texts, above, strict=True):
        figure.text(GAP / across, y / tall, text, ha="left", va="top", size=9, color="0.25")
        y -= space
        for _ in range(rows):
            y -= LINE + height
            place = y / tall, width / across, height / tall
            board.append([figure.add_axes((left / across, *place), xticks=[], yticks=[]) for left in lefts])
        y -= GAP
    return figure, board


def require_format(kind: str) -> None:
    """Raise ModuleNotFoundError, saying what to install, if films of this format need what is not there."""
    if kind == "mp4":
        require_extra("imageio_ffmpeg", "video", "format=mp4")


def _write_gif(frames: Sequence[np.ndarray], path: Path, fps: float) -> None:
    """Frames [H, W, 3] as a GIF that repeats; one palette for all, since another for each would flicker."""
    sample = np.concatenate(frames[:: max(1, len(frames) // 8)])
    palette = Image.fromarray(sample).quantize(COLOURS, Image.Quantize.MEDIANCUT)
    palette.putpalette([255 if value >= 250 else value for value in palette.getpalette() or []])  # paper stays white
    first, *others = (Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames)
    durations = [round(1000 / fps)] * len(others) + [round(1000 * HOLD)]
    content = io.BytesIO()
    first.save(content, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    write_atomically(path, content.getvalue())


def _write_mp4(frames: Sequence[np.ndarray], path: Path, fps: float) -> None:
    """Frames [H, W, 3], of even sides, as H.264; the last one is held."""
    partial = path.with_name(f"partial-{path.name}")
    height, width, _ = frames[0].shape
    ffmpeg = require_extra("imageio_ffmpeg", "video", "format=mp4").get_ffmpeg_exe()
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    wanted = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart"]
    same_bytes = ["-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact"]
    command = [ffmpeg, "-loglevel", "error", "-y", *given, *wanted, *same_bytes, str(partial)]
    content = b"".join(frame.tobytes() for frame in [*frames, *[frames[-1]] * round(HOLD * fps)])
    done = subprocess.run(command, input=content, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"ffmpeg could not write {path}: {done.stderr.decode(errors='replace').strip()}")
    os.replace(partial, path)
