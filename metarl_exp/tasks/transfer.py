"""Transfers from environments on the host to the learner's device: one a step, whatever a step consists of."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_device(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Arrays as tensors on a device; those for another one than the CPU travel side by side, as bytes."""
    if device.type == "cpu":
        return [torch.from_numpy(x) for x in arrays]
    # The widest numbers first: each array then begins at a multiple of its own width, as a view needs it.
    order = sorted(range(len(arrays)), key=lambda i: -arrays[i].itemsize)
    packed = np.concatenate([np.ascontiguousarray(arrays[i]).reshape(-1).view(np.uint8) for i in order])
    pieces = torch.from_numpy(packed).to(device).split([arrays[i].nbytes for i in order])
    found = {
        i: piece.view(torch.from_numpy(arrays[i][:0]).dtype).view(arrays[i].shape)
        for i, piece in zip(order, pieces, strict=True)
    }
    return [found[i] for i in range(len(arrays))]
