"""Phases of a meta-iteration: seconds, operations, or anything else that only grows, in each.

The package is watched from outside: while `watched` is entered, its methods of `METHODS` book what passes in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

from torch import Tensor

from metarl_exp.algorithm.advantage import GeneralisedAdvantages
from metarl_exp.algorithm.learner import Learner
from metarl_exp.algorithm.objective import MetaFunction
from metarl_exp.algorithm.sampler import Sampler

METHODS: dict[str, tuple[Any, str]] = {
    "sampling": (Sampler, "__call__"),
    "advantages": (GeneralisedAdvantages, "__call__"),
    "adaptation": (Learner, "inner_update"),  # what of it is neither of those: the inner gradients and updates
    "loss": (MetaFunction, "__init__"),
    "gradient": (MetaFunction, "task_gradients"),
    "again": (MetaFunction, "at"),  # adaptation from another θ on the same batch
    "curvature": (MetaFunction, "curvature"),  # what is made once for all products
    "search": (MetaFunction, "evaluate"),
}
PRODUCT, REST = "product", "rest"


class Phases:
    """Books what passes under the innermost phase that is entered, `rest` outside of all."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.amounts: dict[str, list[float]] = defaultdict(list)  # by phase, one number a call
        self.entered: list[list[Any]] = [[REST, 0.0]]
        self.last = now()

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        self._book()
        self.entered.append([phase, 0.0])
        try:
            yield
        finally:
            self._book()
            name, amount = self.entered.pop()
            self.amounts[name].append(amount)

    def of(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose calls are booked."""

        @wraps(function)
        def booked(*args: Any, **kwargs: Any) -> Any:
            with self.during(phase):
                return function(*args, **kwargs)

        return booked

    def close(self) -> dict[str, list[float]]:
        """{phase: what passed in each of its calls}; a phase that was not entered is not there."""
        self._book()
        return {**self.amounts, REST: [self.entered[0][1]]}

    def _book(self) -> None:
        now = self.now()
        self.entered[-1][1] += now - self.last
        self.last = now


@contextmanager
def watched(phases: Phases) -> Iterator[None]:
    """While entered, the package's methods are booked."""
    curvature = phases.of("curvature", MetaFunction.curvature)

    def with_products(function: MetaFunction, order: str) -> Callable[[Tensor], Tensor]:
        return phases.of(PRODUCT, curvature(function, order))

    with ExitStack() as stack:
        for phase, (owner, name) in METHODS.items():
            stack.enter_context(patch.object(owner, name, phases.of(phase, getattr(owner, name))))
        stack.enter_context(patch.object(MetaFunction, "curvature", with_products))
        yield
