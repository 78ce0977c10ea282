"""Arithmetic on parameter dicts {name: tensor}, whose order is the order of insertion.

θ has tensors of the module's own shapes; φ, and everything per task, has a leading task axis [N, ...].
"""

from collections.abc import Iterable

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


def stack(parameters: Parameters, num_tasks: int) -> Parameters:
    """N copies of every tensor along a new first axis, as memory of their own, without history."""
    return {name: p.detach().expand(num_tasks, *p.shape).clone() for name, p in parameters.items()}


def detach(parameters: Parameters) -> Parameters:
    """Detach every value from its graph."""
    return {name: p.detach() for name, p in parameters.items()}


def task_mean(stacked: Parameters) -> Parameters:
    """Mean over the task axis: [N, ...] → [...]."""
    return {name: p.mean(0) for name, p in stacked.items()}


def flatten(parameters: Parameters) -> Tensor:
    """All entries in order, [P]."""
    return torch.cat([p.reshape(-1) for p in parameters.values()])


def unflatten(vector: Tensor, like: Parameters) -> Parameters:
    """The inverse of `flatten`, with the names and shapes of `like`."""
    pieces = vector.split([p.numel() for p in like.values()])
    return {name: piece.view(p.shape) for (name, p), piece in zip(like.items(), pieces, strict=True)}


def below(prefix: str, parameters: Parameters) -> Parameters:
    """Parameters of the submodule `prefix`, by their names in it."""
    start = f"{prefix}."
    return {name.removeprefix(start): p for name, p in parameters.items() if name.startswith(start)}


def zip_names(names: Iterable[str], tensors: Iterable[Tensor]) -> Parameters:
    """{name: tensor}, refusing lists of different lengths."""
    return dict(zip(names, tensors, strict=True))
