"""Values that a constructor computes from an attribute, computed again after a task has set the attribute.

MuJoCo has constants of its models (inverse weights, masses of subtrees, bounds of geometries); classic control problems
have a total mass, or bounds of the action. An environment that is not known here has to be told by a method or an
argument of its own.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box

from metarl_exp.tasks.vector.path import Path

Renewal = Callable[[], Any]


class Derived(NamedTuple):
    """An attribute that follows from others."""

    name: str
    sources: tuple[str, ...]  # steps of the paths that lead to these
    formula: Callable[[Any], Any]  # of the object that has it


def _bounded(low: Any, high: Any) -> Box:
    return Box(np.asarray(low, np.float32).reshape(-1), np.asarray(high, np.float32).reshape(-1), dtype=np.float32)


DERIVED: dict[str, tuple[Derived, ...]] = {
    "gymnasium.envs.classic_control.cartpole.CartPoleEnv": (
        Derived("total_mass", ("masspole", "masscart"), lambda env: env.masspole + env.masscart),
        Derived("polemass_length", ("masspole", "length"), lambda env: env.masspole * env.length),
    ),
    "gymnasium.envs.classic_control.pendulum.PendulumEnv": (
        Derived("action_space", ("max_torque",), lambda env: _bounded(-env.max_torque, env.max_torque)),
    ),
    "gymnasium.envs.classic_control.continuous_mountain_car.Continuous_MountainCarEnv": (
        Derived("action_space", ("min_action", "max_action"), lambda env: _bounded(env.min_action, env.max_action)),
    ),
    "gymnasium.envs.mujoco.mujoco_env.MujocoEnv": (
        Derived("action_space", ("actuator_ctrlrange",), lambda env: _bounded(*env.model.actuator_ctrlrange.T)),
        Derived("init_qpos", ("qpos0",), lambda env: env.model.qpos0.copy()),
    ),
}

# Contacts are looked for within bounds that follow from these; mj_setConst renews them from this version on.
GEOMETRY = ("geom_size", "geom_pos", "geom_quat", "geom_margin")
GEOMETRY_SINCE = (3, 17)


def renewals(root: Any, paths: Iterable[Path], code_ran: bool = False) -> list[Renewal]:
    """Calls to make after a task was put at these places of an environment, or given to code of its own."""
    found = _models_renewed([root]) if code_ran else {}
    for path in paths:
        owners = path.owners(root)
        for owner in owners:
            for derived in _derived(owner):
                if not set(derived.sources).isdisjoint(path.steps):
                    found[id(owner), derived.name] = _setting(owner, derived)
        if len(owners) > 1 or path.runs_code(root):
            found |= _models_renewed(owners)
    return list(found.values())


def _models_renewed(owners: Iterable[Any]) -> dict[Any, Renewal]:
    """For each MuJoCo model among these objects, or of one of them, what renews its constants."""
    mujoco = sys.modules.get("mujoco")  # nobody has a model who has not imported it
    if mujoco is None:
        return {}
    held = (x for owner in owners for x in (owner, getattr(owner, "model", None)))
    models = (getattr(x, "ptr", x) for x in held)  # dm_control wraps its models
    return {id(x): _constants(mujoco, x) for x in models if isinstance(x, mujoco.MjModel)}


def require_free(path: Path, root: Any) -> None:
    """Raise ValueError if what is there follows from other attributes, or others follow from it that stay behind."""
    for derived in _derived(path.owners(root)[-1]):
        if derived.name == path.steps[-1]:
            raise ValueError(f"{path.name}: is computed from {' and '.join(derived.sources)}; vary these")
    if not set(GEOMETRY).isdisjoint(path.steps) and _models_renewed(path.owners(root)):
        version = sys.modules["mujoco"].__version__
        if tuple(int(part) for part in version.split(".")[:2]) < GEOMETRY_SINCE:
            since = ".".join(map(str, GEOMETRY_SINCE))
            raise ValueError(
                f"{path.name}: MuJoCo {version} keeps looking for contacts at the old place; needs {since} or later"
            )


def _derived(owner: Any) -> Iterator[Derived]:
    """Derived attributes known of objects of its kind."""
    for kind in type(owner).__mro__:
        yield from DERIVED.get(f"{kind.__module__}.{kind.__qualname__}", ())


def _setting(owner: Any, derived: Derived) -> Renewal:
    return lambda: setattr(owner, derived.name, derived.formula(owner))


def _constants(mujoco: Any, model: Any) -> Renewal:
    return lambda: mujoco.mj_setConst(model, mujoco.MjData(model))  # data of its own, as the episode's stay as they are
