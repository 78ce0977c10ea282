"""One Gymnasium environment as a series of episodes, each of its own task and seed: what vector environments batch."""

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator

from metarl_exp.tasks.spaces import Interface
from metarl_exp.tasks.vector.variation import Path, Variation
from metarl_exp.types import EnvironmentFailure, Spec
from metarl_exp.validation import nearest

Row = tuple[float, ...]


class EpisodeKey(NamedTuple):
    """What tells one episode from another."""

    task: int  # which of the N tasks
    trajectory: int  # which of the M episodes of it
    row: Row  # the task
    seed: int


@runtime_checkable
class TaskWrapper(Protocol):
    """A wrapper that makes something of the task itself, such as another reward. Called before every reset."""

    def apply_task(self, parameters: dict[str, Any]) -> None: ...


class Settings(NamedTuple):
    """A task, sorted by where its numbers go: targets and their values."""

    attribute: dict[str, Any]
    argument: dict[str, Any]
    option: dict[str, Any]
    wrapper: dict[str, dict[str, Any]]  # of each wrapper, its parameters by their names


class Recipe:
    """How an environment is made, and how a task is put into it. Data only: it goes to workers as it is."""

    def __init__(
        self,
        id: str,
        kwargs: Mapping[str, Any],
        wrappers: Sequence[Any],
        variations: Sequence[Variation],
        success_key: str | None,
    ) -> None:
        self.id, self.kwargs, self.success_key = id, dict(kwargs), success_key
        self.wrappers = [_wrapper(setting) for setting in wrappers]
        self.variations = tuple(variations)
        self.paths = {v.target: Path(v.target) for v in variations if v.place == "attribute"}

    def settings(self, row: Row) -> Settings:
        """What a task means for the environment."""
        settings = Settings({}, {}, {}, {})
        for variation, entry in zip(self.variations, row, strict=True):
            value = variation.draw.value(entry)
            if variation.place == "wrapper":
                settings.wrapper.setdefault(variation.target, {})[variation.name] = value
            else:
                getattr(settings, variation.place)[variation.target] = value
        return settings

    def make(self, arguments: Mapping[str, Any], render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        """A new environment. The horizon is the sampler's: no TimeLimit wrapper, whatever is registered."""
        kwargs = copy.deepcopy(self.kwargs)
        for path, value in arguments.items():
            *way, last = path.split(".")
            inside = kwargs
            for key in way:
                inside = inside.setdefault(key, {})
            inside[last] = value
        if render_mode is not None:
            kwargs["render_mode"] = render_mode
        env = gymnasium.make(self.id, max_episode_steps=-1, disable_env_checker=True, **kwargs)
        for wrapper, its_kwargs in self.wrappers:
            env = wrapper(env, **its_kwargs)
        return env

    def apply(self, env: gymnasium.Env[Any, Any], settings: Settings) -> None:
        """Put a task into an environment that is about to be reset."""
        for path, value in settings.attribute.items():
            self.paths[path].write(env.unwrapped, value)
        for name, parameters in settings.wrapper.items():
            task_wrappers(env)[name].apply_task(parameters)

    def require_applied(self, env: gymnasium.Env[Any, Any], settings: Settings) -> None:
        """Raise ValueError if the reset has put an attribute back."""
        for path, value in settings.attribute.items():
            found = self.paths[path].read(env.unwrapped)
            same = (
                math.isclose(found, value, rel_tol=1e-6) if isinstance(value, float) else np.array_equal(found, value)
            )
            if not same:
                raise ValueError(f"reset() sets {path} to {found!r} although the task says {value!r}")

    def name_of(self, episode: EpisodeKey) -> str:
        """A task and trajectory as failures name them."""
        return f"{self.name_of_task(episode)}, trajectory {episode.trajectory}"

    def name_of_task(self, episode: EpisodeKey) -> str:
        parameters = ", ".join(f"{v.name}={x:.4g}" for v, x in zip(self.variations, episode.row, strict=True))
        return f"task {episode.task} ({parameters})"

    def _require_arguments(self) -> None:
        """Raise ValueError for an argument that the constructor does not have, naming the nearest one."""
        constructor = gymnasium.spec(self.id.rpartition(":")[2]).entry_point
        if isinstance(constructor, str):
            constructor = load_env_creator(constructor)
        allowed = [name for name in inspect.signature(constructor).parameters if name != "render_mode"]  # type: ignore
        given = {f"tasks.kwargs.{name}": name for name in self.kwargs}
        given |= {f"tasks.vary.{v.name}.argument": v.target for v in self.variations if v.place == "argument"}
        for field, path in given.items():
            name = path.partition(".")[0]
            if name not in allowed:
                raise ValueError(f"{field}={path!r}: {self.id} takes {', '.join(allowed)}{nearest(name, allowed)}")

    def probe(self, row: Row) -> Interface:
        """Make one environment, check that the task has its places there, and say what a policy has to know.

        Raises ValueError for an unknown environment or place.
        """
        settings = self.settings(row)
        try:
            env = self.make(settings.argument)
        except gymnasium.error.Error as error:
            raise ValueError(f"tasks.id={self.id!r}: {error}") from error
        except TypeError:
            self._require_arguments()
            raise
        try:
            for v in self.variations:
                field = f"tasks.vary.{v.name}.{v.place}"
                if v.place == "attribute":
                    self.paths[v.target].require(field, env.unwrapped)
                elif v.place == "wrapper" and v.target not in task_wrappers(env):
                    known = list(task_wrappers(env))
                    raise ValueError(
                        f"{field}={v.target!r}: allowed are the wrappers with a method apply_task, here "
                        f"{', '.join(known) or 'none'}{nearest(v.target, known)}"
                    )
            self.apply(env, settings)
            return Interface(env.observation_space, env.action_space)
        finally:
            env.close()


def _wrapper(setting: Any) -> tuple[Any, dict[str, Any]]:
    """A class and its arguments, from its dotted name or `{wrapper: dotted name, …arguments}`."""
    kwargs = dict(setting) if isinstance(setting, Mapping) else {"wrapper": setting}
    module, _, name = str(kwargs.pop("wrapper", "")).rpartition(".")
    try:
        return getattr(import_module(module), name), kwargs
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"tasks.wrappers={setting!r}: not the dotted name of a wrapper ({error})") from error


