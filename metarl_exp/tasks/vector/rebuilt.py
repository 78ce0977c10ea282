"""Environments that have a task's attributes when they are made: what those that are given them later should be like.

A constructor may compute more from an attribute. What it would have computed is seen by making the environment anew,
with the attribute that the task says wherever the constructor sets it.
"""

import copy
import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from metarl_exp.tasks.guard import foreign
from metarl_exp.tasks.vector.recipe import Recipe, Row, Settings, constructor, registered

OWN = "self."  # before the name of an attribute, to tell it from an argument


def rebuilt(recipe: Recipe, row: Row) -> "Rebuilt | None":
    """A recipe for environments made with their task; None where this task cannot be there from the beginning.

    That is so without attributes, with those of an object inside the environment, and where no class makes it.
    """
    own = {v.target: v.steps[0] for v in recipe.variations if v.place == "attribute" and len(v.steps) == 1}
    if not own or not inspect.isclass(constructor(recipe.id)):
        return None
    made = Rebuilt(recipe, own)
    with suppress(Exception), foreign():  # a constructor may refuse what it did not choose itself
        made.make(made.settings(row).argument).close()
        return made


class Rebuilt(Recipe):
    """A recipe after which environments are made anew for other values of `own`: names of attributes, by target."""

    def __init__(self, recipe: Recipe, own: Mapping[str, str]) -> None:
        vars(self).update(vars(recipe))
        self.own = own

    def settings(self, row: Row) -> Settings:
        settings = super().settings(row)
        own = {f"{OWN}{name}": settings.inside[target] for target, name in self.own.items()}
        return settings._replace(argument=settings.argument | own)

    def make(
        self, arguments: Mapping[str, Any], render_mode: str | None = None, spec: EnvSpec | None = None
    ) -> gymnasium.Env[Any, Any]:
        own = {name.removeprefix(OWN): value for name, value in arguments.items() if name.startswith(OWN)}
        kind = constructor(self.id)
        taken = {name: value for name, value in own.items() if name in inspect.signature(kind).parameters}
        others = {name: value for name, value in arguments.items() if not name.startswith(OWN)}
        spec = replace(registered(self.id), entry_point=built_with(kind, own))
        return super().make(others | taken, render_mode, spec)


def built_with(kind: Any, attributes: Mapping[str, Any]) -> type:
    """A class of environments that is `kind`, but whose constructor gives attributes these values when it sets them."""

    class Built(kind):
        being_built = False

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.being_built = True
            super().__init__(*args, **kwargs)
            self.being_built = False

        def __setattr__(self, name: str, value: Any) -> None:
            given = name in attributes and self.being_built
            super().__setattr__(name, copy.deepcopy(attributes[name]) if given else value)

    for name, value in attributes.items():
        if hasattr(kind, name) and not hasattr(getattr(kind, name), "__set__"):
            setattr(Built, name, copy.deepcopy(value))  # an attribute of the class, which the constructor may only read
    return Built
