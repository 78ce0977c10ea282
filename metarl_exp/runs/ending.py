"""How a command ends that cannot go on: its last line is the reason, with what to do where that is known.

A traceback stands above it only where no log has it: of an environment, or of an error that nobody expected.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from metarl_exp.process.failures import EnvironmentFailure, NonFiniteError, RankFailure
from metarl_exp.process.printing import safely
from metarl_exp.runs.run_folder import FolderRefused
from metarl_exp.runs.sweep import NotBegun

P = ParamSpec("P")
T = TypeVar("T")

# What to do about errors of the file system, beside what the system says of them.
ELSEWHERE = "choose another folder, such as with output_root=…, or change what is allowed in this one"
ROOM = "make room, and the same command continues"
ADVICE = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EFBIG: "the file may not grow further (ulimit -f); with a larger limit the same command continues",
    errno.EROFS: ELSEWHERE,
    errno.EACCES: ELSEWHERE,
    errno.EPERM: ELSEWHERE,
    errno.EEXIST: "something else stands where a folder has to be; move it, or choose another folder",
    errno.ENOTDIR: "a file stands where a folder has to be; move it, or choose another folder",
    errno.EISDIR: "a folder stands where a file has to be; move it",
    errno.ENOENT: "mistyped, or deleted meanwhile",
    errno.EMFILE: "allow more open files (ulimit -n), and the same command continues",
    errno.EIO: "the disk or the network behind it fails; once it works, the same command continues",
    errno.ESTALE: "the network folder has changed behind this process; the same command continues",
}


class JobFailed(RuntimeError):
    """A run that failed. Its message is the reason in one line, and it can be sent to another process, as any string.

    Some errors cannot: they hold tensors with a graph, or are of a class that an environment has defined.
    """


SPEAKING = (  # errors whose message says what is wrong, without their name
    ValueError, ImportError, FileNotFoundError, FolderRefused, EnvironmentFailure, NonFiniteError, RankFailure,
    NotBegun, JobFailed,
)  # fmt: skip


def reason(error: BaseException, where: Path | None = None) -> str:
    """Why, in one line; `where` is the folder in question, if an error of the file system names none."""
    if isinstance(error, OSError) and error.errno in ADVICE:
        said = f"{error.filename or where}: " if error.filename or where else ""
        return f"{said}{error.strerror}: {ADVICE[error.errno]}"
    message = " ".join(str(error).split())
    return message if message and isinstance(error, SPEAKING) else f"{type(error).__name__}: {message}"


def clear(error: BaseException) -> bool:
    """Whether the reason says all that a person has to know, so that a traceback would hide it."""
    return isinstance(error, SPEAKING) or (isinstance(error, OSError) and error.errno is not None)


@contextmanager
def ending(command: str, rank: int = 0) -> Iterator[None]:
    """SystemExit with one line, «command: reason», for whatever error ends the block; 130 without a word for Ctrl-C.

    Of several ranks the first says it; another one has something to say if nobody expected it.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        if rank > 0 and clear(error):
            raise SystemExit(1) from None
        shown = error.__cause__ if isinstance(error, EnvironmentFailure) else None if clear(error) else error
        if shown is not None:
            traceback.print_exception(shown)
        raise SystemExit(f"{command}: {reason(error)}") from None


def command(name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Around a command: what it prints cannot fail, and it ends with its reason if it cannot go on."""

    def around(act: Callable[P, T]) -> Callable[P, T]:
        @safely
        @wraps(act)
        def acting(*args: P.args, **kwargs: P.kwargs) -> T:
            with ending(name):
                return act(*args, **kwargs)

        return acting

    return around
