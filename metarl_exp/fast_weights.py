"""What adapts: which parameters the inner loop changes. The others are shared by all tasks."""

from collections.abc import Iterable


class All:
    """Every parameter adapts, log-std included.  [finn2017maml]"""

    def select(self, names: Iterable[str]) -> list[str]:
        """The names among `names` that adapt."""
        return list(names)
