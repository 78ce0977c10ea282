"""A convolutional policy of image observations: filters in front of a perceptron, with or without a leading task axis.

Observations are flat here as everywhere, [..., S]; `image` says what they are the pixels of: [channels, height, width],
in that order.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from metarl_exp.maths.parameters import Parameters
from metarl_exp.policy.head import Head
from metarl_exp.policy.mlp import PerceptronPolicy, require_parameters
from metarl_exp.validation import require_integer


def convolution(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """x [N, B, in, h, w] → [N, B, out, h', w'], with one filter bank [out, in, k, k] or one a task, [N, out, in, k, k].

    For a stack, tasks become groups of channels of one convolution.
    """
    num_tasks, batch = x.shape[:2]
    if weight.dim() == 4:
        return nn.functional.conv2d(x.flatten(0, 1), weight, bias, stride).unflatten(0, (num_tasks, batch))
    grouped = x.transpose(0, 1).flatten(1, 2)  # [B, N · in, h, w]
    found = nn.functional.conv2d(grouped, weight.flatten(0, 1), bias.flatten(), stride, groups=num_tasks)
    return found.unflatten(1, (num_tasks, -1)).transpose(0, 1)


def features(observation_size: int, image: Sequence[int], filters: Sequence[int], kernel_size: int, stride: int) -> int:
    """How many numbers the convolutions make of an image; ValueError if `image` is not S numbers."""
    for name, value in (("kernel_size", kernel_size), ("stride", stride)):
        require_integer(f"policy.{name}", value, low=1)
    for value in filters:
        require_integer("policy.filters", value, low=1)
    if isinstance(image, str) or not isinstance(image, Sequence) or len(image) != 3:
        raise ValueError(f"policy.image={image!r}: must be [channels, height, width]")
    for value in image:
        require_integer("policy.image", value, low=1)
    if prod(image) != observation_size:
        raise ValueError(
            f"policy.image={list(image)}: has {prod(image)} numbers, but these tasks' observations have "
            f"{observation_size}"
        )
    sides = image[1:]
    for _ in filters:
        sides = [(side - kernel_size) // stride + 1 for side in sides]
        if min(sides) < 1:
            raise ValueError(
                f"policy.filters={list(filters)} with kernel_size={kernel_size} and stride={stride}: "
                f"too many layers for policy.image={list(image)}, of which no pixel is left"
            )
    return [image[0], *filters][-1] * prod(sides)


class Conv(PerceptronPolicy):
    """A perceptron of convolutions of the image, each followed by the activation, without padding.

    `filters` of each layer, square ones of side `kernel_size`, `stride` apart: Xavier-uniform with zero biases.
    """

    def __init__(
        self,
        hidden_sizes: Sequence[int],
        activation: str,
        image: Sequence[int],
        filters: Sequence[int],
        kernel_size: int,
        stride: int,
        head: Head,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        inputs = features(head.spec.observation_size, image, filters, kernel_size, stride)
        super().__init__(inputs, hidden_sizes, activation, head, generator, dtype)
        self.image, self.stride = tuple(image), stride
        settings: dict[str, Any] = {"device": "meta", "dtype": dtype}
        numbers = sum((i * kernel_size**2 + 1) * o for i, o in pairwise([image[0], *filters]))
        require_parameters(f"policy.filters={list(filters)}", numbers, dtype)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, kernel_size, stride, **settings).to_empty(device="cpu")
            for i, o in pairwise([image[0], *filters])
        )
        for layer in self.convolutions:
            nn.init.xavier_uniform_(layer.weight, generator=generator)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def inputs(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """[N, ..., S] → [N, ..., features]."""
        x = observations.flatten(1, -2).unflatten(-1, self.image)
        for i in range(len(self.convolutions)):
            weight, bias = (parameters[f"convolutions.{i}.{name}"] for name in ("weight", "bias"))
            x = self.activation.value(convolution(x, weight, bias, self.stride))
        return x.reshape(*observations.shape[:-1], -1)
