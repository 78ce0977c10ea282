"""Files that are read again: written whole or not at all, and refused by name if they are damaged.

A file holds a digest of its own content, so that there is no moment at which only one of the two is new: a JSON object
under a key, YAML in a comment at its end. A file without one was written before there were digests, or by hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

DIGEST = "sha256"
HEXADECIMAL = re.compile("[0-9a-f]{64}")
LAST_COMMENT = re.compile(rf"(# {DIGEST} )?({HEXADECIMAL.pattern})\n?\Z".encode())  # of YAML
LENGTH = 80  # of the name of a file, without its ending
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C a configuration takes a tenth of the time


class DamagedFile(ValueError):
    """A file whose content is not what was written: cut short, empty, changed. The message begins with its path."""


def digest(content: bytes) -> str:
    """The SHA-256 of some content, in hex digits."""
    return hashlib.sha256(content).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write all of the content or none of it, whenever the process or the machine dies; it is on disk afterwards."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk; some network file systems cannot, and do it by themselves."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path, *keys: str) -> Any:
    """Content of a JSON file, an object that has these `keys` if any are named; `a.b` is the key b of the object a.

    Raises DamagedFile if it is not JSON, is not what its digest is of, or lacks a key; FileNotFoundError if there is no
    such file.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8
        raise DamagedFile(f"{path}: {_empty(path) or f'not JSON ({error})'}") from None
    content = without_digest(path, content)
    for key in keys:
        require_key(path, content, key)
    return content


def with_digest(content: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with its digest under a key more."""
    return content | {DIGEST: digest(_canonical(json.loads(json.dumps(content))))}


def without_digest(path: Path, content: Any) -> Any:
    """JSON as it was before it got its digest; DamagedFile, which names the file it is from, if that is another."""
    if not isinstance(content, dict):
        return content
    if (found := content.pop(DIGEST, None)) is not None:
        _require_digest(path, found, _canonical(content))
    elif content and HEXADECIMAL.fullmatch(str(list(content.values())[-1])):
        raise _nameless(path)
    return content


def require_key(path: Path, content: Any, key: str) -> None:
    """Raise DamagedFile, naming the file and the key, if what was read from a file lacks a key (dotted if nested)."""
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            raise DamagedFile(f"{path}: it has no {key!r}")
        content = content[part]


@contextmanager
def making_sense_of(path: Path) -> Iterator[None]:
    """Around the use of what a file says: raises DamagedFile, naming it, if that is of another kind."""
    try:
        yield
    except DamagedFile:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DamagedFile(f"{path}: its content is of another kind ({type(error).__name__}: {error})") from error


def said(error: DamagedFile | OSError) -> str:
    """One line on a file that could not be read, which begins with its path."""
    if isinstance(error, OSError) and error.filename:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def write_yaml(path: Path, text: str) -> None:
    """Write YAML atomically, with the digest that `read_yaml` checks."""
    content = text.encode()
    write_atomically(path, content + f"# {DIGEST} {digest(content)}\n".encode())


def read_yaml(path: Path, *keys: str) -> Any:
    """Content of a YAML file, with these `keys` as for `read_json`; plain data alone: tags of objects are refused.

    Raises DamagedFile if it is not YAML, is not what its digest is of, or lacks a key; FileNotFoundError if there is no
    such file.
    """
    text = path.read_bytes()
    if last := LAST_COMMENT.search(text):
        if not last[1]:
            raise _nameless(path)
        _require_digest(path, last[2].decode(), text[: last.start()])
    try:
        content = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date may be none
        raise DamagedFile(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    for key in keys:
        require_key(path, content, key)
    return content


def _nameless(path: Path) -> DamagedFile:
    """The error of a digest under another name; an older file has no digest at all."""
    return DamagedFile(f"{path}: the name of its {DIGEST} is damaged")


def _require_digest(path: Path, found: str, content: bytes) -> None:
    if found != digest(content):
        raise DamagedFile(
            f"{path}: its content does not match its {DIGEST}: damaged, or edited by hand; an edited file has none"
        )


def _canonical(content: dict[str, Any]) -> bytes:
    """A JSON object, as it is read, in bytes that are the same however its file is laid out."""
    return json.dumps(content, sort_keys=True).encode()


def file_name(*words: str) -> str:
    """A file's name that says some words, with `_` between them: at most LENGTH letters, digits, `-`, `_` and `.`.

    Where it cannot say all, it ends in ten hex digits that tell it from names which would look the same.
    """
    name = "_".join("-".join(re.findall(r"[\w.]+", word, re.ASCII)) for word in words)
    if name == "_".join(words) and len(name) <= LENGTH:
        return name
    told_apart = digest(json.dumps(words).encode())[:10]
    return f"{name[: LENGTH - 1 - len(told_apart)]}_{told_apart}"


def _empty(path: Path) -> str | None:
    return None if path.stat().st_size else "it is empty"
