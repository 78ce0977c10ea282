"""Artifacts of a run that has trained: evaluation.json, figures and, if asked for, a film."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from metarl_exp import figures
from metarl_exp.algorithm.evaluation import Evaluation
from metarl_exp.algorithm.learner import Learner
from metarl_exp.maths.parameters import Parameters
from metarl_exp.runs import results, scoring
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.tasks.base import DrawsPaths

log = logging.getLogger("metarl_exp")


def evaluate(
    folder: RunFolder,
    learner: Learner,
    evaluation: Evaluation,
    candidates: dict[str, scoring.Candidate],
    beside: Mapping[str, float],
) -> dict[str, Any]:
    """Evaluate candidates on the test tasks; write evaluation.json, with the numbers `beside` it, and the figures."""
    content, measured = scoring.evaluate(learner, evaluation, candidates)
    content |= beside
    folder.write_json("evaluation.json", content)
    figures.learning_curve(folder.read_metrics(), folder.figures, results.counted(content))
    figures.gradient_steps(content, folder.figures)
    distribution = learner.task_distribution
    if isinstance(distribution, DrawsPaths):
        landmarks = distribution.landmarks(evaluation.tasks(learner, "test"))
        figures.paths(measured["best"], distribution.positions, landmarks, folder.figures)
    return content


def film(folder: RunFolder, learner: Learner, evaluation: Evaluation, theta: Parameters) -> str | None:
    """Film θ before and after adaptation; the reason if there is no film. An error is logged, and fails no run."""
    from metarl_exp.commands import replay  # with matplotlib, which a run that is refused, or has ended, does without

    try:
        replay.make_film(learner, evaluation, theta, replay.Filming(), folder.figures / "replay.gif")
    except Exception as error:
        log.exception("no film")
        return f"no film ({error})"
    return None