def task_wrappers(env: gymnasium.Env[Any, Any]) -> dict[str, TaskWrapper]:
    """The wrappers around an environment that take tasks, by the names of their classes."""
    found: dict[str, TaskWrapper] = {}
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TaskWrapper):
            found[type(env).__name__] = env
        env = env.env
    return found


class EpisodeEnv(gymnasium.Env[np.ndarray, Any]):
    """Episodes one after the other: `episode` says which, and each reset puts its task in and seeds with its seed.

    Observations and actions are the policy's. To the outside an episode never ends, since vector environments refuse
    to step one that has: how it ended is in the info of that step (`terminal`, `truncated`, `success`), and from then
    on it stands still at no reward and the environment is left alone. Without an episode it stands still at once, and
    no environment is made. Whatever the environment raises becomes EnvironmentFailure that names the episode.
    """

    def __init__(self, recipe: Recipe, spec: Spec, render_mode: str | None = None) -> None:
        self.recipe, self.spec_of_tasks, self.render_mode = recipe, spec, render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (spec.observation_size,), np.float32)
        self.action_space = (
            gymnasium.spaces.Discrete(spec.action_size)
            if spec.discrete
            else gymnasium.spaces.Box(-1.0, 1.0, (spec.action_size,), np.float32)
        )
        self.episode: EpisodeKey | None = None
        self.env: gymnasium.Env[Any, Any] | None = None
        self.arguments: dict[str, Any] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.over = self.episode is None
        self.last = np.zeros(self.spec_of_tasks.observation_size, np.float32)
        if self.episode is not None:
            try:
                self.last = self._begin(self.episode)
            except (Exception, SystemExit) as error:
                raise self._failure(error) from error
        return self.last, {}

    def _begin(self, episode: EpisodeKey) -> np.ndarray:
        settings = self.recipe.settings(episode.row)
        if self.env is None or settings.argument != self.arguments:
            self.close()
            self.env = self.recipe.make(settings.argument, self.render_mode)
            self.arguments = settings.argument
            self.interface = Interface(self.env.observation_space, self.env.action_space)
            if self.interface.sizes != self.spec_of_tasks[:3]:
                raise ValueError(f"this task's spaces have {self.interface.sizes}, others {self.spec_of_tasks[:3]}")
        self.recipe.apply(self.env, settings)
        observation, _ = self.env.reset(seed=episode.seed, options=settings.option or None)
        self.recipe.require_applied(self.env, settings)
        return self.interface.observe(observation)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.over:
            return self.last, 0.0, False, False, {}
        assert self.env is not None
        try:
            observation, reward, terminal, truncated, its_info = self.env.step(self.interface.act(action))
            self.last = self.interface.observe(observation)
            info = {}
            if terminal or truncated:
                self.over = True
                info = {"terminal": bool(terminal), "truncated": bool(truncated)}
            if self.recipe.success_key is not None:
                info["success"] = bool(its_info.get(self.recipe.success_key, False))
            return self.last, float(reward), False, False, info
        except (Exception, SystemExit) as error:
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> EnvironmentFailure:
        assert self.episode is not None
        return EnvironmentFailure(f"{self.recipe.name_of(self.episode)}: {type(error).__name__}: {error}")

    def render(self) -> np.ndarray:  # type: ignore[override]
        """The present state as a picture [height, width, 3], uint8; ValueError if the environment draws none."""
        frame = None if self.env is None else self.env.render()
        if frame is None:
            raise ValueError(f"{self.recipe.id} draws no pictures (render_mode=rgb_array)")
        return np.asarray(frame, dtype=np.uint8)

    def close(self) -> None:
        if self.env is not None:
            self.env.close()
            self.env = None
