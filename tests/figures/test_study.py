"""Figures of a study: what is drawn are the numbers that were given."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from metarl_exp.figures import study
from metarl_exp.figures.bands import over_seeds
from metarl_exp.figures.study import Curve, Profile, Steps, StepSizes
from metarl_exp.statistics import Interval

NAN = np.nan
RISING = np.array([[-40.0, -20, -12, -8, -5], [-42.0, -24, -13, -9, -7], [-41.0, -19, -11, -7, -6]])
POINTS = np.tile(np.arange(5.0), (3, 1))


def lines(figure: Figure, panel: int = 0) -> dict:
    """The named lines of a panel."""
    return {line.get_label(): line for line in figure.axes[panel].lines if not line.get_label().startswith("_")}


def edges(collection) -> set[tuple[float, float]]:
    """The corners of a band."""
    return {(round(x, 9), round(y, 9)) for x, y in collection.get_paths()[0].vertices}


def corners(x, band) -> set[tuple[float, float]]:
    return {(round(a, 9), round(b, 9)) for ends in (band.low, band.high) for a, b in zip(x, ends, strict=True)}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def names(figure: Figure) -> list[str]:
    """What the legend says, which covers no axes."""
    (legend,) = figure.legends
    assert all(not legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)
    return [text.get_text() for text in legend.get_texts()]


def test_a_learning_curve_is_the_mean_with_its_interval_in_every_panel(tmp_path, saved):
    first = Curve(POINTS, RISING - 1)
    samples = Curve(POINTS * 80_000, RISING)
    panels = {"meta-iteration": {"second": Curve(POINTS, RISING), "first": first}, "samples": {"second": samples}}
    assert study.learning_curves(panels, tmp_path, ylabel="return") == tmp_path / "learning_curves.png"
    figure, band = saved[-1], over_seeds(RISING)
    assert lines(figure)["second"].get_ydata().tolist() == band.mean.tolist()
    assert lines(figure)["first"].get_ydata().tolist() == pytest.approx((band.mean - 1).tolist())
    assert edges(figure.axes[0].collections[0]) == corners(range(5), band)
    assert lines(figure, 1)["second"].get_xdata().tolist() == [0, 80_000, 160_000, 240_000, 320_000]
    assert [axes.get_xlabel() for axes in figure.axes] == ["meta-iteration", "samples"]
    assert names(figure) == ["second", "first"]
    assert figure.axes[1].get_title("right") == "mean and 95 % t-interval over 3 seeds"
    labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert {"100k", "200k"} <= set(labels)


def test_a_method_looks_the_same_in_every_panel_and_figure(tmp_path, saved):
    curve = Curve(POINTS, RISING)
    study.learning_curves({"a": {"one": curve, "two": curve}, "b": {"two": curve}}, tmp_path, ylabel="return")
    study.memory_bars({"a": {"one": 1, "two": 2}, "b": {"two": 2}}, tmp_path)
    curves, bars = saved
    colours = {lines(curves)["two"].get_color(), lines(curves, 1)["two"].get_color()}
    colours |= {to_hex(bars.axes[0].patches[1].get_facecolor()), to_hex(bars.axes[1].patches[0].get_facecolor())}
    assert len({colour.lower() for colour in colours}) == 1
    assert bars.axes[1].patches[0].get_y() == bars.axes[0].patches[1].get_y()


def test_one_seed_is_a_line_without_a_band_and_a_missing_point_a_gap(tmp_path, saved):
    one = np.array([[1.0, NAN, 3, 4, 5]])
    methods = {"one": Curve(POINTS[:1], one), "three": Curve(POINTS, RISING)}
    study.learning_curves({"x": methods}, tmp_path, ylabel="return")
    np.testing.assert_array_equal(lines(saved[-1])["one"].get_ydata(), one[0])
    assert len(saved[-1].axes[0].collections) == 1
    assert saved[-1].axes[0].get_title("right") == "mean and 95 % t-interval over 1 to 3 seeds"
    study.learning_curves({"x": {"one": methods["one"]}}, tmp_path, ylabel="return", average=2)
    assert saved[-1].axes[0].get_title("right") == "one seed; a point is the mean of 2"


def test_published_numbers_are_hollow_dashed_and_of_their_method_s_colour(tmp_path, saved):
    methods = {"MAML": Steps(RISING, [-40.4, None, -12.0, None, -6.0]), "other": Steps(RISING - 9)}
    study.gradient_steps(methods, tmp_path, ylabel="return")
    axes = saved[-1].axes[0]
    ours, published, other = axes.lines
    assert ours.get_ydata().tolist() == RISING.mean(0).tolist()
    assert edges(axes.collections[0]) == corners(range(5), over_seeds(RISING))
    assert published.get_xydata().tolist() == [[0, -40.4], [2, -12], [4, -6]]
    assert (published.get_linestyle(), published.get_markerfacecolor()) == ("--", "white")
    assert published.get_color() == ours.get_color() != other.get_color()
    assert ours.get_linestyle() == other.get_linestyle() == "-"
    assert names(saved[-1]) == ["MAML", "other", "as published"]


@pytest.mark.parametrize(
    ("counted", "axis", "gain"),
    [
        ("step", "gradient steps", "1 gradient step"),
        ("episode", "episodes before", "1 episode"),
        ("step or episode", "gradient steps or episodes", "1 gradient step or episode"),
    ],
)
def test_axes_say_what_comes_before_a_return(tmp_path, saved, counted, axis, gain):
    study.gradient_steps({"a": Steps(RISING)}, tmp_path, ylabel="return", counted=counted)
    study.task_gains({"a": RISING}, tmp_path, steps=1, counted=counted)
    assert [figure.axes[0].get_xlabel() for figure in saved] == [axis, f"gain in return from {gain}, task by task"]


def test_a_ring_is_around_the_step_size_that_was_chosen(tmp_path, saved):
    sizes, returns = np.array([1.0, 0.01, 0.1]), np.array([[NAN, -30.0, -7.0], [-9.0, -32.0, -8.0]])
    study.step_size_choice({"second": StepSizes(sizes, returns, 0.1)}, tmp_path)
    axes = saved[-1].axes[0]
    tried, ring = axes.lines
    np.testing.assert_array_equal(tried.get_xydata(), [[0.01, -31], [0.1, -7.5], [1, NAN]])
    assert ring.get_xydata().tolist() == [[0.1, -7.5]]
    (band,) = axes.collections
    assert band.get_paths()[0].get_extents().intervaly.tolist() == [-32, -7]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.1", "1"]
    assert names(saved[-1]) == ["second", "chosen"]


def test_a_step_size_that_fails_leaves_room_to_the_others(tmp_path, saved):
    sizes = np.geomspace(0.01, 1, 12)
    returns = np.stack([np.linspace(-4, -2, 12)] * 2)
    study.step_size_choice({"a": StepSizes(sizes, returns, 1.0)}, tmp_path)
    returns[:, 0] = -70
    study.step_size_choice({"a": StepSizes(sizes, returns, 1.0)}, tmp_path)
    (whole,), (cut,) = (figure.axes for figure in saved)
    assert whole.get_ylim()[0] < -4
    assert whole.get_title(loc="right") == "mean, lowest and highest of 2 seeds"
    assert -10 < cut.get_ylim()[0] < -4
    assert cut.get_title(loc="right") == "mean, lowest and highest of 2 seeds; lower returns are cut off"


def test_a_profile_and_its_interval_are_those_given(tmp_path, saved):
    x, share = np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.6, 0.0])
    profile = Profile(x, share, share - 0.1, share + 0.2)
    study.performance_profiles({"method": profile}, tmp_path, xlabel="normalised return τ")
    assert lines(saved[-1])["method"].get_xydata().tolist() == np.stack([x, share], 1).tolist()
    band = study.Band(share, profile.low, profile.high)
    assert edges(saved[-1].axes[0].collections[0]) == corners(x, band)


def test_a_bar_is_an_interval_and_its_stroke_the_number(tmp_path, saved):
    panels = {"IQM": {"one": Interval(0.5, 0.4, 0.7, 3), "two": Interval(0.2, 0.1, 0.3, 3)}}
    study.aggregate_intervals(panels, tmp_path, xlabel="normalised return")
    axes = saved[-1].axes[0]
    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches] == [(0.4, 0.7), (0.1, 0.3)]
    assert [stroke.get_segments()[0][0][0] for stroke in axes.collections] == [0.5, 0.2]
    assert axes.get_title() == "IQM"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    assert axes.yaxis_inverted()  # the first is on top


def test_bars_have_their_values_beside_them(tmp_path, saved):
    costs = {"peak memory (MiB)": {"second": 602.4, "first": 88.25}, "seconds": {"second": 1.65, "first": 0.12}}
    study.memory_bars(costs, tmp_path)
    assert [bar.get_width() for axes in saved[-1].axes for bar in axes.patches] == [602.4, 88.25, 1.65, 0.12]
    assert texts(saved[-1]) == ["602", "88.2", "1.65", "0.120"]


def test_gains_are_means_over_seeds_and_those_below_zero_are_hollow_and_counted(tmp_path, saved):
    gains = np.array([[10.0, -3.0, 2.0, 5.0], [20.0, -5.0, -4.0, 7.0]])  # means 15, −4, −1, 6
    study.task_gains({"second order": gains}, tmp_path, steps=3)
    axes = saved[-1].axes[0]
    zero, better, worse = axes.lines
    assert zero.get_xdata() == [0, 0]
    assert better.get_xdata().tolist() == [15, 6]
    assert worse.get_xdata().tolist() == [-4, -1]
    assert worse.get_markerfacecolor() == "white"
    (box,) = axes.patches
    low, median, high = np.quantile([15, -4, -1, 6], [0.25, 0.5, 0.75])
    assert (box.get_x(), box.get_x() + box.get_width()) == (low, high)
    assert axes.collections[0].get_segments()[0][0][0] == median
    assert texts(saved[-1]) == ["50 % worse\n(2 of 4)"]
    assert axes.get_title("right") == "dots: tasks, mean over 2 seeds"


def test_long_names_are_wrapped_and_cover_neither_each_other_nor_the_data(tmp_path, saved):
    long = [f"{'pretrained and then fine-tuned on every task, ' * 2}variant {i}" for i in range(3)]
    study.learning_curves({"x": {name: Curve(POINTS, RISING) for name in long}}, tmp_path, ylabel="return")
    assert [name.replace("\n", " ") for name in names(saved[-1])] == long
    assert saved[-1].legends[0].get_window_extent().width <= saved[-1].bbox.width
    study.memory_bars({"MiB": dict.fromkeys(long, 1.0)}, tmp_path)
    boxes = [label.get_window_extent() for label in saved[-1].axes[0].get_yticklabels()]
    assert not any(one.overlaps(two) for one, two in pairwise(boxes))


def every_figure(folder):
    """One of each."""
    curve = Curve(POINTS, RISING)
    yield study.learning_curves({"x": {"a": curve, "b": curve}}, folder, ylabel="return")
    yield study.gradient_steps({"a": Steps(RISING, [-1.0, *[None] * 4])}, folder, ylabel="return")
    yield study.step_size_choice({"a": StepSizes(np.array([0.1, 1]), RISING[:, :2], 0.1)}, folder)
    yield study.performance_profiles({"a": Profile(*np.tile([0.1, 0.2], (4, 1)))}, folder, xlabel="return")
    yield study.aggregate_intervals({"mean": {"a": Interval(1, 0, 2, 3)}}, folder, xlabel="return")
    yield study.memory_bars({"MiB": {"a": 1.0}}, folder)
    yield study.task_gains({"a": RISING}, folder, steps=1)


def test_every_figure_is_a_png_and_a_pdf_and_the_same_bytes_again(tmp_path):
    for one, two in zip(every_figure(tmp_path / "one"), every_figure(tmp_path / "two"), strict=True):
        assert one.read_bytes()[1:4] == b"PNG"
        assert one.with_suffix(".pdf").read_bytes()[:4] == b"%PDF"
        for path, again in ((one, two), (one.with_suffix(".pdf"), two.with_suffix(".pdf"))):
            assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda f: study.learning_curves({}, f, ylabel=""), "nothing to draw"),
        (lambda f: study.learning_curves({"x": {}}, f, ylabel=""), "nothing to draw"),
        (lambda f: study.task_gains({}, f, steps=1), "nothing to draw"),
        (lambda f: study.gradient_steps({"MAML": Steps(RISING[0])}, f, ylabel=""), r"MAML: shape \[5\]"),
        (
            lambda f: study.gradient_steps({"MAML": Steps(RISING, [1.0])}, f, ylabel=""),
            "MAML: 1 published numbers for steps 0 … 4",
        ),
        (
            lambda f: study.step_size_choice({"MAML": StepSizes(np.array([0.0, 1]), RISING[:, :2], 1)}, f),
            r"MAML: step sizes \[0.0, 1.0\] for 2 returns: must be positive",
        ),
        (
            lambda f: study.step_size_choice({"MAML": StepSizes(np.array([0.1, 1]), RISING, 1)}, f),
            r"MAML: step sizes \[0.1, 1.0\] for 5 returns",
        ),
        (
            lambda f: study.step_size_choice({"MAML": StepSizes(np.array([0.1, 1]), RISING[:, :2], 0.2)}, f),
            "MAML: chosen=0.2: tried were 0.1, 1",
        ),
        (
            lambda f: study.performance_profiles({"MAML": Profile(*[np.ones(2)] * 3, np.ones(3))}, f, xlabel=""),
            "MAML: share, low and high must have 2 numbers",
        ),
        (
            lambda f: study.aggregate_intervals({"IQM": {"MAML": Interval(3, 1, 2, 3)}}, f, xlabel=""),
            r"MAML: 3 is not inside its interval \[1, 2\]",
        ),
        (lambda f: study.memory_bars({"MiB": {"MAML": NAN}}, f), "MAML: MiB=nan: must be a number ≥ 0"),
        (lambda f: study.task_gains({"MAML": np.array([[1, NAN]])}, f, steps=1), "MAML: the gain of some task"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_naming_the_method(tmp_path, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(tmp_path)
    assert not list(tmp_path.iterdir())
