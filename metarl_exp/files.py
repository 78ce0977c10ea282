"""Files that are read again: written whole or not at all, and refused by name if they are damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml


class DamagedFile(ValueError):
    """A file whose content is not of its kind: cut short, empty, overwritten. The message begins with its path."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write all of the content or none of it, whenever the process dies."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_json(path: Path, *keys: str) -> Any:
    """Content of a JSON file, an object that has these `keys` if any are named; `a.b` is the key b of the object a.

    Raises DamagedFile if it is not JSON or lacks a key, FileNotFoundError if there is no such file.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8
        raise DamagedFile(f"{path}: {_empty(path) or f'not JSON ({error})'}") from None
    for key in keys:
        require_key(path, content, key)
    return content


def require_key(path: Path, content: Any, key: str) -> None:
    """Raise DamagedFile, naming the file and the key, if what was read from a file lacks a key (dotted if nested)."""
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            raise DamagedFile(f"{path}: it has no {key!r}")
        content = content[part]


def read_yaml(path: Path) -> Any:
    """Content of a YAML file, plain data alone: tags of Python objects are refused.

    Raises DamagedFile if it is not YAML, FileNotFoundError if there is no such file.
    """
    try:
        return yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise DamagedFile(f"{path}: not YAML ({' '.join(str(error).split())})") from None


def _empty(path: Path) -> str | None:
    return None if path.stat().st_size else "it is empty"
