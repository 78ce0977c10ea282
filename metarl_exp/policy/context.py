"""A policy with context parameters: inputs beside the observation, the same at every step, that adapt to a task.

[zintgraf2019cavia, Sec. 3]  They start every adaptation at zero (`adaptation.py`), where the policy is an MLP of
the observation alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarl_exp.maths.parameters import Parameters
from metarl_exp.policy.head import Head
from metarl_exp.policy.mlp import PerceptronPolicy
from metarl_exp.validation import require_integer


class ContextMLP(PerceptronPolicy):
    """A perceptron of the observation and the parameter `context`, [C] or [N, C], where C is `context_size`."""

    context_names = frozenset({"context"})

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        context_size: int,
        head: Head,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        require_integer("policy.context_size", context_size, low=1)
        inputs = head.spec.observation_size + context_size
        super().__init__(inputs, hidden_sizes, activation, head, generator, dtype)
        self.context = nn.Parameter(torch.zeros(context_size, dtype=dtype))

    def inputs(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """[N, ..., S] → [N, ..., S + C]."""
        context = parameters["context"]
        shape = [len(context), *[1] * (observations.dim() - 2), -1] if context.dim() == 2 else [-1]
        return torch.cat([observations, context.view(shape).expand(*observations.shape[:-1], -1)], dim=-1)
