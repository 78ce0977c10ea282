"""Any optimizer of torch on the meta-gradient: MAML's plain policy-gradient outer step."""

import copy
from typing import Any

import torch
from torch import Tensor

from metarl_exp.objective import MetaFunction
from metarl_exp.validation import require_choice, require_number

# Those that need more than one gradient at a point, gradients of another kind, or θ as matrices have no place here.
UNSUITABLE = ("Optimizer", "LBFGS", "SparseAdam", "Muon")
NAMES = sorted(
    name
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name not in UNSUITABLE
)


class TorchOptimizer:
    """One step of a `torch.optim` optimizer, by name, against ∇F; `settings` are its other arguments."""

    uses_curvature = False

    def __init__(self, optimizer: str, lr: float, settings: dict[str, Any]) -> None:
        require_choice("outer_optimizer.optimizer", optimizer, NAMES)
        require_number("outer_optimizer.lr", lr, low=0)
        self.optimizer, self.lr, self.settings = optimizer, lr, dict(settings)
        self.state: dict[str, Any] | None = None  # moments and step counts, once there are any
        self._rule(torch.zeros(1))  # torch checks the settings

    def _rule(self, theta: Tensor) -> torch.optim.Optimizer:
        try:
            return getattr(torch.optim, self.optimizer)([theta], lr=self.lr, **self.settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"outer_optimizer.settings={self.settings} of {self.optimizer}: {error}") from error

    def step(self, function: MetaFunction) -> tuple[Tensor, dict[str, float]]:
        """The next θ [P] and the report."""
        theta = function.theta.clone()
        theta.grad = gradient = function.gradient()
        rule = self._rule(theta)
        if self.state is not None:
            # A copy: the rule changes its moments in place, and a state that was handed out has to stay as it was.
            rule.load_state_dict(copy.deepcopy(self.state))
        rule.step()
        self.state = rule.state_dict()
        theta.grad = None
        after = function.evaluate(theta)
        return theta, {
            "outer/gradient_norm": gradient.norm().item(),
            "outer/loss_before": function.loss,
            "outer/loss_after": after.loss,
            "outer/kl": after.kl,
        }

    def state_dict(self) -> dict[str, Any]:
        """The rule's moments and step counts; empty before the first step."""
        return self.state or {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict()` was taken."""
        self.state = state or None
