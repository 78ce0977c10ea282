"""Any optimizer of torch on the meta-gradient: MAML's plain policy-gradient outer step."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from metarl_exp.algorithm.objective import MetaFunction
from metarl_exp.algorithm.outer_optimizer.report import report
from metarl_exp.validation import require_choice, require_number

# Those that need more than one gradient at a point, gradients of another kind, or θ as matrices have no place here.
UNSUITABLE = ("Optimizer", "LBFGS", "SparseAdam", "Muon")
NAMES = sorted(
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name not in UNSUITABLE
)


# Schedules that a name and numbers are enough for, and that need no metric.
NO_SCHEDULES = (
    "LRScheduler", "LambdaLR", "MultiplicativeLR", "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler",
)  # fmt: skip
SCHEDULES = sorted(
    name
    for name, value in vars(torch.optim.lr_scheduler).items()
    if isinstance(value, type) and issubclass(value, LRScheduler) and name not in NO_SCHEDULES
)


class TorchOptimizer:
    """One step of a `torch.optim` optimizer, by name, against ∇F; `settings` are its other arguments.

    `scheduler` is null or the `name` and the arguments of one of `torch.optim.lr_scheduler`, which moves on once a
    meta-iteration. A gradient longer than `max_gradient_norm` (null: none is) is shortened to it.
    """

    uses_curvature, repeats = False, False

    def __init__(
        self,
        optimizer: str,
        lr: float,
        settings: dict[str, Any],
        scheduler: Mapping[str, Any] | None = None,
        max_gradient_norm: float | None = None,
    ) -> None:
        require_choice("outer_optimizer.optimizer", optimizer, NAMES)
        require_number("outer_optimizer.lr", lr, low=0)
        if scheduler is not None:
            require_choice("outer_optimizer.scheduler.name", scheduler.get("name"), SCHEDULES)
        if max_gradient_norm is not None:
            require_number("outer_optimizer.max_gradient_norm", max_gradient_norm, above=0)
        self.optimizer, self.lr, self.settings = optimizer, lr, dict(settings)
        self.scheduler, self.max_gradient_norm = dict(scheduler or {}), max_gradient_norm
        self.state: dict[str, Any] | None = None  # moments and counts, of rule and schedule, once there are any
        self._begin(torch.zeros(1))  # torch checks the settings

    def step(self, function: MetaFunction) -> tuple[Tensor, dict[str, float]]:
        """The next θ [P] and the report."""
        theta, gradient = function.theta.clone(), function.gradient()
        rule, schedule = self._begin(theta)
        self._descend(rule, theta, gradient)
        self._end(rule, schedule)
        return theta, report(function, gradient, function.evaluate(theta))

    def _begin(self, theta: Tensor) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        """The rule on a θ that it will change in place, and its schedule, both where they were left."""
        field = f"outer_optimizer.settings={self.settings} of {self.optimizer}"
        try:
            rule = getattr(torch.optim, self.optimizer)([theta], lr=self.lr, **self.settings)
            schedule = None
            if self.scheduler:
                field = f"outer_optimizer.scheduler={self.scheduler}"
                settings = {key: value for key, value in self.scheduler.items() if key != "name"}
                schedule = getattr(torch.optim.lr_scheduler, self.scheduler["name"])(rule, **settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{field}: {error}") from error
        if self.state is not None:
            # A copy: the rule changes its moments in place, and a state that was handed out has to stay as it was.
            state = copy.deepcopy(self.state)
            rule.load_state_dict(state["rule"])
            if schedule is not None:
                schedule.load_state_dict(state["schedule"])
        return rule, schedule

    def _descend(self, rule: torch.optim.Optimizer, theta: Tensor, gradient: Tensor) -> None:
        """One step of the rule against a gradient."""
        norm = gradient.norm()
        if self.max_gradient_norm is not None and norm > self.max_gradient_norm:
            gradient = gradient * (self.max_gradient_norm / norm)
        theta.grad = gradient
        rule.step()
        theta.grad = None

    def _end(self, rule: torch.optim.Optimizer, schedule: LRScheduler | None) -> None:
        if schedule is not None:
            schedule.step()
        self.state = {"rule": rule.state_dict(), "schedule": schedule.state_dict() if schedule is not None else {}}

    def state_dict(self) -> dict[str, Any]:
        """Moments and counts; empty before the first step."""
        return self.state or {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict()` was taken."""
        self.state = state or None
