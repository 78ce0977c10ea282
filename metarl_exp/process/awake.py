"""Time in which this process ran. Limits count it, so that a machine that slept, or a job that was stopped, loses none.

Nobody tells a process that it was stopped: a moment has only taken far longer than it should. So a limit is counted in
slices, and one that took longer counts as what it should have taken.
"""

import time

SLICES = 20  # of a limit: a stop costs one of them at most, and few looks disturb nobody; ours
SHORTEST, LONGEST = 0.01, 60.0  # s, of a slice; ours. Timers overflow at about three hundred years


class Countdown:
    """A limit in seconds, of which `left` are left. Whoever waits looks at it at least after every `pause`."""

    def __init__(self, limit: float) -> None:
        self.limit = self.left = limit
        self.slice = min(max(limit / SLICES, SHORTEST), LONGEST)
        self.seen = time.monotonic()

    @property
    def pause(self) -> float:
        """Seconds until the next look; a whole slice if nothing is left."""
        return min(self.slice, self.left) if self.left > 0 else self.slice

    def look(self) -> float:
        """Seconds that are left."""
        now = time.monotonic()
        self.left -= min(now - self.seen, self.slice)
        self.seen = now
        return self.left

    def skip(self) -> None:
        """Count nothing of the time since the last look."""
        self.seen = time.monotonic()
