"""Multi-layer perceptron policies whose parameters may carry a leading task axis.

`policy(parameters, observations)` maps observations [N, M, T, S] (or [N, M, S] while acting) to a distribution over
actions with the same leading axes. Parameters are a value: those of the module, [out, in], shared by all tasks, or a
stack of them, [N, out, in], one for each task.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.parameters import Parameters
from metarl_exp.maths.perceptron import ACTIVATIONS
from metarl_exp.policy.head import CategoricalHead, GaussianHead, Head
from metarl_exp.types import Acting, Spec
from metarl_exp.validation import require_choice, require_integer, require_memory

COPIES = 8  # of its parameters that training has at once, at least: θ, the best, φ, gradients, moments; ours


def require_parameters(sizes: str, number: int, dtype: torch.dtype) -> None:
    """Raise ValueError if there is no memory to train so many parameters, as the `sizes` of a layer make."""
    require_memory(sizes, COPIES * number * dtype.itemsize)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W ᵀ + b, with one W for all tasks ([out, in]) or one for each ([N, out, in]); x [N, ..., in] → [N, ..., out].

    `baddbmm` on the stack, since `vmap` over tasks costs about twice as much on a CPU.
    """
    if weight.dim() == 2:
        return nn.functional.linear(x, weight, bias)
    flat = torch.baddbmm(bias.unsqueeze(1), x.reshape(x.shape[0], -1, x.shape[-1]), weight.mT)
    return flat.view(*x.shape[:-1], weight.shape[1])


class Perceptron(nn.Module):
    """Hidden layers and a linear output: Xavier-uniform weights, zero biases.  [finn2017maml, code]"""

    def __init__(
        self, sizes: Sequence[int], activation: str, generator: torch.Generator | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        require_choice("policy.activation", activation, ACTIVATIONS)
        for size in sizes:
            require_integer("policy.hidden_sizes", size, low=1)
        hidden = f"policy.hidden_sizes={list(sizes[1:-1])} between {sizes[0]} numbers and {sizes[-1]}"
        require_parameters(hidden, sum((i + 1) * o for i, o in pairwise(sizes)), dtype)
        self.activation = ACTIVATIONS[activation]
        # By way of `meta`, without torch's own initialisation, which would draw from the global generator.
        layers = [nn.Linear(i, o, device="meta", dtype=dtype).to_empty(device="cpu") for i, o in pairwise(sizes)]
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(layers)

    def inputs(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Inputs of the first layer: [N, ..., S] → [N, ..., in]."""
        return observations

    def outputs(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """The network alone: [N, ..., S] → [N, ..., out]."""
        x = self.inputs(parameters, observations)
        for i in range(len(self.layers)):
            x = linear(x, parameters[f"layers.{i}.weight"], parameters[f"layers.{i}.bias"])
            if i + 1 < len(self.layers):
                x = self.activation.value(x)
        return x


class PerceptronPolicy(Perceptron):
    """A perceptron with a head; `inputs` makes its `input_size` inputs of the observation."""

    context_names: frozenset[str] = frozenset()

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        activation: str,
        head: Head,
        generator: torch.Generator | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__([input_size, *hidden_sizes, head.spec.action_size], activation, generator, dtype)
        self.action_head, self.spec = head, head.spec
        for name, parameter in head.initial(dtype).items():
            self.register_parameter(name, parameter)

    @property
    def distribution(self) -> type[Distribution]:
        """Kind of distribution, which is the head's."""
        return self.action_head.distribution

    @property
    def head_names(self) -> frozenset[str]:
        """The parameters of the last layer, and those of the head beside it: log-std."""
        last = len(self.layers) - 1
        return frozenset({f"layers.{last}.weight", f"layers.{last}.bias", *self.action_head.state_independent()})

    def state_independent(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Fields of the distribution after the network's outputs: elementwise functions of these parameters."""
        return self.action_head.state_independent()

    def forward(self, parameters: Parameters, observations: Tensor) -> Distribution:
        return self.action_head(parameters)(self.outputs(parameters, observations))

    def acting(self, parameters: Parameters) -> Acting:
        """The policy with its log-std computed once, unless a subclass has a `forward` of its own."""
        if type(self).forward is not PerceptronPolicy.forward:
            return lambda observations, idle=None: self(parameters, observations)
        distribution = self.action_head(parameters)
        return lambda observations, idle=None: distribution(self.outputs(parameters, observations))


class MLP(PerceptronPolicy):
    """A perceptron of the observation."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        head: Head,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(head.spec.observation_size, hidden_sizes, activation, head, generator, dtype)


class GaussianMLP(MLP):
    """An MLP with a `GaussianHead`, for continuous actions."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        init_std: float,
        min_std: float,
        max_std: float,
        spec: Spec,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(hidden_sizes, activation, GaussianHead(init_std, min_std, max_std, spec), generator, dtype)


class CategoricalMLP(MLP):
    """An MLP with a `CategoricalHead`, for discrete actions."""

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        spec: Spec,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(hidden_sizes, activation, CategoricalHead(spec), generator, dtype)
