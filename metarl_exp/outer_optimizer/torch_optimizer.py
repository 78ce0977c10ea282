"""Any optimizer of torch on the meta-gradient: MAML's plain policy-gradient outer step."""

from typing import Any

import torch
from torch import Tensor

from metarl_exp.objective import MetaFunction
from metarl_exp.validation import require_choice, require_number

NAMES = sorted(
    name
    for name, value in vars(torch.optim).items()
    # Those that need more than one gradient at a point, or gradients of another kind, have no place here.
    if isinstance(value, type)
    and issubclass(value, torch.optim.Optimizer)
    and name not in ("Optimizer", "LBFGS", "SparseAdam")
)


class TorchOptimizer:
    """One step of a `torch.optim` optimizer, by name, against ∇F; `settings` are its other arguments."""

    def __init__(self, optimizer: str, lr: float, settings: dict[str, Any]) -> None:
        require_choice("outer_optimizer.optimizer", optimizer, NAMES)
        require_number("outer_optimizer.lr", lr, low=0)
        self.optimizer, self.lr, self.settings = optimizer, lr, dict(settings)
        self.theta = torch.nn.Parameter(torch.zeros(0))
        self.rule = self._rule()

    def _rule(self) -> torch.optim.Optimizer:
        try:
            return getattr(torch.optim, self.optimizer)([self.theta], lr=self.lr, **self.settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"outer_optimizer.settings={self.settings} of {self.optimizer}: {error}") from error

    def step(self, function: MetaFunction) -> tuple[Tensor, dict[str, float]]:
        """The next θ [P] and the report."""
        gradient = function.gradient()
        self.theta.data = function.theta.clone()
        self.theta.grad = gradient
        self.rule.step()
        theta = self.theta.detach().clone()
        after = function.evaluate(theta)
        return theta, {
            "outer/gradient_norm": gradient.norm().item(),
            "outer/loss_before": function.loss,
            "outer/loss_after": after.loss,
            "outer/kl": after.kl,
        }

    def state_dict(self) -> dict[str, Any]:
        """The rule's moments and step counts."""
        return self.rule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict()` was taken."""
        moments = [x for entry in state["state"].values() for x in entry.values() if isinstance(x, Tensor) and x.dim()]
        if moments:  # torch moves the state to where the parameter is
            self.theta.data = torch.empty_like(moments[0])
        self.rule.load_state_dict(state)
