"""From a task of Meta-World to an environment with this task set; the episodes of a task share one MuJoCo model.

Meta-World reads a model of 20 MB, mostly meshes, from its files for every environment. Tasks of one environment differ
in positions that a reset writes into the model; nothing else writes there. So the environments of one task, which
write the same, are given the same model: 4 ms and 0.7 MB each instead of 160 ms and 22 MB.

Importing this module registers `metarl_exp/MetaWorldTask-v0`.
"""

import copy
import pickle
from collections.abc import Mapping
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import gymnasium
import numpy as np

from metarl_exp.validation import require_extra

ID = f"{__name__}:metarl_exp/MetaWorldTask-v0"  # with the module that gymnasium.make has to import first
VECTOR = 6  # most numbers of a task beside its environment
CAMERA = "corner2"  # the one of Meta-World's that sees the whole arm and table


def library() -> Any:
    """The package metaworld; ModuleNotFoundError says how to install it."""
    return require_extra("metaworld", "metaworld", "Meta-World")


@cache
def environments() -> dict[str, Any]:
    """Meta-World's 50 environment classes by name, in its order: a row's first number is a place in it."""
    return dict(library().ALL_V3_ENVIRONMENTS)


def row_of(task: Any) -> list[float]:
    """A `metaworld.Task` as numbers: the place of its environment, its random vector, zeros in what that leaves."""
    vector = pickle.loads(task.data)["rand_vec"].tolist()
    return [float(list(environments()).index(task.env_name)), *vector, *[0.0] * (VECTOR - len(vector))]


def task_of(name: str, vector: np.ndarray) -> Any:
    """The `metaworld.Task` of an environment and a random vector; the observation hides the goal."""
    data = {"rand_vec": vector, "env_cls": environments()[name], "partially_observable": True}
    return library().Task(name, pickle.dumps(data))


@cache
def class_given_model(name: str) -> Any:
    """Meta-World's class of that name, except that its instances are given their model and draw upright."""
    make_data = require_extra("mujoco", "metaworld", "Meta-World").MjData

    class GivenModel(environments()[name]):
        def __init__(self, given: Any, **kwargs: Any) -> None:
            self.given = given
            super().__init__(**kwargs)

        def _initialize_simulation(self) -> tuple[Any, Any]:
            return self.given, make_data(self.given)

        def render(self) -> np.ndarray:
            return super().render()[::-1, ::-1]  # the camera hangs upside down

    return GivenModel


@cache
def model_from_files(name: str) -> Any:
    """The model of an environment before any task was set in it."""
    return environments()[name]().model


models: WeakValueDictionary[tuple[str, tuple[float, ...]], Any] = WeakValueDictionary()  # of tasks in use


def model_of(name: str, vector: tuple[float, ...]) -> Any:
    """The model of a task, the same one for as long as anybody has it."""
    model = models.get((name, vector))
    if model is None:
        model = models[name, vector] = copy.copy(model_from_files(name))
    return model


def task_environment(
    reward: str, environment: float, random: Mapping[str, float], render_mode: str | None = None
) -> gymnasium.Env[Any, Any]:
    """An environment with its task set; `environment` and `random`, in order, are the numbers of a row."""
    name, vector = list(environments())[int(environment)], tuple(random.values())
    env = class_given_model(name)(
        model_of(name, vector), reward_function_version=reward, render_mode=render_mode, camera_name=CAMERA
    )
    size = env._random_reset_space.low.size  # what is beyond are the row's zeros
    env.set_task(task_of(name, np.array(vector[:size])))
    return env


gymnasium.register(ID.partition(":")[2], entry_point=f"{__name__}:{task_environment.__name__}")
