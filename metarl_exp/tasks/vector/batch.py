"""Gymnasium's vector environments as a batch of N × M episodes; made once for a size, used again for other tasks."""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks.guard import foreign, guarded, unhurried
from metarl_exp.tasks.transfer import to_device
from metarl_exp.tasks.vector.episode_env import EpisodeEnv
from metarl_exp.tasks.vector.recipe import EpisodeKey, Recipe
from metarl_exp.types import Spec, Step

GRACE = 2.0  # s: for an environment to close or to say where it hangs, before it is given up
HURRY = 0.01  # s: what is left to others of a kind after one that took too long
KEPT = 2  # pools: training and evaluation alternate


class Answer(NamedTuple):
    """Answers of n episodes to a step; `numpy` arrays with the episodes on the first axis."""

    observation: np.ndarray  # [n, S]
    reward: np.ndarray  # [n]
    terminal: np.ndarray  # [n] bool
    truncated: np.ndarray  # [n] bool
    success: np.ndarray  # [n] bool


class Pool(Protocol):
    """Environments of n episodes, to be started again and again."""

    def start(self, episodes: Sequence[EpisodeKey]) -> np.ndarray: ...
    def step(self, actions: np.ndarray) -> Answer: ...
    def close(self) -> None: ...


FLAGS = ("terminal", "truncated", "success")


def flags(info: dict[str, Any], shape: tuple[int, ...]) -> list[np.ndarray]:
    """How episodes ended, from the info of EpisodeEnv after a vector environment joined it."""
    return [np.asarray(info.get(name, np.zeros(shape, dtype=np.bool_))) for name in FLAGS]


class InProcess:
    """n episodes in this process, one after the other; None for an episode that stands still."""

    def __init__(self, make: Callable[[], EpisodeEnv], size: int) -> None:
        self.vector = SyncVectorEnv([make] * size, autoreset_mode=AutoresetMode.DISABLED)

    def start(self, episodes: Sequence[EpisodeKey | None]) -> np.ndarray:
        self.vector.set_attr("episode", list(episodes))
        with foreign():
            observation, _ = self.vector.reset()
        return observation

    def step(self, actions: np.ndarray) -> Answer:
        with foreign():
            observation, reward, _, _, info = self.vector.step(actions)
        return Answer(observation, reward, *flags(info, reward.shape))

    def close(self) -> None:
        limit = GRACE
        for env in self.vector.envs:
            try:
                with guarded("closing", limit), foreign():
                    env.close()
            except EnvironmentFailure as failure:  # one that has failed may fail or hang again, and so may its like
                limit = HURRY if isinstance(failure.__cause__, TimeoutError) else limit
        self.vector.closed = True


class Pools:
    """The pools that are kept, by size; the one that was used longest ago makes room."""

    def __init__(self, make: Callable[[int], Pool]) -> None:
        self.make = make
        self.kept: OrderedDict[int, Pool] = OrderedDict()
        # Who started the pool of a size last; weakly, so that pools end when nobody uses them any more.
        self.tenants: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        # When nobody closes: with the last who uses them, or with the interpreter.
        weakref.finalize(self, _close_all, self.kept)

    def of(self, size: int) -> Pool:
        if size not in self.kept:
            while len(self.kept) >= KEPT:
                self.discard(next(iter(self.kept)))
            with unhurried():  # worker processes may take longer to start than environments to answer
                self.kept[size] = self.make(size)
        self.kept.move_to_end(size)
        return self.kept[size]

    def discard(self, size: int) -> None:
        self.tenants.pop(size, None)
        self.kept.pop(size).close()

    def close(self) -> None:
        self.tenants.clear()
        _close_all(self.kept)


def _close_all(pools: dict[int, Pool]) -> None:
    while pools:
        pools.popitem()[1].close()


class VectorBatch:
    """N × M episodes of a pool (a `BatchedEnv`, and `RendersFrames`). Two batches of one size take turns, not steps."""

    def __init__(
        self,
        pools: Pools,
        recipe: Recipe,
        spec: Spec,
        episodes: list[EpisodeKey],
        shape: tuple[int, int],
        device: torch.device,
    ) -> None:
        self.pools, self.recipe, self.spec, self.episodes = pools, recipe, spec, episodes
        self.shape, self.device = shape, device
        self.films: dict[int, tuple[EpisodeEnv, int]] = {}  # of an episode: its environment, and how far it has come
        self.pools.of(len(episodes))  # made before the first reset, which has a limit

    def reset(self) -> Tensor:
        self.pool = self.pools.of(len(self.episodes))
        self.pools.tenants[len(self.episodes)] = self
        self.actions: list[np.ndarray] = []
        self.films.clear()
        with self._or_discard():
            observation = self.pool.start(self.episodes)
            self._require_finite("observation", observation)
        return self._tensors([observation])[0]

    def step(self, action: Tensor) -> Step:
        if self.pools.tenants.get(len(self.episodes)) is not self:
            raise RuntimeError("these environments have been closed, or are in use for another batch: reset first")
        actions = action.detach().cpu().numpy().reshape(len(self.episodes), *action.shape[2:])
        self.actions.append(actions)
        with self._or_discard():
            answer = self.pool.step(actions)
            self._require_finite("observation", answer.observation)
            self._require_finite("reward", answer.reward)
        observation, reward, terminal, truncated, success = self._tensors(answer)
        return Step(
            observation, reward.float(), terminal, truncated, None if self.recipe.success_key is None else success
        )

    def frame(self, task: int, trajectory: int) -> np.ndarray:
        """The present state of one episode as a picture [height, width, 3], uint8.

        Drawn by an environment of its own, which replays what the episode did: nothing else pays for pictures.
        """
        index = task * self.shape[1] + trajectory
        with foreign():
            if index not in self.films:
                env = EpisodeEnv(self.recipe, self.spec, render_mode="rgb_array")
                env.episode = self.episodes[index]
                env.reset()
                self.films[index] = env, 0
            env, done = self.films[index]
            for actions in self.actions[done:]:
                env.step(actions[index])
            self.films[index] = env, len(self.actions)
            return env.render()

    @contextmanager
    def _or_discard(self) -> Iterator[None]:
        """Give the pool up if anything goes wrong in it: who knows what state it is in."""
        try:
            yield
        except BaseException:
            self.pools.discard(len(self.episodes))
            raise

    def _require_finite(self, quantity: str, value: np.ndarray) -> None:
        if not np.isfinite(value).all():
            index = int((~np.isfinite(value)).reshape(len(value), -1).any(1).argmax())
            raise EnvironmentFailure(
                f"{self.recipe.name_of(self.episodes[index])}: {quantity} is not finite: {value[index]}"
            )

    def _tensors(self, values: Sequence[np.ndarray]) -> list[Tensor]:
        """[B, …] → [N, M, …] on the device."""
        return [x.unflatten(0, self.shape) for x in to_device(values, self.device)]
