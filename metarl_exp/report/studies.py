"""Which runs belong together: those of one configuration are the seeds of a method, and methods whose environments
and test tasks are the same make a study. Returns on others are not comparable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from metarl_exp import build, results
from metarl_exp.report.runs import Run


class Method(NamedTuple):
    """One configuration, and its finished runs, which differ in their seeds."""

    name: str
    runs: list[Run]

    def returns(self) -> np.ndarray:
        """Returns [seeds, tasks, K + 1] of the best θ on the test tasks after 0 … K gradient steps."""
        return np.array([run.evaluation["theta"]["best"]["returns"] for run in self.runs])


class Study(NamedTuple):
    """Methods on the same test tasks of the same environments."""

    environment: str
    tasks: int
    methods: list[Method]


def counted(methods: Iterable[Method]) -> str:
    """What columns count that methods share: see `results.counted_together`."""
    return results.counted_together(run.evaluation for method in methods for run in method.runs)


def differing(runs: Sequence[Run]) -> list[str]:
    """The configuration's keys that vary over the runs, the seed last.

    A key that a configuration lacks counts as another value. Jobs without one, of which only some keys are known, add
    values to the keys of the others.
    """
    configured = [run for run in runs if run.text] or runs
    keys = dict.fromkeys(key for run in configured for key in run.settings)
    values = {key: {run.settings.get(key) for run in runs if run.text or key in run.settings} for key in keys}
    return sorted((key for key in keys if len(values[key]) > 1), key=lambda key: key == "seed")


def studies(runs: Sequence[Run]) -> list[Study]:
    """The finished runs, grouped; in the order in which they stand."""
    return [
        Study(_environment_name(together[0]), together[0].evaluation["tasks"]["n"], _methods(together))
        for together in _grouped([run for run in runs if run.evaluation], _measured_on)
    ]


def _methods(runs: Sequence[Run]) -> list[Method]:
    """The runs of one study by their configuration, each with a name of its own."""
    groups = _grouped(runs, _fingerprint)
    names = [_name(group, runs) for group in groups]
    return [
        Method(name if names.count(name) == 1 else f"{name} ({_fingerprint(group[0])})", group)
        for name, group in zip(names, groups, strict=True)
    ]


def _measured_on(run: Run) -> str:
    """What two runs must have in common for their returns to be comparable."""
    return json.dumps([*(run.provenance[key] for key in ("results_version", "environment")), run.evaluation["tasks"]])


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


def _name(runs: Sequence[Run], others: Sequence[Run]) -> str:
    """What was typed for all of these and not for all of the others, or the name of the configuration's folders."""

    def typed(some: Sequence[Run]) -> dict[str, None]:
        return dict.fromkeys(o for o in some[0].status.overrides if all(o in run.status.overrides for run in some))

    own = [o for o in typed(runs) if o not in typed(others) and re.split(r"[.=]", o)[0] not in build.NOT_IN_FINGERPRINT]
    return ", ".join(own) or runs[0].status.name.rsplit("-seed", 1)[0]
