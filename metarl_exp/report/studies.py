"""Which runs belong together: those of one configuration are the seeds of a method, and methods whose environments
and test tasks are the same make a study. Returns on others are not comparable.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from metarl_exp.report.runs import Run
from metarl_exp.runs import results
from metarl_exp.wiring.keys import NOT_IN_FINGERPRINT


class Method(NamedTuple):
    """One configuration, and its finished runs, which differ in their seeds."""

    name: str
    runs: list[Run]

    def returns(self) -> np.ndarray:
        """Returns [seeds, tasks, K + 1] of the best θ on the test tasks after 0 … K gradient steps."""
        return np.stack([_returns(run) for run in self.runs])


class Study(NamedTuple):
    """Methods on the same test tasks of the same environments."""

    environment: str
    tasks: int
    methods: list[Method]


def counted(methods: Iterable[Method]) -> str:
    """Unit that the columns of all methods count: see `results.counted_together`."""
    return results.counted_together(run.evaluation for method in methods for run in method.runs)


class Differing:
    """The configuration's keys that vary over runs, which are taken in one at a time; of their values two are kept.

    A key that a configuration lacks counts as another value. Jobs without one, of which only some keys are known, add
    values to the keys of the others.
    """

    def __init__(self) -> None:
        self._configured, self._typed = Counter[str](), Counter[str]()
        self._runs = 0  # that have a configuration
        self._values: dict[str, set[str]] = {}

    def take(self, run: Run) -> None:
        """One more run."""
        self._runs += bool(run.text)
        (self._configured if run.text else self._typed).update(run.settings.keys())
        for key, value in run.settings.items():
            values = self._values.setdefault(key, set())
            if len(values) < 2:
                values.add(value)

    def keys(self) -> list[str]:
        """Differing keys, the seed last."""
        keys = self._configured or self._typed
        varying = (k for k in keys if len(self._values[k]) > 1 or 0 < self._configured[k] < self._runs)
        return sorted(varying, key=lambda key: key == "seed")


def studies(runs: Sequence[Run]) -> list[Study]:
    """The finished runs, grouped; in the order in which they stand."""
    return [
        Study(_environment_name(together[0]), together[0].evaluation["tasks"]["n"], _methods(together))
        for together in _grouped((run for run in runs if run.evaluation), lambda run: run.measured_on)
    ]


def _methods(runs: Sequence[Run]) -> list[Method]:
    """The runs of one study by their configuration, each with a name of its own."""
    groups, shared = _grouped(runs, lambda run: (_fingerprint(run), _returns(run).shape)), _typed(runs)
    names = [_name(group, shared) for group in groups]
    often = Counter(names)
    return [
        Method(name if often[name] == 1 else f"{name} ({_fingerprint(group[0])})", group)
        for name, group in zip(names, groups, strict=True)
    ]


def _returns(run: Run) -> np.ndarray:
    return np.array(run.evaluation["theta"]["best"]["returns"], float)


def _fingerprint(run: Run) -> str:
    return run.provenance["fingerprint"]


def _grouped(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> list[list[Run]]:
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _environment_name(run: Run) -> str:
    environment = run.provenance["environment"]
    return ", ".join(filter(None, [environment["id"].rsplit(".", 1)[-1], environment["physics"]]))


def _name(runs: Sequence[Run], shared: Collection[str]) -> str:
    """Overrides typed for all of these runs and not `shared` by all, or the name of the configuration's folders."""
    own = [o for o in _typed(runs) if o not in shared and re.split(r"[.=]", o)[0] not in NOT_IN_FINGERPRINT]
    return ", ".join(own) or runs[0].status.name.rsplit("-seed", 1)[0]


def _typed(runs: Sequence[Run]) -> list[str]:
    """Overrides typed for all of these runs, in the order of the first."""
    others = [set(run.status.overrides) for run in runs]
    return [o for o in dict.fromkeys(runs[0].status.overrides) if all(o in typed for typed in others)]
