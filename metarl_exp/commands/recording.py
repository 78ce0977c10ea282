"""The state of a run in its `status.json`, from before its ranks meet until it has ended in whatever way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from metarl_exp.process.failures import RankFailure
from metarl_exp.runs import ending
from metarl_exp.runs.run_folder import RunFolder


@contextmanager
def recorded(folder: RunFolder, say: Callable[[str], None], command: str) -> Iterator[None]:
    """Around a run: record it as running, and in the end as finished, interrupted or failed, with the reason.

    A run that was stopped says with which `command` it continues. Raises SystemExit(130) for a run stopped by a signal,
    JobFailed with the reason and the place of the traceback for one that failed.
    """
    folder.set_state("running")
    try:
        yield
    except KeyboardInterrupt:
        _end(folder, "interrupted", "stopped by a signal")
        say(_continuing("stopped", command))
        raise SystemExit(130) from None
    except RankFailure as lost:
        _end(folder, "failed", str(lost))
        say(_continuing("a rank was lost", command))
        raise _failed(folder, lost) from lost
    except Exception as error:
        _end(folder, "failed", f"{type(error).__name__}: {error}")
        raise _failed(folder, error) from error
    folder.set_state("finished")


def _end(folder: RunFolder, state: str, why: str) -> None:
    """Record how the run ended. Where nothing can be written, as on a full disk, that hides no reason."""
    with suppress(OSError):
        folder.set_state(state, why)


def _continuing(why: str, command: str) -> str:
    return f"\n{why}; everything up to the last iteration is saved. To continue:\n  {command}"


def _failed(folder: RunFolder, error: Exception) -> ending.JobFailed:
    return ending.JobFailed(f"{ending.reason(error, folder.path)} (traceback: {folder.log})")
