"""Figures as text, and what the figures of a study are drawn from."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from metarl_exp.report import pictures
from metarl_exp.report.runs import read
from metarl_exp.report.studies import Method, Study
from metarl_exp.runs.sweep import folder_status


def test_a_picture_is_the_png_in_a_palette_and_as_large_as_on_paper(tmp_path):
    y, x = np.mgrid[:40, :80]
    pixels = np.stack([3 * x, 6 * y, 0 * x], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "drawn.png", dpi=(160, 160))
    picture = pictures.embedded("caption", tmp_path / "drawn.png")
    assert (picture.caption, picture.width, picture.height) == ("caption", 48, 24)  # half an inch is 48 CSS pixels
    head, _, content = picture.source.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.mode == "P"
        assert np.abs(np.asarray(image.convert("RGB"), int) - pixels).mean() < 8


@pytest.fixture
def drawn(monkeypatch, tmp_path) -> list[tuple]:
    """What the figures of a study were called with; each leaves an empty picture."""
    calls = []

    def record(name):
        def draw(methods, folder, **settings):
            calls.append((name, methods, settings))
            Image.new("RGB", (16, 16)).save(tmp_path / "figure.png", dpi=(96, 96))
            return tmp_path / "figure.png"

        return draw

    for name in ("learning_curves", "gradient_steps", "task_gains"):
        monkeypatch.setattr(pictures.figures, name, record(name))
    return calls


def methods(write_run, number: int, seeds: int = 2) -> list[Method]:
    return [
        Method(f"method {m}", [read(folder_status(write_run(f"x-{m}-seed{s}", seed=s))) for s in range(seeds)])
        for m in range(number)
    ]


def test_a_study_is_drawn_from_its_runs(write_run, drawn, tmp_path):
    (method,) = methods(write_run, 1)
    method.runs[1].records["return"][2] = np.nan  # as metrics keep what was not finite, by null
    captions = [picture.caption for picture in pictures.of_study(Study("e", 2, [method]), tmp_path)]
    assert captions == [
        "return of training tasks after adaptation, while training",
        "return of the best θ on held-out tasks after gradient steps",
        "what adaptation is worth on each held-out task",
    ]
    (_, panels, curves), (_, steps, _), (_, gains, settings) = drawn
    iteration, time = panels["meta-iteration"]["method 0"], panels["training time (s)"]["method 0"]
    np.testing.assert_array_equal(iteration.x, [[0, 1, 2]] * 2)
    np.testing.assert_array_equal(time.x, [[0, 3, 6]] * 2)
    np.testing.assert_array_equal(iteration.y, [[-40, -39, -38], [-40, -39, np.nan]])
    np.testing.assert_array_equal(time.y, iteration.y)
    assert curves["average"] == 1
    np.testing.assert_array_equal(steps["method 0"].returns, [[-42, -12]] * 2)
    np.testing.assert_array_equal(gains["method 0"], [[30, 30]] * 2)
    assert settings == {"steps": 1, "counted": "step", "name": "task_gains.png"}


def test_more_methods_than_colours_are_drawn_in_several_figures(write_run, drawn, tmp_path):
    shown = list(pictures.of_study(Study("e", 2, methods(write_run, 9, seeds=1)), tmp_path))
    assert [list(of_figure) for name, of_figure, _ in drawn if name == "gradient_steps"] == [
        [f"method {m}" for m in range(7)], ["method 7", "method 8"]
    ]  # fmt: skip
    assert [picture.caption.rsplit(", ", 1)[1] for picture in shown] == ["methods 1 to 7"] * 3 + ["methods 8 to 9"] * 3


def test_long_runs_are_averaged_to_about_a_hundred_points(write_run, drawn, tmp_path):
    (method,) = methods(write_run, 1, seeds=1)
    method.runs[0].records.update({quantity: np.arange(520.0) for quantity in method.runs[0].records})
    list(pictures.of_study(Study("e", 2, [method]), tmp_path))
    assert drawn[0][2]["average"] == 5


def test_runs_that_did_not_train_or_adapt_have_the_figures_that_they_can_have(write_run, drawn, tmp_path):
    run = read(folder_status(write_run(returns=[[-40.0], [-44.0]])))._replace(records={})
    list(pictures.of_study(Study("e", 2, [Method("method", [run])]), tmp_path))
    assert [name for name, _, _ in drawn] == ["gradient_steps"]
