"""The differentiable update rule of the inner loop, from `higher`, on parameters stacked over tasks.

`higher` turns a `torch.optim` optimizer into a rule whose result keeps its derivatives. The rules are elementwise, so
one call updates all tasks. Only those that were found right by finite differences are accepted; see `REFUSED`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import higher
import torch
from torch import Tensor

from metarl_exp.maths.parameters import Parameters, zip_names
from metarl_exp.validation import require_choice, require_flag, require_number

REFUSED = {
    "RMSprop": "higher's version of it has wrong gradients (it warns so itself)",
    "AdamW": "higher has no differentiable version of it",
    "NAdam": "higher has no differentiable version of it",
    "RAdam": "higher has no differentiable version of it",
}


class Adam(torch.optim.Adam):
    """torch's Adam under a name of its own, for which `higher` uses `DifferentiableAdam` below."""


class DifferentiableAdam(higher.optim.DifferentiableOptimizer):
    """Adam [kingma2015adam, Alg. 1] with torch's placement of eps, differentiable to any order.

    higher's own version masks the infinite slope of √v at v = 0 in the first backward pass only: a second one, or a
    forward derivative, is NaN wherever a gradient is exactly zero, as it is for a dead ReLU unit. Here √ is taken of
    positive entries only: at a zero gradient the step is zero and its slope that of −α m̂ / eps.
    """

    def _update(self, grouped_grads: list[list[Tensor]], **_: Any) -> None:
        for group, states, gradients in zip(self.param_groups, self.state, grouped_grads, strict=True):
            (beta1, beta2), eps = group["betas"], group["eps"]
            for i, (p, g) in enumerate(zip(group["params"], gradients, strict=True)):
                step, mean, square = states[i].get("moments", (0, torch.zeros_like(g), torch.zeros_like(g)))
                step += 1
                mean = beta1 * mean + (1 - beta1) * g
                square = beta2 * square + (1 - beta2) * g * g
                states[i]["moments"] = step, mean, square
                positive = square > 0
                root = torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)
                denominator = root / (1 - beta2**step) ** 0.5 + eps
                group["params"][i] = p - group["lr"] / (1 - beta1**step) * mean / denominator


higher.register_optim(Adam, DifferentiableAdam)  # type: ignore[arg-type]  # annotated as an instance
GRANULARITIES = ("entry", "tensor", "step")
PREFIX = "inner_lr."  # of a step size's name in θ, before that of its parameter
SUPPORTED: dict[str, type[torch.optim.Optimizer]] = {"SGD": torch.optim.SGD, "Adam": Adam}


def _require_betas(field: str, value: Any) -> None:
    if not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(f"{field}={value!r}: must be a pair of numbers ≥ 0 and < 1")
    for beta in value:
        require_number(field, beta, low=0, below=1)


# Only these: higher ignores some of torch's other settings in silence (`maximize` among them). torch itself checks
# how they go together.
SETTINGS: dict[str, dict[str, Callable[[str, Any], None]]] = {
    "SGD": {
        "momentum": partial(require_number, low=0),
        "dampening": partial(require_number),
        "nesterov": require_flag,
    },
    # eps > 0: with none, a parameter whose gradient is exactly zero moves by 0 / 0.
    "Adam": {"betas": _require_betas, "eps": partial(require_number, above=0)},
}


class InnerOptimizer:
    """A `torch.optim` optimizer by name, its step size α (`lr`) and its other settings.

    Raises ValueError for an optimizer or a setting that `higher` does not differentiate correctly.
    """

    def __init__(self, optimizer: str, lr: float, settings: dict[str, Any]) -> None:
        if optimizer in REFUSED:
            raise ValueError(
                f"inner_optimizer.optimizer={optimizer!r} is refused: {REFUSED[optimizer]}; "
                f"allowed are {', '.join(SUPPORTED)}"
            )
        require_choice("inner_optimizer.optimizer", optimizer, SUPPORTED)
        require_number("inner_optimizer.lr", lr, low=0)
        for name, value in settings.items():
            require_choice(f"inner_optimizer.settings (of {optimizer})", name, SETTINGS[optimizer])
            SETTINGS[optimizer][name](f"inner_optimizer.settings.{name}", value)
        self.lr = lr
        self.optimizer, self.settings = SUPPORTED[optimizer], dict(settings)
        InnerRule(self, ["check"])  # torch checks the settings' values

    def step_sizes(self, fast: Parameters, inner_steps: int) -> Parameters:
        """The meta-parameters that it adds to θ, as they start, for what adapts (`fast`): none, α is a number."""
        return {}

    def start(self, names: Iterable[str], step_sizes: Parameters | None = None) -> InnerRule:
        """The rule with fresh state, for one adaptation of all tasks; `step_sizes` are those of θ, {name: [N, …]}."""
        return InnerRule(self, list(names))


