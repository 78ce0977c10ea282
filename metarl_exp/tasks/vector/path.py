"""Places inside an environment: how a task's number gets there, and whether it is there."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from metarl_exp.validation import nearest


class Path:
    """An attribute, as a path of names, indices and keys in brackets: `model.body_mass[1]`, `config[speed]`.

    It begins in the unwrapped environment, the `root`; a leading `unwrapped` is left out. `field` is the key of the
    configuration that says so, for errors. Nothing is ever created by writing: what is not there already is refused.
    """

    def __init__(self, text: str, field: str) -> None:
        self.text, self.name = text, f"{field}={text!r}"
        self.steps = re.findall(r"\[[^\]]*\]|[^.\[\]]+", text)
        while len(self.steps) > 1 and self.steps[0] == "unwrapped":
            del self.steps[0]

    def owners(self, root: Any) -> list[Any]:
        """The objects on the way, from the root to the one that has the attribute or entry."""
        found = [root]
        for step in self.steps[:-1]:
            found.append(_read(found[-1], step))
        return found

    def read(self, root: Any) -> Any:
        return _read(self.owners(root)[-1], self.steps[-1])

    def put(self, root: Any, value: Any) -> None:
        """Write a value there; an array stays an array. ValueError if that cannot be, or another value comes out."""
        owner, last = self.owners(root)[-1], self.steps[-1]
        there = _read(owner, last)
        shape = getattr(there, "shape", None)
        if isinstance(shape, tuple) and shape != np.shape(value):
            raise ValueError(f"{self.name} has shape {tuple(shape)}, but {value!r} has not; name one entry")
        try:
            new = np.array(value, there.dtype) if isinstance(there, np.ndarray) else value
            if last.startswith("["):
                owner[_key(last)] = new
            else:
                setattr(owner, last, new)
        except Exception as error:
            raise ValueError(f"{self.name} cannot be set to {value!r}: {type(error).__name__}: {error}") from error
        if not self.has(root, value):
            raise ValueError(f"{self.name}: was set to {value!r} and reads {shown(self.read(root))}")

    def has(self, root: Any, value: Any) -> bool:
        """Whether the value is there, up to the rounding of float32."""
        found = self.read(root)
        try:
            if isinstance(value, float):
                return math.isclose(found, value, rel_tol=1e-6)
            return np.array_equal(found, value) or np.allclose(found, value, rtol=1e-6, atol=0)
        except (TypeError, ValueError):  # not a number, or another shape
            return False

    def runs_code(self, root: Any) -> bool:
        """Whether to put a value there may change more than that, as a property may."""
        return hasattr(getattr(type(self.owners(root)[-1]), self.steps[-1], None), "__set__")

    def require(self, root: Any) -> None:
        """Raise ValueError, naming the nearest thing that does exist, unless there is such an attribute."""
        if callable(self._found(root)):
            raise ValueError(f"{self.name} is a method; write `method` to have it called with the value")

    def _found(self, root: Any) -> Any:
        found = root
        for step in self.steps:
            owner = found
            try:
                found = _read(owner, step)
            except (AttributeError, LookupError, TypeError):
                known = owner if isinstance(owner, Mapping) else [n for n in dir(owner) if not n.startswith("_")]
                near = nearest(str(_key(step)), [str(name) for name in known])
                raise ValueError(f"{self.name}: {type(owner).__name__} has no {step}{near}") from None
        return found


class Method(Path):
    """A method, as a path like an attribute's, that is called with the value."""

    def put(self, root: Any, value: Any) -> None:
        """Call it. Raises ValueError if it raises anything."""
        try:
            self.read(root)(value)
        except Exception as error:
            raise ValueError(f"{self.name} called with {value!r}: {type(error).__name__}: {error}") from error

    def has(self, root: Any, value: Any) -> bool:
        """True: only the method knows."""
        return True

    def runs_code(self, root: Any) -> bool:
        return True

    def require(self, root: Any) -> None:
        """Raise ValueError, naming the nearest thing that does exist, unless there is such a method."""
        found = self._found(root)
        if not callable(found):
            raise ValueError(f"{self.name} is no method, but {shown(found)}; write `attribute` to have it set")


KINDS: dict[str, type[Path]] = {"attribute": Path, "method": Method}  # by the place of a variation


def shown(found: Any) -> str:
    """A value with its type, which may be what has rounded it."""
    if isinstance(found, np.generic | np.ndarray):
        return f"{found.tolist()!r} ({found.dtype})"
    return f"{found!r} ({type(found).__name__})"


def _read(owner: Any, step: str) -> Any:
    return owner[_key(step)] if step.startswith("[") else getattr(owner, step)


def _key(step: str) -> str | int:
    """The name of an attribute, or the index or key in brackets."""
    inside = step.strip("[]")
    return int(inside) if re.fullmatch(r"-?\d+", inside) and step.startswith("[") else inside
