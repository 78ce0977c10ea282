"""The seam between a policy and its derivatives: what adaptation and meta-objectives ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor

from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.parameters import Parameters
from metarl_exp.types import Experience

InnerLoss = Callable[[Distribution, Distribution, Experience], Tensor]  # of π_φ, the behaviour policy and its batch
Loss = Callable[[Distribution], Tensor]  # losses [N] of π_φ on a given batch
LinearMap = Callable[[Parameters], Parameters]  # a linear map of tangents {name: [N, ...]}

Declared = TypeVar("Declared", bound=Callable[..., Tensor])


def sum_over_steps(loss: Declared) -> Declared:
    """Declare that an inner loss is a sum over steps of functions of each step's own log π(a|s).

    Its Hessian in the log-probabilities is then diagonal, so that second order needs no graph of the network. A loss
    that ties steps together (DiCE) or asks for more of a policy (an entropy) must not be declared.
    """
    loss.sum_over_steps = True  # type: ignore[attr-defined]
    return loss


def is_sum_over_steps(loss: InnerLoss) -> bool:
    """Whether an inner loss was declared a `sum_over_steps`."""
    return getattr(loss, "sum_over_steps", False)


class Gradient(NamedTuple):
    """g = ∇_φ Σ_i L_i, differentiable with respect to φ, and its derivative, the product v ↦ H v."""

    gradients: Parameters  # {name: [N, ...]}
    hessian: LinearMap


class Derivatives(Protocol):
    """How π_φ is differentiated with respect to φ, {name: [N, ...]}. Every implementation equals autograd's."""

    def distribution(self, parameters: Parameters, observations: Tensor) -> Distribution:
        """π_φ on observations [N, M, T, S], to be differentiated once with respect to φ."""
        ...

    def gradient(
        self, loss: Loss, parameters: Parameters, distribution: Distribution, experience: Experience
    ) -> Gradient:
        """The gradient and the Hessian of the sum of a batch's losses; `distribution` is π_φ there, as above."""
        ...

    def fisher(self, parameters: Parameters, observations: Tensor, weights: Tensor) -> LinearMap:
        """φ̇ ↦ F φ̇, F = Σ over steps of weights [N, M, T] · the Fisher matrix of π_φ."""
        ...
