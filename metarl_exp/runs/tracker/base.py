"""The contract of a tracker, and the one that does nothing."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol


class RunInfo(NamedTuple):
    """Name, group, folder, configuration and tags of a run, for a tracker."""

    id: str  # unique, the same when a run is continued
    name: str
    group: str
    folder: Path
    config: dict[str, Any]
    tags: list[str]


class Tracker(Protocol):
    """A consumer of metrics: calls return at once and never raise."""

    def start(self, run: RunInfo) -> None: ...
    def log(self, metrics: dict[str, float], step: int) -> None: ...

    def finish(self, summary: dict[str, float], figures: list[Path], failed: bool) -> str | None:
        """Close the run; a line about what went wrong with tracking, if something did."""
        ...


class NoTracker:
    """Local files only."""

    def start(self, run: RunInfo) -> None: ...

    def log(self, metrics: dict[str, float], step: int) -> None: ...

    def finish(self, summary: dict[str, float], figures: list[Path], failed: bool) -> str | None:
        return None
