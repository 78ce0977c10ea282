"""Any Gymnasium environment as a distribution of tasks, from configuration alone."""

import copy
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions
from typing import Any

import torch
from torch import Tensor

from metarl_exp.tasks.vector.batch import VectorBatch
from metarl_exp.tasks.vector.fleet import Fleet
from metarl_exp.tasks.vector.foreign_code import foreign_code
from metarl_exp.tasks.vector.rebuilt import rebuilt
from metarl_exp.tasks.vector.recipe import Recipe, Row, constructor
from metarl_exp.tasks.vector.variation import variation
from metarl_exp.types import Spec
from metarl_exp.validation import require_extra, require_integer


class GymnasiumTasks:
    """Tasks are what `vary` says: numbers that differ between environments of one kind.

    id: what `gymnasium.make` takes, `module:Name-v0` to import a module that registers it first. kwargs: arguments of
    its constructor, the same for all tasks. horizon: steps of an episode, instead of any registered limit. vary: for
    each column of a task a place of its own and a distribution, `{attribute: m, uniform: [0.5, 1.5]}`. wrappers: from
    the inside to the outside, dotted names, or `{wrapper: name, …arguments}`. success_key: entry of a step's info that
    says that the goal is reached; null: none. workers, start_method: as in `Fleet`. requires: `{module: …, extra: …}`
    to import first, from optional dependencies; null.

    Places: `attribute` of the unwrapped environment (a path: `model.body_mass[1]`, `config[lanes]`), set before each
    reset; `method` of it (a path too), called with the value before each reset; `argument` of the constructor (`a.b`
    for entry b of a dict a), which makes the environment anew when it changes; `option` of reset; `wrapper`, by its
    class, to whose `apply_task` the parameter goes. Distributions: `uniform` and `log_uniform` [low, high], `integer`
    [low, high] inclusive, `choice` of a list.

    What the constructor computed from an attribute does not follow it, but for constants of MuJoCo's models and what
    `derived.py` knows of Gymnasium's own environments. What becomes of observations is said by `spaces.Interface`.
    """

    without_effect = ("workers", "start_method", "requires")  # on any number
    foreign_code = staticmethod(foreign_code)

    def __init__(
        self,
        id: str,
        horizon: int,
        kwargs: Mapping[str, Any],
        vary: Mapping[str, Any],
        wrappers: Sequence[Any],
        success_key: str | None,
        workers: int,
        start_method: str,
        requires: Mapping[str, str] | None,
    ) -> None:
        require_integer("tasks.horizon", horizon, low=1)
        if not vary:
            raise ValueError(f"tasks.vary={vary!r}: must name at least one parameter in which tasks differ")
        if requires:
            if set(requires) != {"module", "extra"}:
                raise ValueError(f"tasks.requires={dict(requires)!r}: must be {{module: …, extra: …}}")
            require_extra(requires["module"], requires["extra"], f"tasks.id={id}")
        self.modules = [
            "gymnasium",
            id.partition(":")[0].partition(".")[0],
            *([requires["module"]] if requires else []),
        ]
        self.variations = tuple(variation(name, settings) for name, settings in vary.items())
        self.parameter_names = tuple(v.name for v in self.variations)
        self.recipe = Recipe(id, kwargs, wrappers, self.variations, success_key)
        interface = self.recipe.probe(self._row())
        self.spec = Spec(interface.observation_size, interface.action_size, interface.discrete, horizon)
        # 2: pixels are divided by 255, and what follows from attributes is renewed; where neither is, as in 1.
        self.version = 2 if interface.has_pixels or self.recipe.renews else 1
        self.fleet = Fleet(self.recipe, self.spec, workers, start_method)

    @property
    def libraries(self) -> tuple[str, ...]:
        """The distributions, as package indices call them, that the environments come from."""
        known = packages_distributions()
        return tuple(dict.fromkeys(name for module in self.modules for name in known.get(module, ())))

    @property
    def written_in(self) -> tuple[str, ...]:
        """The module in which the environments are written."""
        return (constructor(self.recipe.id).__module__,)

    @property
    def train_test_overlap(self) -> str | None:
        """Why a test task may be one of training, if they may."""
        tasks = math.prod(variation.draw.size for variation in self.variations)
        return f"there are {tasks:.0f} tasks in all" if math.isfinite(tasks) else None

    def rebuilt(self) -> "GymnasiumTasks | None":
        """As in `Rebuildable`, in this process: attributes without dots are set while the constructor runs."""
        recipe = rebuilt(self.recipe, self._row())
        if recipe is None:
            return None
        other = copy.copy(self)
        other.fleet = Fleet(recipe, self.spec, workers=0, start_method="spawn")
        return other

    def close(self) -> None:
        """Give back all environments and workers; the next `make_env` makes new ones."""
        self.fleet.close()

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return torch.stack([v.draw.sample(num_tasks, generator) for v in self.variations], dim=1)

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.sample(num_tasks, generator)

    def _row(self) -> Row:
        """Some task."""
        return tuple(self.sample(1, torch.Generator().manual_seed(0))[0].tolist())

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> VectorBatch:
        return self.fleet.batch(tasks, trajectories, generator, device)
