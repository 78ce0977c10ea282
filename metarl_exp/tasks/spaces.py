"""Spaces of an environment as a policy meets them: observations as flat numbers, actions in the environment's own form.

The only owner of both maps, for batches of tasks and for a live environment alike.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Space, spaces

Encoding = Callable[[Any], Any]  # of a value, as numbers; ValueError says what is wrong with it


class Part(NamedTuple):
    """A simple space within an observation, and what becomes of its values."""

    keys: tuple[Any, ...]  # that lead to it
    space: Space[Any]
    size: int  # numbers
    encoded: Encoding

    def of(self, observation: Any) -> np.ndarray:
        """This part of an observation, [size]; ValueError, naming it, for what cannot be it."""
        try:
            return self.encoded(self._within(observation)).reshape(-1)
        except ValueError as error:
            where = "".join(f"[{key!r}]" for key in self.keys)
            raise ValueError(f"observation{where} {error}: not in {self.space}") from error

    def _within(self, observation: Any) -> Any:
        try:
            for key in self.keys:
                observation = observation[key]
        except (LookupError, TypeError) as error:
            raise ValueError("is missing") from error
        return observation


class Interface:
    """The policy's side of one environment: S observed numbers in, one action out.

    Observations may be Box of any shape (flattened), Discrete and MultiDiscrete (one-hot), MultiBinary, or Dict and
    Tuple of these (one after the other), as `gymnasium.spaces.flatten` has them, in float32. Pixels, which are every
    Box of uint8 from 0 to 255, are divided by 255; all other numbers stay as they are. What would become other numbers
    is refused: another shape or a missing key, a choice that is none of the space's, a number that the integers of the
    space cannot hold, pixels that are no integers. The bounds of a Box may be left, as many environments do.

    Actions may be Discrete, whose first choice is the policy's 0 whatever `start` is, or Box: the policy's output in
    [−1, 1] is stretched onto the bounds and then clipped to them; a dimension with an infinite bound takes the output
    as it is, clipped to the other. Raises ValueError for other spaces.
    """

    def __init__(self, observation: Space[Any], action: Space[Any]) -> None:
        self.observation, self.action = observation, action
        try:
            self.parts = list(_parts(observation))
        except (NotImplementedError, ValueError) as error:
            raise ValueError(f"observations {observation} are not a fixed number of numbers") from error
        self.observation_size = sum(part.size for part in self.parts)
        if isinstance(action, spaces.Discrete):
            self.action_size, self.discrete = int(action.n), True
        elif isinstance(action, spaces.Box) and np.issubdtype(action.dtype, np.floating):
            self.action_size, self.discrete = int(np.prod(action.shape)), False
            self.low, self.high = (bound.astype(np.float64).reshape(-1) for bound in (action.low, action.high))
            bounded = np.isfinite(self.low) & np.isfinite(self.high)
            self.scale, self.offset = np.ones_like(self.low), np.zeros_like(self.low)
            self.scale[bounded] = (self.high[bounded] - self.low[bounded]) / 2
            self.offset[bounded] = (self.high[bounded] + self.low[bounded]) / 2
        else:
            raise ValueError(f"actions {action} are neither Discrete nor a Box of real numbers")

    @property
    def sizes(self) -> tuple[int, int, bool]:
        """S, A, and whether actions are discrete, as in `Spec`."""
        return self.observation_size, self.action_size, self.discrete

    @property
    def has_pixels(self) -> bool:
        """Whether a part of its observations is divided by 255."""
        return any(are_pixels(part.space) for part in self.parts)

    def observe(self, observation: Any) -> np.ndarray:
        """An observation as the policy sees it, [S] float32. Raises ValueError for one that its space does not have."""
        seen, end = np.empty(self.observation_size, np.float32), 0
        for part in self.parts:
            begin, end = end, end + part.size
            seen[begin:end] = part.of(observation)
        return seen

    def act(self, action: np.ndarray) -> Any:
        """Action of a policy as `env.step` takes it: [A], or a single integer if discrete."""
        if isinstance(self.action, spaces.Discrete):
            return int(action) + int(self.action.start)
        inside = np.minimum(np.maximum(action * self.scale + self.offset, self.low), self.high)
        return inside.astype(self.action.dtype).reshape(self.action.shape)


def in_words(observation_size: int, action_size: int, discrete: bool) -> str:
    """Sizes as messages have them."""
    return f"{observation_size} observed numbers and {action_size} {'discrete' if discrete else 'continuous'} actions"


def are_pixels(space: Space[Any]) -> bool:
    """Whether the numbers of a space are bytes from 0 to 255, as those of images are."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


