"""Figures, PNG and PDF: `run` draws one run from its records, `study` draws methods over seeds from arrays."""

from metarl_exp.figures import study
from metarl_exp.figures.run import gradient_steps, learning_curve, paths
from metarl_exp.figures.style import SIZE, STYLE

__all__ = ["SIZE", "STYLE", "gradient_steps", "learning_curve", "paths", "study"]
