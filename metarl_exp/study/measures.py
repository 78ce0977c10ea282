"""Measures of one run, one for each column of a table.

`lacking` is what it means if there is nothing, `unit` what tables show it in unless a column says otherwise, `better` 1
if more of it is better and −1 if less is. `at_most` says of a run that its number is only an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from metarl_exp.study.summary import INTERFERENCE, Summary
from metarl_exp.validation import require_choice, require_integer, require_number


class Exact:
    """A measure that is never a bound."""

    def at_most(self, run: Summary) -> bool:
        """False."""
        return False


@dataclass(frozen=True)
class Return(Exact):
    """Return of the best iterate on the test tasks after some gradient steps."""

    after: int
    unit: float = 1.0
    better = 1
    lacking = None  # a run that takes fewer steps has no such number, and nothing is wrong with it

    def __post_init__(self) -> None:
        require_integer("after", self.after, low=0)
        require_number("unit", self.unit, above=0.0)

    def scores(self, run: Summary) -> np.ndarray | None:
        """One number a test task, [N]; None if the run did not take so many steps."""
        returns = run.returns
        return returns[:, self.after] if self.after < returns.shape[1] else None


@dataclass(frozen=True)
class Gain(Return):
    """Return after some gradient steps minus before the first, task by task."""

    def scores(self, run: Summary) -> np.ndarray | None:
        after = super().scores(run)
        return None if after is None else after - run.returns[:, 0]


@dataclass(frozen=True)
class Worse(Return):
    """Share of test tasks whose return is lower after some gradient steps than before the first."""

    better = -1

    def scores(self, run: Summary) -> np.ndarray | None:
        after = super().scores(run)
        return None if after is None else (after < run.returns[:, 0]).astype(float)


@dataclass(frozen=True)
class Trial(Exact):
    """Return of a whole trial of `episodes`, in equal batches with a gradient step between them, as a part of `of`."""

    episodes: int
    of: float = 1.0
    unit: float = 1.0
    better = 1
    lacking = None

    def __post_init__(self) -> None:
        require_integer("episodes", self.episodes, low=1)
        require_number("of", self.of, above=0)
        require_number("unit", self.unit, above=0.0)

    def scores(self, run: Summary) -> np.ndarray:
        """One number a test task, [N]: every batch counts, those before a gradient step too."""
        return run.returns.mean(1) * self.episodes / self.of


@dataclass(frozen=True)
class SamplesTo:
    """Environment steps of training until a curve first reached a return; nothing of a run that never did.

    A curve is a straight line between two looks. One that is there at the first look was there at most so early.
    """

    threshold: float  # return
    curve: str  # `return` of the training tasks, or `validation`
    step: int  # inner or gradient steps before that return
    unit: float = 1e6
    better = -1
    lacking = "not reached"

    def __post_init__(self) -> None:
        require_number("threshold", self.threshold)
        require_choice("curve", self.curve, ["return", "validation"])
        require_integer("step", self.step, low=0)
        require_number("unit", self.unit, above=0.0)

    def scores(self, run: Summary) -> np.ndarray | None:
        """The number of steps, [1]."""
        looks = self._until_there(run)
        if looks is None:
            return None
        steps, returns = looks
        if len(steps) == 1:
            return steps
        share = (self.threshold - returns[-2]) / (returns[-1] - returns[-2])
        return steps[-2:-1] + share * (steps[-1] - steps[-2])

    def at_most(self, run: Summary) -> bool:
        """Whether the return was there at the first look."""
        looks = self._until_there(run)
        return looks is not None and len(looks[0]) == 1

    def _until_there(self, run: Summary) -> tuple[np.ndarray, np.ndarray] | None:
        """Steps and returns of the looks up to the first with such a return; None if there is none."""
        points = run.curves.get(self.curve, {})
        returns = np.array(points.get(f"{self.curve}/step_{self.step}", []))
        reached = np.flatnonzero(returns >= self.threshold)
        if not len(reached):
            return None
        looked = slice(reached[0] + 1)
        return np.array(points["env_steps"])[looked], returns[looked]


@dataclass(frozen=True)
class Interference(Exact):
    """Mean over training of how much the meta-gradients of a batch's tasks are against each other, or a step's use."""

    of: str  # `cosine` of two tasks; share of pairs that are `conflicting`; of tasks that a step has `made_worse`
    unit: float = 1.0
    lacking = "not recorded"

    def __post_init__(self) -> None:
        require_choice("of", self.of, INTERFERENCE)
        require_number("unit", self.unit, above=0.0)

    @property
    def better(self) -> int:
        """Only a cosine is better the more it is."""
        return 1 if self.of == "cosine" else -1

    def scores(self, run: Summary) -> np.ndarray | None:
        """The mean, [1]."""
        points = run.curves.get("interference")
        return None if points is None else np.mean(points[INTERFERENCE[self.of]], keepdims=True)


Measure = Return | Trial | SamplesTo | Interference
MEASURES: Mapping[str, Callable[..., Measure]] = {
    "return": Return,
    "gain": Gain,
    "worse": Worse,
    "trial": Trial,
    "samples_to": SamplesTo,
    "interference": Interference,
}