def _parts(space: Space[Any], *keys: Any) -> Iterator[Part]:
    """The simple spaces of one, in the order in which its flat numbers have them; errors are those of `flatdim`."""
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _parts(inner, *keys, key)
    elif isinstance(space, spaces.Tuple):
        for index, inner in enumerate(space.spaces):
            yield from _parts(inner, *keys, index)
    else:
        encoding = next((ENCODINGS[kind] for kind in type(space).__mro__ if kind in ENCODINGS), _other)
        yield Part(keys, space, spaces.flatdim(space), encoding(space))


def _box(space: spaces.Box) -> Encoding:
    pixels, whole = are_pixels(space), not np.issubdtype(space.dtype, np.floating)

    def encoded(value: Any) -> np.ndarray:
        x = _numbers(value, space.shape)
        if whole and x.dtype != space.dtype:
            if pixels and x.dtype.kind not in "iu":
                raise ValueError(f"has numbers of {x.dtype}")  # which may be divided already
            with np.errstate(invalid="ignore"):
                _require(x == x.astype(space.dtype), x)
        return x / np.float32(255) if pixels else x

    return encoded


def _choice(space: spaces.Discrete) -> Encoding:
    choices = range(int(space.start), int(space.start + space.n))

    def encoded(value: Any) -> np.ndarray:
        choice = _numbers(value, ()).item()
        if choice not in choices:
            raise ValueError(f"is {choice}")
        hot = np.zeros(len(choices), np.float32)
        hot[int(choice) - choices.start] = 1
        return hot

    return encoded


def _choices(space: spaces.MultiDiscrete) -> Encoding:
    sizes = space.nvec.reshape(-1)
    first = np.cumsum(sizes) - sizes  # place of each one's first choice

    def encoded(value: Any) -> np.ndarray:
        x = _numbers(value, space.shape)
        index = (x - space.start).reshape(-1)
        _require((index >= 0) & (index < sizes) & (index % 1 == 0), x.reshape(-1))
        hot = np.zeros(sizes.sum(), np.float32)
        hot[first + index.astype(np.int64)] = 1
        return hot

    return encoded


def _bits(space: spaces.MultiBinary) -> Encoding:
    def encoded(value: Any) -> np.ndarray:
        x = _numbers(value, space.shape)
        _require((x == 0) | (x == 1), x)
        return x

    return encoded


def _other(space: Space[Any]) -> Encoding:
    """Encoding of a space that only Gymnasium, or its author, can flatten."""

    def encoded(value: Any) -> Any:
        if not space.contains(value):
            raise ValueError(f"is {value!r}")
        return spaces.flatten(space, value)

    return encoded


ENCODINGS: dict[type, Callable[[Any], Encoding]] = {
    spaces.Box: _box,
    spaces.Discrete: _choice,
    spaces.MultiDiscrete: _choices,
    spaces.MultiBinary: _bits,
}


def _numbers(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A value as an array; ValueError unless it has numbers, in this shape but for axes of length 1."""
    x = np.asarray(value)
    if x.dtype.kind not in "fiub":
        raise ValueError(f"is {value!r}")
    if x.shape != shape and [n for n in x.shape if n != 1] != [n for n in shape if n != 1]:
        raise ValueError(f"has shape {x.shape}")
    return x


def _require(right: np.ndarray, x: np.ndarray) -> None:
    """Raise ValueError with the first number of x where it is not right."""
    if not right.all():
        raise ValueError(f"has {x[~right].flat[0]}")
