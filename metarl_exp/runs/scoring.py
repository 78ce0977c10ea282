"""Scores of some θ on the test tasks: the content of `evaluation.json`, which `results` shows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from metarl_exp.algorithm.episodes import mean_returns, success_rates
from metarl_exp.algorithm.evaluation import Evaluation
from metarl_exp.algorithm.learner import Learner
from metarl_exp.maths.parameters import Parameters
from metarl_exp.runs.results import DECIMALS, OVER, intervals
from metarl_exp.tasks.base import Divisible, Solvable
from metarl_exp.types import Trajectories


class Candidate(NamedTuple):
    """A θ to evaluate, and the number of outer steps behind it."""

    iteration: int
    theta: Parameters


def evaluate(
    learner: Learner, evaluation: Evaluation, candidates: dict[str, Candidate]
) -> tuple[dict[str, Any], dict[str, list[Trajectories]]]:
    """The content of `evaluation.json` for some θ on the test tasks, and the trajectories behind each."""
    measured = {name: evaluation.measure(learner, c.theta, "test") for name, c in candidates.items()}
    tasks, distribution = evaluation.tasks(learner, "test"), learner.task_distribution
    content = {
        "protocol": asdict(evaluation),
        "tasks": {"n": len(tasks), "names": distribution.parameter_names, "values": tasks.tolist()},
        "interval": OVER,
        "theta": {
            name: summarise(mean_returns(trajectories), candidates[name].iteration, success_rates(trajectories))
            for name, trajectories in measured.items()
        },
    }
    if isinstance(distribution, Divisible):
        episodes = len(next(iter(measured.values())))
        content |= {"after": "episode", "protocol": content["protocol"] | {"steps": episodes - 1}}
    if isinstance(distribution, Solvable):
        content["optimal_returns"] = np.round(distribution.optimal_returns(tasks).numpy(), DECIMALS).tolist()
    return content, measured


def summarise(returns: Tensor, iteration: int, success: Tensor | None = None) -> dict[str, Any]:
    """One θ's entry: per-task returns [N, K_test + 1] and, for each number of steps, mean and interval over tasks.

    The same for the success rates [N, K_test + 1], where the tasks have a goal that can be reached.
    """
    values = returns.double().numpy()
    return {
        "iteration": iteration,
        "returns": np.round(values, DECIMALS).tolist(),
        **intervals(values),
        "tasks_made_worse": (values < values[:, :1]).mean(0).tolist(),
        "n": len(values),
        **({} if success is None else {"success": {"rates": success.tolist(), **intervals(success.numpy())}}),
    }
