"""Output of commands: streams to which printing cannot fail, and a console on them.

A run must not fail because its table could not be printed. A terminal or log may lack characters (an ASCII or Latin-1
locale), a pipe its reader (`| head`), a disk room for one more line: then text is lost or spelled out, never a run.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TextIO, TypeVar

from rich.console import Console
from rich.text import Text

SPELLED = {
    "±": "+-", "×": "x", "−": "-", "–": "-", "—": "-", "·": "|", "•": "*", "…": "...", "→": "->", "≥": ">=", "≤": "<=",
    "≠": "!=", "²": "^2", "√": "sqrt ", "∇": "grad ", "«": '"', "»": '"', "“": '"', "”": '"', "‘": "'", "’": "'",
}  # fmt: skip

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tabs and the ends of lines

P = ParamSpec("P")
T = TypeVar("T")


def safely(act: Callable[P, T]) -> Callable[P, T]:
    """Around a command, or what a launcher calls in another process: what it prints cannot fail."""

    @wraps(act)
    def acting(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is getattr(sys, f"__{name}__"):  # the process's own, and not what somebody else put there
                setattr(sys, name, _unfailing(stream))
        return act(*args, **kwargs)

    return acting


def console(soft_wrap: bool = False) -> Console:
    """A console to print to, as wide as the terminal, and wide in a log file, which has no edge to wrap at.

    A string is shown as it is, in tables too: brackets and colons in paths and commands mean nothing, and a style is
    given by `Text` alone.
    """
    shown = _SpellingConsole(soft_wrap=soft_wrap, markup=False, emoji=False)
    if not shown.is_terminal:
        shown.width = 160
    return shown


class _SpellingConsole(Console):
    """Spells out what its stream cannot show before the columns of a table are made as wide as their cells.

    So are control characters, with which a name or a reason could write anywhere on a terminal.
    """

    def render_str(self, text: str, **settings: Any) -> Text:
        shown = text.encode(self.encoding, "spelled").decode(self.encoding)
        return super().render_str(CONTROL.sub(lambda found: repr(found[0])[1:-1], shown), **settings)


class _Unfailing(io.FileIO):
    """A descriptor that takes everything, whatever becomes of it."""

    def write(self, data: Any) -> int:
        with suppress(OSError):  # of a pipe without a reader, a full disk, a terminal that is gone
            written = super().write(data)
            if written is not None:  # of one that would have to wait
                return written
        return memoryview(data).nbytes


def _unfailing(stream: TextIO | None) -> TextIO:
    """A standard stream again, to which writing cannot fail; nowhere, if it was closed before the process began."""
    if not isinstance(stream, io.TextIOWrapper):
        return open(os.devnull, "w", encoding="utf-8")
    stream.flush()
    raw = _Unfailing(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),  # type: ignore[arg-type]
        encoding=stream.encoding,
        errors="spelled",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """ASCII for what an encoding lacks: θ becomes theta, ± becomes +-, é becomes e, and anything else ?."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    if character in SPELLED:
        return SPELLED[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK SMALL LETTER "):
        return name.split()[3].lower()
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


codecs.register_error("spelled", _spelled)
