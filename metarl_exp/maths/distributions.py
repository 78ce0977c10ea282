"""Action distributions as tuples of tensors, with what meta-RL asks of them.

Each is the output of a policy: its fields are the network's outputs, so a tangent or cotangent of the outputs has
the same type, and `fisher_product` is the Fisher information in output space (the Hessian of the KL at equality).
Shapes: `…` stands for any leading axes, usually [N, M, T]; A is the action size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


class DiagonalGaussian(NamedTuple):
    """N(mean, diag(exp(2 log_std))) over continuous actions; both fields [..., A]."""

    mean: Tensor
    log_std: Tensor

    @staticmethod
    def noise(shape: tuple[int, ...], action_size: int, generator: torch.Generator) -> Tensor:
        """Standard normal draws [*shape, A]: all the randomness that `sample` needs."""
        return torch.randn(*shape, action_size, generator=generator)

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std ∘ noise, [..., A]."""
        return torch.addcmul(self.mean, self.log_std.exp(), noise)

    def mode(self) -> Tensor:
        """The most likely action, [..., A]."""
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density in nats, **summed** over action dimensions, [...]."""
        standardised = (action - self.mean) * torch.exp(-self.log_std)
        return -(0.5 * standardised.square() + self.log_std + 0.5 * LOG_2PI).sum(-1)

    def kl(self, other: DiagonalGaussian) -> Tensor:
        """KL(self ‖ other) in nats, [...]."""
        difference = (self.mean - other.mean) * torch.exp(-other.log_std)
        log_ratio = self.log_std - other.log_std
        return (0.5 * (torch.exp(2 * log_ratio) + difference.square() - 1) - log_ratio).sum(-1)

    def entropy(self) -> Tensor:
        """Differential entropy in nats, [...]."""
        return (self.log_std + 0.5 * (LOG_2PI + 1)).sum(-1)

    def fisher_product(self, tangent: DiagonalGaussian) -> DiagonalGaussian:
        """F · tangent for F = diag(1/σ² on the mean, 2 on log σ)."""
        return DiagonalGaussian(tangent.mean * torch.exp(-2 * self.log_std), 2 * tangent.log_std)

    def score(self, action: Tensor) -> DiagonalGaussian:
        """Slope of the log-density in both fields."""
        standardised = (action - self.mean) * torch.exp(-self.log_std)
        return DiagonalGaussian(standardised * torch.exp(-self.log_std), standardised.square() - 1)

    def score_product(self, action: Tensor, weights: Tensor) -> Callable[[DiagonalGaussian], DiagonalGaussian]:
        """A tangent of both fields ↦ `weights` [..., 1] ∘ the Hessian of the log-density times it."""
        difference, precision = action - self.mean, torch.exp(-2 * self.log_std)
        curved, mixed = -weights * precision, -2 * weights * difference * precision
        bent = mixed * difference

        def product(tangent: DiagonalGaussian) -> DiagonalGaussian:
            return DiagonalGaussian(
                torch.addcmul(curved * tangent.mean, mixed, tangent.log_std),
                torch.addcmul(mixed * tangent.mean, bent, tangent.log_std),
            )

        return product


class Categorical(NamedTuple):
    """softmax(logits) over A discrete actions; logits [..., A], actions [...] (int64)."""

    logits: Tensor

    @staticmethod
    def noise(shape: tuple[int, ...], action_size: int, generator: torch.Generator) -> Tensor:
        """Standard Gumbel draws [*shape, A]: argmax(logits + noise) is a sample."""
        uniform = torch.rand(*shape, action_size, generator=generator, dtype=torch.float64)
        return -torch.log(-torch.log(uniform.clamp_min(1e-300))).float()

    def sample(self, noise: Tensor) -> Tensor:
        """argmax(logits + Gumbel noise), [...]."""
        return (self.logits + noise).argmax(-1)

    def mode(self) -> Tensor:
        """The most likely action, [...]."""
        return self.logits.argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability in nats, [...]."""
        return self.logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def kl(self, other: Categorical) -> Tensor:
        """KL(self ‖ other) in nats, [...]."""
        log_p = self.logits.log_softmax(-1)
        return (log_p.exp() * (log_p - other.logits.log_softmax(-1))).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, [...]."""
        log_p = self.logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)

    def fisher_product(self, tangent: Categorical) -> Categorical:
        """F · tangent for F = diag(p) − p pᵀ on the logits."""
        p = self.logits.softmax(-1)
        weighted = p * tangent.logits
        return Categorical(weighted - p * weighted.sum(-1, keepdim=True))

    def score(self, action: Tensor) -> Categorical:
        """Slope of the log-probability in the logits."""
        taken = torch.nn.functional.one_hot(action, self.logits.shape[-1])
        return Categorical(taken - self.logits.softmax(-1))

    def score_product(self, action: Tensor, weights: Tensor) -> Callable[[Categorical], Categorical]:
        """A tangent of the logits ↦ `weights` [..., 1] ∘ the Hessian of the log-probability times it."""
        return lambda tangent: Categorical(-weights * self.fisher_product(tangent).logits)


class Distribution(Protocol):
    """Either of the above; two in one call are of one kind."""

    def __iter__(self) -> Iterator[Tensor]: ...
    @classmethod
    def _make(cls, iterable: Iterable[Tensor]) -> Any: ...
    @staticmethod
    def noise(shape: tuple[int, ...], action_size: int, generator: torch.Generator) -> Tensor: ...
    def sample(self, noise: Tensor) -> Tensor: ...
    def mode(self) -> Tensor: ...
    def log_prob(self, action: Tensor) -> Tensor: ...
    def kl(self, other: Any) -> Tensor: ...
    def entropy(self) -> Tensor: ...
    def fisher_product(self, tangent: Any) -> Any: ...
    def score(self, action: Tensor) -> Any: ...
    def score_product(self, action: Tensor, weights: Tensor) -> Callable[[Any], Any]: ...


def constant(distribution: Distribution) -> Distribution:
    """The distribution without history."""
    return distribution._make(x.detach() for x in distribution)


def bounded_log_std(raw: Tensor, low: float, high: float, margin: float = 1.0) -> Tensor:
    """Map any real to (low, high): the identity on [low + margin, high − margin], a softsign beyond it.

    Continuously differentiable, and its slope 1/(1 + excess/margin)² is positive everywhere, so that a parameter
    which an update threw far outside can still come back (a hard clamp has no gradient there and sticks).
    """
    inside = raw.clamp(low + margin, high - margin)
    excess = (raw - inside) / margin
    # sign · (1 − 1 / (1 + |e|)) is e / (1 + |e|), in the form whose derivative does not cancel to zero in float32.
    return inside + margin * excess.sign() * (1 - 1 / (1 + excess.abs()))
