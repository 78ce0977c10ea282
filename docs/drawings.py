"""Draw the diagrams of the documentation: the algorithm, and the derivatives along a path of adaptation.

python docs/drawings.py     write docs/algorithm.svg and docs/adaptation_path.svg
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from metarl_exp.figures.style import COLOURS

FOLDER = Path(__file__).parent
BLUE, ORANGE, GREEN, *_ = COLOURS
GREY = "#555555"


class Drawing:
    """Boxes and arrows on a page of some width and height, in units of a line of text."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width / 8, height / 8))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(self, x: float, y: float, text: str, width: float = 9, height: float = 4, color: str = "black") -> None:
        """Draw a box around its centre (x, y)."""
        corner = x - width / 2, y - height / 2
        self.axes.add_patch(
            FancyBboxPatch(corner, width, height, "round,pad=0,rounding_size=0.7", fc="white", ec=color)
        )
        self.text(x, y, text, color)

    def text(self, x: float, y: float, text: str, color: str = "black", **settings: Any) -> None:
        """Write centred at (x, y)."""
        self.axes.text(x, y, text, color=color, ha="center", va="center", fontsize=10, **settings)

    def arrow(
        self, start: tuple[float, float], end: tuple[float, float], label: str = "", color: str = "black",
        above: float = 1.1, bend: float = 0, style: str = "-",
    ) -> None:  # fmt: skip
        """Draw an arrow with a label over its middle; `bend` is the curvature of its arc."""
        look = {"arrowstyle": "-|>", "color": color, "linestyle": style, "shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", end, start, arrowprops=look | {"connectionstyle": f"arc3,rad={bend}"})
        self.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + above, label, color)

    def save(self, name: str) -> None:
        """Write the drawing as SVG, the same bytes every time."""
        with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
            self.figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None}, facecolor="white")


def algorithm() -> None:
    """Draw one meta-iteration: N tasks are sampled and adapted to, and θ takes a step."""
    drawing = Drawing(76, 24)
    drawing.box(7, 4.5, "N tasks\n" r"$\tau_i \sim p(\tau)$", 10, 5)
    stages = [(19, r"\theta", "D_0"), (38, r"\varphi_1", "D_1"), (57, r"\varphi_K", "D_K")]
    for x, parameters, batch in stages:
        drawing.box(x, 14, f"${parameters}$", 5, 4, BLUE)
        drawing.box(x, 4.5, f"episodes ${batch}$", 11, 4, GREEN)
        drawing.arrow((x, 12), (x, 6.5), color=GREEN)
        drawing.text(x - 2.4, 9.4, r"$\pi$ acts", GREEN, rotation=90)
    drawing.arrow((12, 4.5), (13.5, 4.5))
    for (left, _, batch), (right, _, _) in pairwise(stages):
        drawing.arrow((left + 2.5, 14), (right - 2.5, 14), color=BLUE)
        drawing.arrow((left + 5.5, 6), (left + 9.5, 13.6), color=GREEN)
        drawing.text(left + 5.6, 10.6, rf"$g({batch})$", GREEN)
    drawing.text(28.5, 15.5, "inner step $U$", BLUE)
    drawing.text(47.5, 15.5, r"$\cdots$  $K$ in all  $\cdots$", BLUE)
    drawing.box(71, 14, "outer loss", 9, 4, ORANGE)
    drawing.arrow((59.5, 14), (66.5, 14), color=BLUE)
    drawing.arrow((62.5, 5.5), (69, 12), color=GREEN)
    drawing.arrow((71, 16), (19, 16), color=ORANGE, bend=0.16)
    drawing.text(45, 21.8, r"outer step: meta-gradient, mean over tasks, back through every $U$", ORANGE)
    drawing.save("algorithm")


def adaptation_path() -> None:
    """Draw θ → φ_K with tangents that go forwards and cotangents that come back, and what first order leaves out."""
    drawing = Drawing(76, 33)
    places = {r"\varphi_0 = \theta": 8, r"\varphi_1": 28, r"\varphi_2": 48, r"\varphi_K": 68}
    for name, x in places.items():
        drawing.box(x, 16.5, f"${name}$", 8, 4, BLUE)
    for k, (left, right) in enumerate(pairwise(places.values())):
        middle, step = (left + right) / 2, "k" if k == 2 else str(k)
        drawing.arrow((left + 4, 16.5), (right - 4, 16.5), r"$\cdots$" if k == 2 else rf"$-\alpha\, g_{k}$", BLUE)
        drawing.arrow((left, 18.7), (right - 1, 18.7), color=GREEN, bend=-0.45)
        drawing.arrow((right, 14.3), (left + 1, 14.3), color=ORANGE, bend=-0.45)
        drawing.text(middle, 25, rf"$\dot\varphi_{{{step}}} - \alpha\, H_{{{step}}}\, \dot\varphi_{{{step}}}$", GREEN)
        drawing.text(middle, 8, rf"$u - \alpha\, H_{{{step}}}\, u$", ORANGE)
    drawing.text(38, 29.5, r"forwards, $v \mapsto J v$: the tangent $\dot\varphi_0 = v$ of $\theta$", GREEN)
    drawing.text(38, 3.8, r"backwards, $u \mapsto J^{\top} u$: the cotangent $u$ of $\varphi_K$", ORANGE)
    drawing.text(38, 1, r"first order: every $H_k$ is left out, and $J$ is the identity", GREY)
    drawing.save("adaptation_path")


if __name__ == "__main__":
    algorithm()
    adaptation_path()
