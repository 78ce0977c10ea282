"""How figures look and are saved."""

from itertools import combinations, pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from metarl_exp.figures.style import COLOURS, look, save

# What dichromats see of linear RGB: Machado, Oliveira, Fernandes 2009, severity 1.
SEEN = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
XYZ = np.array([[0.412456, 0.357576, 0.180438], [0.212673, 0.715152, 0.072175], [0.019334, 0.119192, 0.950304]])


def lab(colour: str, seen: list[list[float]]) -> np.ndarray:
    """CIELAB of an sRGB colour as it is seen."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x = XYZ @ np.clip(np.array(seen) @ linear, 0, 1) / XYZ.sum(1)
    f = np.where(x > 216 / 24389, np.cbrt(x), (24389 / 27 * x + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def nearest(colours, seen) -> float:
    return min(np.linalg.norm(lab(one, seen) - lab(two, seen)) for one, two in combinations(colours, 2))


@pytest.mark.parametrize("kind", SEEN)
def test_colour_blind_readers_tell_all_colours_apart(kind):
    """Twice as far apart as the nearest ones of the usual palette are, which is where these readers lose them."""
    usual = matplotlib.colormaps["tab10"].colors[: len(COLOURS)]
    assert nearest(COLOURS, SEEN[kind]) > 2 * nearest(usual, SEEN[kind])
    assert nearest(COLOURS, SEEN[kind]) > 15


def test_the_first_28_looks_all_differ_and_neighbours_differ_in_everything():
    looks = [look(number) for number in range(28)]
    assert len(set(looks)) == 28
    for one, two in pairwise(looks):
        assert all(a != b for a, b in zip(one, two, strict=True))


def test_a_figure_is_saved_twice_with_the_same_bytes_and_no_date(tmp_path):
    def draw(folder):
        figure = Figure()
        figure.subplots().plot([1, 2], label="line")
        return save(figure, folder, "name")

    one, two = draw(tmp_path / "one"), draw(tmp_path / "two")
    assert one == tmp_path / "one" / "name.png"
    for path in (one, one.with_suffix(".pdf")):
        assert path.read_bytes() == (two.parent / path.name).read_bytes()
    assert b"CreationDate" not in one.with_suffix(".pdf").read_bytes()


def test_a_figure_for_a_page_is_a_png_alone(tmp_path):
    path = save(Figure(), tmp_path, "figure.png")
    assert list(tmp_path.iterdir()) == [path]
