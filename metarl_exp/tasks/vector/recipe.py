"""How an environment is made, and how a task is put into it."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
from gymnasium.envs.registration import (
    EnvSpec,
    find_highest_version,
    get_env_id,
    load_env_creator,
    parse_env_id,
)

from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks.guard import foreign, guarded
from metarl_exp.tasks.spaces import Interface
from metarl_exp.tasks.vector.derived import renewals, require_free
from metarl_exp.tasks.vector.path import KINDS, Path, shown
from metarl_exp.tasks.vector.variation import Variation, require_apart
from metarl_exp.validation import nearest

Row = tuple[float, ...]


class EpisodeKey(NamedTuple):
    """Task and seed of one episode."""

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

    inside: dict[str, Any]  # attributes and methods
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
        self.renews = False  # whether anything follows from a task that has to be renewed; known after `probe`
        self.wrappers = [_wrapper(setting) for setting in wrappers]
        self.variations = tuple(variations)
        require_apart(self.variations)
        self.paths = {v.target: KINDS[v.place](v.target, v.field) for v in variations if v.place in KINDS}

    def settings(self, row: Row) -> Settings:
        """Settings of the environment for a task."""
        settings = Settings({}, {}, {}, {})
        for variation, entry in zip(self.variations, row, strict=True):
            value = variation.draw.value(entry)
            if variation.place == "wrapper":
                settings.wrapper.setdefault(variation.target, {})[variation.name] = value
            elif variation.place in KINDS:
                settings.inside[variation.target] = value
            else:
                getattr(settings, variation.place)[variation.target] = value
        return settings

    def make(
        self, arguments: Mapping[str, Any], render_mode: str | None = None, spec: EnvSpec | None = None
    ) -> gymnasium.Env[Any, Any]:
        """A new environment, of another spec than that of the id if there is one.

        The horizon is the sampler's: no TimeLimit wrapper, whatever is registered.
        """
        kwargs = copy.deepcopy(self.kwargs)
        for path, value in arguments.items():
            *way, last = path.split(".")
            inside = kwargs
            for key in way:
                inside = inside.setdefault(key, {})
            inside[last] = value
        if render_mode is not None:
            kwargs["render_mode"] = render_mode
        env = gymnasium.make(spec or self.id, max_episode_steps=-1, disable_env_checker=True, **kwargs)
        for wrapper, its_kwargs in self.wrappers:
            env = wrapper(env, **its_kwargs)
        return env

    def calling(self, name: str) -> AbstractContextManager[None]:
        """A guard around a call into an environment, such as `reset`, that says which one failed in it."""
        return guarded(f"{name} of tasks.id={self.id}")

    def apply(self, env: gymnasium.Env[Any, Any], settings: Settings) -> None:
        """Put a task into an environment that is about to be reset, and renew what follows from it.

        Raises ValueError for a value that does not arrive, or that another column overwrites.
        """
        root = env.unwrapped
        for target, value in settings.inside.items():
            self.paths[target].put(root, value)
        for name, parameters in settings.wrapper.items():
            task_wrappers(env)[name].apply_task(parameters)
        for renew in renewals(root, self.paths.values(), code_ran=bool(settings.wrapper)):
            renew()
        for path, value in self._lost(root, settings):
            found = shown(path.read(root))
            raise ValueError(
                f"{path.name} is {found} instead of {value!r}: {self._overwriting(path, value, root, settings)} "
                "writes the same place; each column of a task needs a place of its own"
            )

    def require_applied(self, env: gymnasium.Env[Any, Any], settings: Settings) -> None:
        """Raise ValueError if the reset has put an attribute back."""
        for path, value in self._lost(env.unwrapped, settings):
            found = path.read(env.unwrapped)
            raise ValueError(f"reset() sets {path.text} to {found!r} although the task says {value!r}")

    def _lost(self, root: Any, settings: Settings) -> Iterator[tuple[Path, Any]]:
        """The places that do not have the task's value any more."""
        places = ((self.paths[target], value) for target, value in settings.inside.items())
        return ((path, value) for path, value in places if not path.has(root, value))

    def _overwriting(self, path: Path, value: Any, root: Any, settings: Settings) -> str:
        """The column that changes what is at the path, which had this value."""
        for target, its in settings.inside.items():
            path.put(root, value)
            self.paths[target].put(root, its)
            if not path.has(root, value):
                return self.paths[target].name
        return "a wrapper, or what follows from the other columns,"

    def name_of(self, episode: EpisodeKey) -> str:
        """A task and trajectory as failures name them."""
        return f"{self.name_of_task(episode)}, trajectory {episode.trajectory}"

    def name_of_task(self, episode: EpisodeKey) -> str:
        parameters = ", ".join(f"{v.name}={x:.4g}" for v, x in zip(self.variations, episode.row, strict=True))
        return f"task {episode.task} ({parameters})"

    def _require_arguments(self) -> None:
        """Raise ValueError for an argument that the constructor does not have, naming the nearest one."""
        allowed = [name for name in inspect.signature(constructor(self.id)).parameters if name != "render_mode"]
        given = {f"tasks.kwargs.{name}": name for name in self.kwargs}
        given |= {v.field: v.target for v in self.variations if v.place == "argument"}
        for field, path in given.items():
            name = path.partition(".")[0]
            if name not in allowed:
                raise ValueError(f"{field}={path!r}: {self.id} takes {', '.join(allowed)}{nearest(name, allowed)}")

    def probe(self, row: Row) -> Interface:
        """Make one environment, put a task in, and say what a policy has to know.

        Raises ValueError for an unknown environment, and for places that are not there or do not take the task, and
        EnvironmentFailure for an environment that cannot be made or closed.
        """
        settings = self.settings(row)
        with foreign():
            try:
                with self.calling("__init__"):
                    env = self.make(settings.argument)
            except EnvironmentFailure as failure:
                self._require_made(failure.__cause__)
                raise
            try:
                self._require_places(env)
                self.apply(env, settings)
                self.renews = bool(renewals(env.unwrapped, self.paths.values(), code_ran=bool(settings.wrapper)))
                return Interface(env.observation_space, env.action_space)
            finally:
                with self.calling("close"):
                    env.close()

    def _require_made(self, error: BaseException | None) -> None:
        """Raise what says better why there is no environment than that its constructor failed, if anything does."""
        if isinstance(error, gymnasium.error.Error):
            raise ValueError(f"tasks.id={self.id!r}: {error}") from error
        if isinstance(error, ImportError):
            raise error
        if isinstance(error, TypeError):
            self._require_arguments()

    def _require_places(self, env: gymnasium.Env[Any, Any]) -> None:
        """Raise ValueError for a place that this environment does not have, naming the nearest one."""
        for path in self.paths.values():
            path.require(env.unwrapped)
            require_free(path, env.unwrapped)
        for v in self.variations:
            if v.place == "wrapper" and v.target not in (known := task_wrappers(env)):
                raise ValueError(
                    f"{v.field}={v.target!r}: allowed are the wrappers with a method apply_task, here "
                    f"{', '.join(known) or 'none'}{nearest(v.target, known)}"
                )


