"""MLP policies with context parameters: inputs beside the observation, the same at every step, that adapt to a task.

[zintgraf2019cavia, Sec. 3]  They start every adaptation at zero (`adaptation.py`), where the policy is an MLP of
the observation alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarl_exp.maths.parameters import Parameters
from metarl_exp.policy.mlp import MLP, CategoricalMLP, GaussianMLP
from metarl_exp.types import Spec
from metarl_exp.validation import require_integer


def widened(spec: Spec, context_size: int) -> Spec:
    """That of an MLP whose observations have a context appended."""
    require_integer("policy.context_size", context_size, low=1)
    return spec._replace(observation_size=spec.observation_size + context_size)


class WithContext(MLP):
    """Appends the parameter `context`, [C] or [N, C], to every observation."""

    context_names = frozenset({"context"})

    def add_context(self, spec: Spec, context_size: int) -> None:
        """Register C zeros; `spec` is that of the tasks, without them."""
        self.spec = spec
        self.register_parameter("context", nn.Parameter(next(self.parameters()).new_zeros(context_size)))

    def inputs(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """[N, ..., S] → [N, ..., S + C]."""
        context = parameters["context"]
        shape = [len(context), *[1] * (observations.dim() - 2), -1] if context.dim() == 2 else [-1]
        return torch.cat([observations, context.view(shape).expand(*observations.shape[:-1], -1)], dim=-1)


class GaussianContextMLP(WithContext, GaussianMLP):
    """`GaussianMLP` of the observation and `context_size` context parameters."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        init_std: float,
        min_std: float,
        max_std: float,
        context_size: int,
        spec: Spec,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        inner = widened(spec, context_size)
        super().__init__(hidden_sizes, activation, init_std, min_std, max_std, inner, generator, dtype)
        self.add_context(spec, context_size)


class CategoricalContextMLP(WithContext, CategoricalMLP):
    """`CategoricalMLP` of the observation and `context_size` context parameters."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        context_size: int,
        spec: Spec,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(hidden_sizes, activation, widened(spec, context_size), generator, dtype)
        self.add_context(spec, context_size)
