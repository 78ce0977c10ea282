"""Code of one's own that decides the numbers of a run: modules that are neither of this package nor of a library.

A configuration names classes by dotted names. Their modules count, and so do those that these import, as far as they
are one's own. Libraries have versions instead, and what they do to environments is in the golden rollout. Modules are
found and read, never imported: their names may come from the folder of a run that a stranger wrote.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path
from pkgutil import get_importer

PACKAGE = __name__.partition(".")[0]
STANDARD = Path(os.__file__).parent
INSTALLED = {"site-packages", "dist-packages"}


def digests(names: Iterable[str]) -> dict[str, str]:
    """Ten hex digits of every module of one's own that dotted names lead to, by its name.

    A name is `module.Class`, `module:Name` or anything else, which leads to nothing. Comments, docstrings and the
    layout of the code do not count.
    """
    found: dict[str, str] = {}
    left = list(names)
    while left:
        for spec, file in _on_the_way(left.pop()):
            if spec.name not in found:
                found[spec.name] = _digest(file)
                left += _imported(spec, file)
    return dict(sorted(found.items()))


def changed(then: Mapping[str, str]) -> list[str]:
    """Names of the modules, of those with these digests, whose code has changed.

    A module that cannot be found is not among them: importing it says so.
    """
    files = {name: _file(spec) for name in then if (spec := _spec(name))}
    return [name for name, file in files.items() if file and _digest(file) != then[name]]


def reach_current_folder() -> None:
    """Let modules of the current folder be imported, as with `python -m`."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _on_the_way(name: str) -> Iterator[tuple[ModuleSpec, Path]]:
    """The packages and the module of one's own that a dotted name begins with, the outermost first, and their files."""
    parts = name.partition(":")[0].split(".")
    for depth in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:depth])) if parts[depth - 1].isidentifier() else None
        if spec is None:
            return
        file = _file(spec)
        if file:
            yield spec, file
        if spec.submodule_search_locations is None or (spec.has_location and not file):
            return  # a module, or somebody else's package


def _spec(name: str) -> ModuleSpec | None:
    """Where a module is; None if nowhere. Its packages are not imported, as `find_spec` would."""
    with suppress(Exception):
        first, *inside = name.split(".")
        spec = find_spec(first) or PathFinder.find_spec(first, [os.getcwd()])
        for part in inside:
            spec = spec and _submodule(spec, part)
        return spec
    return None


def _submodule(package: ModuleSpec, name: str) -> ModuleSpec | None:
    """A module of a package, or a folder of modules in it."""
    finders = [get_importer(folder) for folder in package.submodule_search_locations or ()]
    specs = [finder.find_spec(f"{package.name}.{name}") for finder in finders if finder]
    found = [spec for spec in specs if spec]
    return next((spec for spec in found if spec.loader), found[0] if found else None)


def _file(spec: ModuleSpec) -> Path | None:
    """The file of a module of one's own."""
    if not spec.has_location or spec.origin is None or spec.name.partition(".")[0] == PACKAGE:
        return None
    path = Path(spec.origin)
    ours = path.is_file() and not path.is_relative_to(STANDARD) and INSTALLED.isdisjoint(path.parts)
    return path if ours else None


def _digest(file: Path) -> str:
    content = file.read_bytes()
    with suppress(SyntaxError, ValueError):
        content = _code(ast.parse(content)).encode()
    return hashlib.sha256(content).hexdigest()[:10]


def _code(tree: ast.Module) -> str:
    """A module's code in one layout, without docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = None
    return ast.unparse(tree)


def _imported(spec: ModuleSpec, file: Path) -> Iterator[str]:
    """The dotted names that a module imports, in functions too."""
    with suppress(SyntaxError, ValueError, ImportError):  # of what is no Python, or would fail when it is imported
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = resolve_name("." * node.level + (node.module or ""), spec.parent)
                yield from (f"{base}.{alias.name}" for alias in node.names)
