"""Findings of checks, and their subject: a distribution with some of its tasks, and a way to play it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_exp.checker.rehearsal import Record, play_actions, random_actions
from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.types import BatchedEnv

PASSED, NOTE, FAULT, NOT_RUN = "passed", "note", "FAULT", "not run"
CPU = torch.device("cpu")


class Seen(NamedTuple):
    """Verdict of a check on its claim, with its observations."""

    verdict: str  # passed, note, FAULT or not run
    text: str  # numbers, task, step


def passed(text: str) -> Seen:
    """The claim held, as far as it was tried."""
    return Seen(PASSED, text)


def note(text: str) -> Seen:
    """Worth knowing, or not to be decided from outside."""
    return Seen(NOTE, text)


def fault(text: str) -> Seen:
    """The claim does not hold: results would be wrong."""
    return Seen(FAULT, text)


def not_run(text: str) -> Seen:
    """The check needs something that is not so."""
    return Seen(NOT_RUN, text)


class Finding(NamedTuple):
    """One line of the report."""

    check: str  # the claim that was examined
    verdict: str
    seen: str


class Subject:
    """A distribution under examination.

    `with_horizon` makes the same distribution with another time limit, where there is a way to.
    """

    def __init__(
        self, distribution: TaskDistribution, with_horizon: Callable[[int], TaskDistribution] | None = None
    ) -> None:
        self.distribution, self.with_horizon = distribution, with_horizon

    @cached_property
    def tasks(self) -> Tensor:
        """Eight tasks to play, [8, task parameters]."""
        return self.distribution.sample(8, torch.Generator().manual_seed(0))

    def steps(self, most: int) -> int:
        """So many steps, or as many as an episode has."""
        return min(most, self.distribution.spec.horizon)

    def make(self, tasks: Tensor, trajectories: int, seed: int = 0) -> BatchedEnv:
        """Environments for these tasks, with a generator of their own."""
        return self.distribution.make_env(tasks.clone(), trajectories, torch.Generator().manual_seed(seed), CPU)

    def play(self, tasks: Tensor, actions: Tensor, seed: int = 0) -> Record:
        """Answers of these tasks to actions [N, M, T, …]."""
        return play_actions(self.make(tasks, actions.shape[1], seed), actions)

    def whole_episodes(self, seed: int) -> Record:
        """Two tasks × two episodes of random actions, to the horizon."""
        shape = 2, 2, self.distribution.spec.horizon
        return self.play(self.tasks[:2], random_actions(self.distribution.spec, shape, seed), seed)

    @cached_property
    def episodes(self) -> Record:
        """Whole episodes that several checks look at."""
        return self.whole_episodes(0)
