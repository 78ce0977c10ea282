"""Values that no component is to meet: of another kind than its constructor takes, not finite, or of no sane size."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from inspect import Parameter
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from metarl_exp.types import Spec
from metarl_exp.validation import require_flag, require_integer, require_memory, require_text, require_timeout
from metarl_exp.wiring.composing import values

MOST_THREADS = 1024  # of torch; more than machines have cores for, and far fewer than it crashes with. ours
ANY_MACHINE = 2.0**44  # bytes: 16 TiB of memory, which no machine has that this is for. ours
FLOAT = 4  # bytes of a number in float32
HORIZON, EPISODES = "tasks.horizon", "trial_episodes"
INNER, TESTED = "adaptation.inner_steps", "evaluation.steps"  # with so many batches, and one more


def require_plausible(config: DictConfig) -> None:
    """Raise ValueError for a number that is not finite, wherever it is, and for a root key of another kind."""
    for key, value in values(OmegaConf.to_container(_without_hydra(config), resolve=True)):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key}={value}: must be a finite number")
    require_integer("seed", config.seed, low=0)
    require_integer("iterations", config.iterations, low=0)
    for name in ("restart", "replay", "fail_fast", "oracle", "allow_stateful"):
        require_flag(name, config.get(name, False))  # runs were stored before there were all of these
    if config.threads is not None:
        require_integer("threads", config.threads, low=1, high=MOST_THREADS)
    for name in ("rank_timeout", "environment_timeout"):
        require_timeout(name, config[name])
    require_text("output_root", config.output_root, "the path of a folder")
    if config.init_from is not None:
        require_text("init_from", config.init_from, "the folder of a run")


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def require_kinds(group: str, node: Mapping[Any, Any], target: Any, takes: Mapping[str, Parameter]) -> None:
    """Raise ValueError where a list, a mapping or a single value stands in a node for what is annotated as another.

    What single values may be is asked by the constructor itself.
    """
    hints: dict[str, Any] = {}
    with suppress(Exception):  # of annotations that name what is only imported for a type checker
        hints = get_type_hints(target.__init__ if isinstance(target, type) else target)
    for name, value in node.items():
        if name in hints and value != takes[name].default:
            kinds = {kind for alternative in _alternatives(hints[name]) for kind in _kinds(alternative)}
            if not kinds & {"anything", _kind(value)}:
                raise ValueError(f"{group}.{name}={value!r}: must be {' or '.join(sorted(kinds))}")


def _alternatives(annotation: Any) -> Sequence[Any]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else [annotation]


def _kinds(annotation: Any) -> list[str]:
    """The kinds of value that an annotation allows."""
    kind = get_origin(annotation) or annotation
    if kind in (None, type(None)):
        return ["null"]
    if kind in (str, bool, int, float):
        return ["a single value"]
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return ["a mapping {key: value}"]
    if isinstance(kind, type) and issubclass(kind, Sequence):
        return ["a list [a, b]"]
    return ["anything"]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "a mapping {key: value}"
    if isinstance(value, list | tuple):
        return "a list [a, b]"
    return "a single value"


def require_adapting(config: DictConfig, lr: float, learned: bool) -> None:
    """Raise ValueError for step sizes that are zero, by which nothing would change; learned ones may start there."""
    if lr == 0 and not learned and config.adaptation.inner_steps > 0:
        raise ValueError(f"inner_optimizer.lr={lr}: nothing would adapt; must be > 0, or take adaptation=none")
    if config.outer_optimizer.get("lr") == 0:
        raise ValueError("outer_optimizer.lr=0: nothing would be learned; must be > 0, or take iterations=0")
    for name in (name for name in ("step_size_schedule", "step_size_multipliers") if name in config.evaluation):
        if not any(config.evaluation[name]):
            shown = list(config.evaluation[name])
            raise ValueError(f"evaluation.{name}={shown}: nothing would adapt; or take evaluation.steps=0")


def require_room(config: DictConfig, spec: Spec, parameters: int, memory: float) -> None:
    """Raise ValueError if a batch of a run would not fit into so many bytes, naming the sizes that make it large.

    What is counted is the least that is kept at once: observations, actions, rewards and masks of all steps, and the
    policy of each task after each inner step. Sizes that are no integers are refused by the constructors.
    """
    step = spec.observation_size + (1 if spec.discrete else spec.action_size) + 2
    episodes = config.trial_episodes or 1
    known = {HORIZON: spec.horizon // episodes, EPISODES: episodes}
    evaluated = ["evaluation.trajectories", HORIZON, TESTED if config.trial_episodes is None else EPISODES]
    for numbers, names in (
        (step, ["meta_batch_size", "trajectories", HORIZON, EPISODES, INNER]),
        (step, ["evaluation.test_tasks", *evaluated]),
        (step, ["evaluation.validation_tasks", *evaluated]),
        (parameters, ["meta_batch_size", INNER]),
    ):
        sizes = {name: known.get(name, OmegaConf.select(config, name)) for name in names}
        if all(isinstance(size, int) for size in sizes.values()):
            batches = [size + (name in (INNER, TESTED)) for name, size in sizes.items()]
            what = ", ".join(f"{name}={size}" for name, size in sizes.items())
            require_memory(what, math.prod(batches) * numbers * FLOAT, memory)
