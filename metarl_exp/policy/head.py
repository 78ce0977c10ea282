"""Heads: from a network's outputs to a distribution over actions, which the action space decides.

Continuous actions have a Gaussian, whose mean is the network's output, discrete ones a categorical distribution, whose
logits are. A head is no module: the parameters that it has beside the network are registered by the policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from metarl_exp.maths.distributions import Categorical, DiagonalGaussian, Distribution, bounded_log_std
from metarl_exp.maths.parameters import Parameters
from metarl_exp.types import Spec
from metarl_exp.validation import require_number

Outputs = Callable[[Tensor], Distribution]  # of a network's outputs [N, ..., A]


class Head(Protocol):
    """A distribution for the actions of the tasks with this `spec`, of which the network has A outputs."""

    spec: Spec
    distribution: type[Distribution]

    def initial(self, dtype: torch.dtype) -> dict[str, nn.Parameter]:
        """The parameters beside the network, as they are at first."""
        ...

    def state_independent(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Fields of the distribution after the network's outputs: elementwise functions of these parameters."""
        ...

    def __call__(self, parameters: Parameters) -> Outputs:
        """The head of these parameters, which has computed once what does not depend on observations."""
        ...


class GaussianHead:
    """Mean from the network, log-std a free parameter [A] that does not depend on the state and adapts with the rest.

    `min_std` and `max_std` bound the standard deviation through `bounded_log_std`, which is the identity from
    e·min_std to max_std/e. Raises ValueError for discrete actions.
    """

    distribution: type[Distribution] = DiagonalGaussian

    def __init__(self, init_std: float, min_std: float, max_std: float, spec: Spec) -> None:
        if spec.discrete:
            raise ValueError(
                f"a Gaussian policy needs continuous actions, these tasks have {spec.action_size} discrete ones: "
                "take policy=mlp, whose head fits the tasks (in Python CategoricalMLP or CategoricalHead)"
            )
        require_number("policy.min_std", min_std, above=0)
        require_number("policy.max_std", max_std, above=min_std * math.exp(2))
        require_number("policy.init_std", init_std, low=min_std * math.e, high=max_std / math.e)
        self.spec, self.init_std, self.bounds = spec, init_std, (math.log(min_std), math.log(max_std))

    def initial(self, dtype: torch.dtype) -> dict[str, nn.Parameter]:
        return {"log_std": nn.Parameter(torch.full((self.spec.action_size,), math.log(self.init_std), dtype=dtype))}

    def state_independent(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The bounded log-std."""
        return {"log_std": lambda raw: bounded_log_std(raw, *self.bounds)}

    def __call__(self, parameters: Parameters) -> Outputs:
        log_std = bounded_log_std(parameters["log_std"], *self.bounds)

        def distribution(mean: Tensor) -> DiagonalGaussian:
            shape = [len(log_std), *[1] * (mean.dim() - 2), -1] if log_std.dim() == 2 else [-1]
            return DiagonalGaussian(mean, log_std.view(shape).expand_as(mean))

        return distribution


class CategoricalHead:
    """Logits of the discrete actions from the network. Raises ValueError for continuous actions."""

    distribution: type[Distribution] = Categorical

    def __init__(self, spec: Spec) -> None:
        if not spec.discrete:
            raise ValueError(
                "a categorical policy needs discrete actions, these are continuous: "
                "take policy=mlp, whose head fits the tasks (in Python GaussianMLP or GaussianHead)"
            )
        self.spec = spec

    def initial(self, dtype: torch.dtype) -> dict[str, nn.Parameter]:
        return {}

    def state_independent(self) -> dict[str, Callable[[Tensor], Tensor]]:
        return {}

    def __call__(self, parameters: Parameters) -> Outputs:
        return Categorical
