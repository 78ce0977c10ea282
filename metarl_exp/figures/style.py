"""How figures look, and how they are saved: one palette, one size, PNG for looking and PDF for papers.

The colours are those of Okabe and Ito, which colour-blind readers tell apart. In grey it is the markers and the kinds
of line that tell methods apart.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from metarl_exp.runs.files import write_atomically

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells every glyph that a PDF gets

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vPX"
LINES = ("-", "--", "-.", ":")
STYLE: Any = {
    "font.size": 9,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "savefig.bbox": "tight",
    "pdf.fonttype": 42,  # text stays text; publishers refuse the other kind
}
KINDS = ("pdf", "png")  # of files that a figure is saved as
SIZE = (4.6, 3.1)  # inches: about a column of a two-column paper
MARKS: Any = {"markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.6}  # of a line's points


class Look(NamedTuple):
    """Colour, marker and line of a method, in every figure of a study."""

    color: str
    marker: str
    linestyle: str


def look(number: int) -> Look:
    """The look of the method in that place; the first 28 all differ."""
    kinds = COLOURS, MARKERS, LINES
    return Look(*(kind[number % len(kind)] for kind in kinds))


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write `name`.pdf and `name`.png, or the PNG alone if the name ends so; the path of the PNG.

    The same figure has the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = name.removesuffix(".png")
    kinds = KINDS if stem == name else ("png",)
    timeless: dict[str, Any] = {"pdf": {"CreationDate": None}, "png": {"Software": None}}
    for kind in kinds:
        content = io.BytesIO()
        figure.savefig(content, format=kind, metadata=timeless[kind])
        write_atomically(folder / f"{stem}.{kind}", content.getvalue())
    return folder / f"{stem}.png"
