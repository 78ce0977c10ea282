# ruff: noqa: F401
"""Figures, PNG and PDF: `run` draws one run from its records, `study` draws methods over seeds from arrays."""

from typing import TYPE_CHECKING

from metarl_exp.exports import on_demand

if TYPE_CHECKING:
    from metarl_exp.figures import study
    from metarl_exp.figures.run import gradient_steps, learning_curve, paths
    from metarl_exp.figures.style import SIZE, STYLE

# Matplotlib is imported when something is drawn.
__getattr__, __dir__ = on_demand(
    __name__, {"run": ["gradient_steps", "learning_curve", "paths"], "style": ["SIZE", "STYLE"], "study": []}
)
