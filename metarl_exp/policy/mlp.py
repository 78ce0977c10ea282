"""Multi-layer perceptron policies whose parameters may carry a leading task axis.

`policy(parameters, observations)` maps observations [N, M, T, S] (or [N, M, S] while acting) to a distribution over
actions with the same leading axes. Parameters are a value: those of the module, [out, in], shared by all tasks, or a
stack of them, [N, out, in], one for each task.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from metarl_exp.maths.distributions import Categorical, DiagonalGaussian, Distribution, bounded_log_std
from metarl_exp.maths.parameters import Parameters
from metarl_exp.maths.perceptron import ACTIVATIONS
from metarl_exp.types import Acting, Spec
from metarl_exp.validation import require_choice, require_integer, require_memory, require_number

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


class MLP(nn.Module):
    """Hidden layers and a linear output, the head: Xavier-uniform weights, zero biases.  [finn2017maml, code]"""

    context_names: frozenset[str] = frozenset()
    distribution: type[Distribution]
    spec: Spec

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

    @property
    def head_names(self) -> frozenset[str]:
        """The parameters of the last layer."""
        last = len(self.layers) - 1
        return frozenset({f"layers.{last}.weight", f"layers.{last}.bias"})

    def inputs(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """What the first layer sees: [N, ..., S] → [N, ..., in]."""
        return observations

    def outputs(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """The network alone: [N, ..., S] → [N, ..., out]."""
        x = self.inputs(parameters, observations)
        for i in range(len(self.layers)):
            x = linear(x, parameters[f"layers.{i}.weight"], parameters[f"layers.{i}.bias"])
            if i + 1 < len(self.layers):
                x = self.activation.value(x)
        return x

    def acting(self, parameters: Parameters) -> Acting:
        """The policy that is called, once a step."""
        return lambda observations, idle=None: self(parameters, observations)

    def state_independent(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Fields of the distribution after the network's outputs: elementwise functions of these parameters."""
        return {}


class GaussianMLP(MLP):
    """Mean from an MLP, log-std a free parameter that does not depend on the state and adapts with the rest.

    `min_std` and `max_std` bound the standard deviation through `bounded_log_std`, which is the identity from
    e·min_std to max_std/e. Raises ValueError for discrete actions.
    """

    distribution = DiagonalGaussian

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
        if spec.discrete:
            raise ValueError(
                f"a Gaussian policy needs continuous actions, these tasks have {spec.action_size} discrete ones: "
                "use policy=categorical_mlp or the like"
            )
        super().__init__([spec.observation_size, *hidden_sizes, spec.action_size], activation, generator, dtype)
        require_number("policy.min_std", min_std, above=0)
        require_number("policy.max_std", max_std, above=min_std * math.exp(2))
        require_number("policy.init_std", init_std, low=min_std * math.e, high=max_std / math.e)
        self.spec = spec
        self.bounds = math.log(min_std), math.log(max_std)
        self.log_std = nn.Parameter(torch.full((spec.action_size,), math.log(init_std), dtype=dtype))

    @property
    def head_names(self) -> frozenset[str]:
        """The parameters of the last layer, and log-std."""
        return super().head_names | {"log_std"}

    def forward(self, parameters: Parameters, observations: Tensor) -> Distribution:
        return self._with_log_std(parameters)(observations)

    def state_independent(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The bounded log-std."""
        return {"log_std": lambda raw: bounded_log_std(raw, *self.bounds)}

    def acting(self, parameters: Parameters) -> Acting:
        """The policy with its log-std computed once, unless a subclass has a `forward` of its own."""
        if type(self).forward is not GaussianMLP.forward:
            return super().acting(parameters)
        return self._with_log_std(parameters)

    def _with_log_std(self, parameters: Parameters) -> Acting:
        log_std = bounded_log_std(parameters["log_std"], *self.bounds)

        def distribution(observations: Tensor, idle: Tensor | None = None) -> DiagonalGaussian:
            mean = self.outputs(parameters, observations)
            shape = [len(log_std), *[1] * (mean.dim() - 2), -1] if log_std.dim() == 2 else [-1]
            return DiagonalGaussian(mean, log_std.view(shape).expand_as(mean))

        return distribution


class CategoricalMLP(MLP):
    """Logits of the discrete actions from an MLP. Raises ValueError for continuous actions."""

    distribution = Categorical

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        spec: Spec,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not spec.discrete:
            raise ValueError(
                "a categorical policy needs discrete actions, these are continuous: use policy=gaussian_mlp or the like"
            )
        super().__init__([spec.observation_size, *hidden_sizes, spec.action_size], activation, generator, dtype)
        self.spec = spec

    def forward(self, parameters: Parameters, observations: Tensor) -> Categorical:
        return Categorical(self.outputs(parameters, observations))