def registered(id: str) -> EnvSpec:
    """Gymnasium's specification of an id that has been used, in its latest version if the id names none."""
    namespace, name, version = parse_env_id(id.rpartition(":")[2])
    latest = find_highest_version(namespace, name) if version is None else version
    return gymnasium.spec(get_env_id(namespace, name, latest))


def constructor(id: str) -> Callable[..., Any]:
    """Class or function that makes the environments of an id."""
    found = registered(id).entry_point
    return load_env_creator(found) if isinstance(found, str) else found  # type: ignore[return-value]


def _wrapper(setting: Any) -> tuple[Any, dict[str, Any]]:
    """A class and its arguments, from its dotted name or `{wrapper: dotted name, …arguments}`."""
    kwargs = dict(setting) if isinstance(setting, Mapping) else {"wrapper": setting}
    module, _, name = str(kwargs.pop("wrapper", "")).rpartition(".")
    try:
        return getattr(import_module(module), name), kwargs
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"tasks.wrappers={setting!r}: not the dotted name of a wrapper ({error})") from error


def task_wrappers(env: gymnasium.Env[Any, Any]) -> dict[str, TaskWrapper]:
    """The wrappers around an environment that take tasks, by the names of their classes; ValueError for two of one."""
    found: dict[str, TaskWrapper] = {}
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TaskWrapper):
            name = type(env).__name__
            if name in found:
                raise ValueError(f"tasks.wrappers: two wrappers called {name} take tasks; their names must differ")
            found[name] = env
        env = env.env
    return found
