"""Variations between the tasks of a Gymnasium environment: a named number, its place, and its distribution."""

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from metarl_exp.tasks.base import uniform
from metarl_exp.tasks.vector.path import KINDS, Path
from metarl_exp.validation import nearest, require_integer, require_number, require_range

PLACES = ("attribute", "method", "argument", "option", "wrapper")
INSIDE = {*KINDS, "argument"}  # which is an attribute, as a rule, once the constructor has taken it


class Draw(Protocol):
    """A distribution of one column of a task; `value` is what the environment is given for an entry of it."""

    size: float  # how many values there are, infinite for a range of real numbers

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor: ...
    def value(self, entry: float) -> Any: ...


class Uniform:
    """Uniform in [low, high)."""

    size = math.inf

    def __init__(self, field: str, setting: Any) -> None:
        self.low, self.high = require_range(field, setting)

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return uniform((num_tasks,), self.low, self.high, generator)

    def value(self, entry: float) -> float:
        return entry


class LogUniform(Uniform):
    """As if its logarithm were uniform; low > 0."""

    def __init__(self, field: str, setting: Any) -> None:
        super().__init__(field, setting)
        require_number(field, self.low, above=0)

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.low * (self.high / self.low) ** uniform((num_tasks,), 0.0, 1.0, generator)


class Integer:
    """One of the integers low, low + 1, … high, all as likely."""

    def __init__(self, field: str, setting: Any) -> None:
        self.low, self.high = (int(bound) for bound in require_range(field, setting))
        for bound in setting:
            require_integer(field, bound, low=self.low)
        self.size: float = self.high - self.low + 1

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return torch.randint(self.low, self.high + 1, (num_tasks,), generator=generator).double()

    def value(self, entry: float) -> int:
        return round(entry)


class Choice:
    """One of the listed values, all as likely. The column holds the value, or its index if any is not a number."""

    def __init__(self, field: str, setting: Any) -> None:
        if not isinstance(setting, Sequence) or isinstance(setting, str) or not setting:
            raise ValueError(f"{field}={setting!r}: must be a list of values")
        numbers = all(isinstance(value, int | float) for value in setting)
        self.entries = torch.tensor(setting if numbers else range(len(setting)), dtype=torch.float64)
        self.values = dict(zip(self.entries.tolist(), setting, strict=True))
        self.size: float = len(self.values)

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.entries[torch.randint(len(self.entries), (num_tasks,), generator=generator)]

    def value(self, entry: float) -> Any:
        if entry not in self.values:
            raise ValueError(f"{entry:g} is none of {', '.join(f'{known:g}' for known in self.values)}")
        return copy.deepcopy(self.values[entry])  # or one environment could change a list for all of them


DRAWS: dict[str, Callable[[str, Any], Draw]] = {
    "uniform": Uniform,
    "log_uniform": LogUniform,
    "choice": Choice,
    "integer": Integer,
}


class Variation(NamedTuple):
    """One column of a task."""

    name: str
    place: str  # one of PLACES
    target: str  # path of the attribute, method or argument, name of the option or wrapper
    draw: Draw

    @property
    def field(self) -> str:
        """The key of the configuration that says where it goes."""
        return f"tasks.vary.{self.name}.{self.place}"

    @property
    def steps(self) -> list[str]:
        """The way to where it goes."""
        if self.place in KINDS:
            return Path(self.target, self.field).steps
        return [self.target, self.name] if self.place == "wrapper" else self.target.split(".")


def variation(name: str, settings: Any) -> Variation:
    """From `{attribute: m, uniform: [0.5, 1.5]}`: one place and one distribution; ValueError for anything else."""
    field = f"tasks.vary.{name}"
    if not isinstance(settings, Mapping):
        raise ValueError(f"{field}={settings!r}: must say a place ({', '.join(PLACES)}) and a distribution")
    for key in settings:
        if key not in (*PLACES, *DRAWS):
            allowed = (*PLACES, *DRAWS)
            raise ValueError(
                f"unknown key '{field}.{key}'{nearest(str(key), allowed)}: allowed are {', '.join(allowed)}"
            )
    places, draws = ([key for key in settings if key in allowed] for allowed in (PLACES, DRAWS))
    for found, allowed in ((places, PLACES), (draws, DRAWS)):
        if len(found) != 1:
            raise ValueError(f"{field} has {' and '.join(found) or 'none'} of {', '.join(allowed)}: must have one")
    target = settings[places[0]]
    if not isinstance(target, str) or not target:
        raise ValueError(f"{field}.{places[0]}={target!r}: must be a name")
    return Variation(name, places[0], target, DRAWS[draws[0]](f"{field}.{draws[0]}", settings[draws[0]]))


def require_apart(variations: Sequence[Variation]) -> None:
    """Raise ValueError for two columns of which one goes where the other does, or into a part of it."""
    for one, other in itertools.combinations(variations, 2):
        comparable = one.place == other.place or {one.place, other.place} <= INSIDE
        if comparable and all(a == b for a, b in zip(one.steps, other.steps, strict=False)):
            raise ValueError(
                f"{one.field}={one.target!r} and {other.field}={other.target!r} are one place, or one is within the "
                "other; each column of a task needs a place of its own"
            )
