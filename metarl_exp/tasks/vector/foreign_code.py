"""Settings of Gymnasium tasks that lead to more code, or to files: what a stranger's settings could run."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium

from metarl_exp.tasks.vector.recipe import registered
from metarl_exp.tasks.vector.variation import PLACES

PLAIN = re.compile(r"[\w -]*")  # a word, which is neither the path of a file nor the dotted name of a class


def foreign_code(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values that import, call or read something other than environments that Gymnasium registers itself.

    These are other ids, what is imported first, wrappers, methods, ways through Python's own attributes
    (`reset.__globals__`), and texts that may be the names of files or classes. Nothing is imported to tell.
    """
    for key, value in settings.items():
        if key == "id":
            yield from [] if _of_gymnasium(value) else [(key, value)]
        elif key == "wrappers":
            for wrapper in value if isinstance(value, list) else [value]:
                kwargs = dict(wrapper) if isinstance(wrapper, Mapping) else {"wrapper": wrapper}
                yield key, kwargs.pop("wrapper", None)
                yield from _names(key, kwargs)
        elif key == "requires" and value:
            yield key, value.get("module") if isinstance(value, Mapping) else value
        elif key == "vary" and isinstance(value, Mapping):
            for name, variation in value.items():
                yield from _varied(f"vary.{name}", variation)
        elif key != "_target_":
            yield from _names(key, value)


def _varied(key: str, variation: Any) -> Iterator[tuple[str, Any]]:
    """Of one variation: a method, which is called, any way through Python's own attributes, and values."""
    for part, value in variation.items() if isinstance(variation, Mapping) else [("", variation)]:
        if part not in PLACES:
            yield from _names(f"{key}.{part}", value)
        elif part == "method" or "__" in str(value):
            yield f"{key}.{part}", value


def _of_gymnasium(id: Any) -> bool:
    if not isinstance(id, str) or ":" in id:
        return False
    try:
        maker = registered(id).entry_point
    except gymnasium.error.Error:
        return False
    return isinstance(maker, str) and maker.startswith("gymnasium.")


def _names(key: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """Texts in a tree of mappings and lists that are more than a word."""
    if isinstance(tree, Mapping | list):
        pairs = tree.items() if isinstance(tree, Mapping) else (("", value) for value in tree)
        for part, value in pairs:
            yield from _names(f"{key}.{part}" if part else key, value)
    elif not (tree is None or isinstance(tree, int | float) or PLAIN.fullmatch(str(tree))):
        yield key, tree
