"""A second device, pretended on the CPU: what mixes devices raises there as on a GPU, and traffic is counted.

Tensors on it say that they are on `meta` and hold a CPU tensor, with which everything is computed: results are those of
the CPU bit for bit. Operations refuse tensors of both devices as CUDA's do.
"""

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

HERE = torch.device("meta")
# A GPU takes indices that are on the CPU, and copies between devices.
MIXING = ("aten.index.Tensor", "aten.index_put_.default", "aten.copy_.default", "aten._to_copy.default")


class Pretended(torch.Tensor):
    """A tensor on the pretended device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Pretended":
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=HERE
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a tensor of the pretended device outside of it")

    def __repr__(self) -> str:
        return f"Pretended({self.held!r})"


class PretendedDevice(TorchDispatchMode):
    """While it is entered, `meta` computes. `traffic` counts what crosses: `down`, `up`."""

    def __init__(self) -> None:
        super().__init__()
        self.traffic: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = []
        tree_map(lambda x: given.append(x) if isinstance(x, torch.Tensor) else None, (args, kwargs))
        ours = [x for x in given if isinstance(x, Pretended)]
        theirs = [x for x in given if not isinstance(x, Pretended) and x.dim() > 0]
        if ours and theirs and str(func) not in MIXING:
            raise RuntimeError(f"{func}: tensors on two devices, {[tuple(x.shape) for x in theirs]} on the CPU")
        target = kwargs.get("device")
        on_ours = bool(ours) if target is None else torch.device(target) == HERE
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        self._count(func, bool(ours), on_ours, given)
        plain = tree_map(lambda x: x.held if isinstance(x, Pretended) else x, (args, kwargs))
        if func is torch.ops.aten._efficientzerotensor.default:  # which only autograd itself can add to others
            func = torch.ops.aten.zeros.default
        found = func(*plain[0], **plain[1])
        if func._schema.is_mutable and len(func._schema.returns) == 1:
            return args[0]  # in place
        return tree_map(lambda x: Pretended(x) if on_ours and isinstance(x, torch.Tensor) else x, found)

    def _count(self, func: Any, from_ours: bool, to_ours: bool, given: list[torch.Tensor]) -> None:
        name = str(func)
        if name in ("aten._local_scalar_dense.default", "aten.nonzero.default", "aten.equal.default"):
            self.traffic["down"] += from_ours
        elif name == "aten._to_copy.default":
            self.traffic["down"] += from_ours and not to_ours
            self.traffic["up"] += to_ours and not from_ours
        elif name == "aten.copy_.default":
            target, source = (isinstance(x, Pretended) for x in given)
            self.traffic["down"] += source and not target
            self.traffic["up"] += target and not source