class LearnedStepSizes(InnerOptimizer):
    """Inner rule with step sizes that are meta-parameters, each `lr` at first: Meta-SGD.  [li2017metasgd, Sec. 3]

    `granularity` is what has a step size of its own: every `entry` of what adapts, every `tensor`, or every tensor at
    every `step` [antoniou2019maml, Sec. 4], where steps beyond those of training take the last. They may become
    negative.
    """

    def __init__(self, optimizer: str, lr: float, settings: dict[str, Any], granularity: str) -> None:
        super().__init__(optimizer, lr, settings)
        require_choice("inner_optimizer.granularity", granularity, GRANULARITIES)
        self.granularity = granularity

    def step_sizes(self, fast: Parameters, inner_steps: int) -> Parameters:
        """{inner_lr.name: α}, of the parameter's shape, [] or [K]."""
        shape = {"entry": lambda p: p.shape, "tensor": lambda p: (), "step": lambda p: (max(inner_steps, 1),)}
        return {
            PREFIX + name: torch.full(shape[self.granularity](p), self.lr, dtype=p.dtype, device=p.device)
            for name, p in fast.items()
        }

    def start(self, names: Iterable[str], step_sizes: Parameters | None = None) -> InnerRule:
        """The rule with fresh state; it is differentiated with respect to `step_sizes` too."""
        names, given = list(names), step_sizes or {}
        return LearnedRule(self, names, [given[PREFIX + name] for name in names], self.granularity)


class InnerRule:
    """One run of the update rule; its state (momentum, moments) keeps its derivatives from step to step."""

    def __init__(self, owner: InnerOptimizer, names: list[str]) -> None:
        # higher only asks the original parameters for how many there are and in which group.
        placeholders = [torch.empty(0, requires_grad=True) for _ in names]
        try:
            original = owner.optimizer(self._groups(placeholders), lr=owner.lr, **owner.settings)  # type: ignore
        except (ValueError, TypeError) as error:
            raise ValueError(f"inner_optimizer.settings={owner.settings}: {error}") from error
        self.rule = higher.get_diff_optim(original, placeholders, track_higher_grads=True)
        self.lr = owner.lr

    def _groups(self, placeholders: list[Tensor]) -> list[Any]:
        """Parameters that share a step size, as `torch.optim` takes them: all."""
        return placeholders

    def _step_sizes(self, parameters: Parameters) -> Sequence[float | Tensor]:
        """α of each group, at the next step."""
        return [self.lr]

    def step(self, parameters: Parameters, gradients: Parameters, scale: float = 1.0) -> Parameters:
        """φ_{k+1} from φ_k and the gradients of the inner loss, both {name: [N, …]}; α is multiplied by `scale`.

        What the result remembers is up to the arguments: gradients with history make it second order, without, first
        order. The parameters must require gradients.
        """
        # higher differentiates a loss, so it gets one whose gradient is `gradients`: ⟨gradients, φ⟩. The aliases keep
        # a gradient that itself depends on φ out of that derivative.
        with torch.enable_grad():
            aliases = [p.view_as(p) for p in parameters.values()]
            terms = [(g * p).sum() for g, p in zip(gradients.values(), aliases, strict=True)]
            loss = torch.stack(terms).sum()
            rates = [scale * rate for rate in self._step_sizes(parameters)]
            updated = self.rule.step(loss, params=aliases, override={"lr": rates})
        return zip_names(parameters, updated)


class LearnedRule(InnerRule):
    """The rule with step sizes that keep their derivatives: by `override`, since higher detaches an optimizer's own."""

    def __init__(self, owner: InnerOptimizer, names: list[str], learned: list[Tensor], granularity: str) -> None:
        super().__init__(owner, names)
        self.learned, self.granularity, self.taken = learned, granularity, 0

    def _groups(self, placeholders: list[Tensor]) -> list[Any]:
        return [{"params": [p]} for p in placeholders]

    def _step_sizes(self, parameters: Parameters) -> Sequence[float | Tensor]:
        k, self.taken = self.taken, self.taken + 1
        if self.granularity == "entry":
            return self.learned
        rates = self.learned
        if self.granularity == "step":
            rates = [rate[:, min(k, rate.shape[1] - 1)] for rate in rates]
        return [rate.view(-1, *[1] * (p.dim() - 1)) for rate, p in zip(rates, parameters.values(), strict=True)]
