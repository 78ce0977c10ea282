"""What differs between the tasks of a Gymnasium environment: a named number, where it goes, and how it is drawn."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from metarl_exp.tasks.base import uniform
from metarl_exp.validation import nearest, require_integer, require_number, require_range

PLACES = ("attribute", "argument", "option", "wrapper")


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
        return self.values[entry]


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
    target: str  # path of the attribute or argument, name of the option or wrapper
    draw: Draw


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


class Path:
    """A place inside an object: names after dots, indices and keys in brackets: `model.body_mass[1]`, `config[speed]`.

    Nothing is ever created by writing: what is not there already is refused.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.steps = re.findall(r"\[[^\]]*\]|[^.\[\]]+", text)

    def read(self, owner: Any) -> Any:
        for step in self.steps:
            owner = _read(owner, step)
        return owner

    def write(self, owner: Any, value: Any) -> None:
        *way, last = self.steps
        for step in way:
            owner = _read(owner, step)
        _read(owner, last)
        if last.startswith("["):
            owner[_key(last)] = value
        else:
            setattr(owner, last, value)

    def require(self, field: str, owner: Any) -> None:
        """Raise ValueError, naming the nearest thing that does exist, unless the path leads somewhere."""
        for step in self.steps:
            try:
                owner = _read(owner, step)
            except (AttributeError, LookupError, TypeError):
                known = owner if isinstance(owner, Mapping) else [n for n in dir(owner) if not n.startswith("_")]
                near = nearest(str(_key(step)), [str(name) for name in known])
                raise ValueError(f"{field}={self.text!r}: {type(owner).__name__} has no {step}{near}") from None


def _read(owner: Any, step: str) -> Any:
    return owner[_key(step)] if step.startswith("[") else getattr(owner, step)


def _key(step: str) -> str | int:
    """The name of an attribute, or the index or key in brackets."""
    inside = step.strip("[]")
    return int(inside) if re.fullmatch(r"-?\d+", inside) and step.startswith("[") else inside
