"""Check a task distribution before training on it.

    metarl-check NAME [key=value ...]

NAME is an option of conf/tasks, a YAML file with a `_target_`, or a dotted class; modules of the current folder count.
Exit status 0 if no fault was found, 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from rich.table import Table
from rich.text import Text

from metarl_exp import wiring
from metarl_exp.checker import FAULT, LIMIT, NOT_RUN, NOTE, PASSED, Finding, check
from metarl_exp.process.printing import console
from metarl_exp.runs.ending import command
from metarl_exp.tasks.base import TaskDistribution

STYLES = {PASSED: "green", NOTE: "yellow", FAULT: "bold red", NOT_RUN: "dim"}


def check_node(node: Any) -> list[Finding]:
    """Findings about the distribution that a configuration node describes.

    Raises ValueError for a key or value that is not allowed, ModuleNotFoundError if a library is missing, and
    EnvironmentFailure if the environments cannot be made.
    """

    def with_horizon(horizon: int) -> TaskDistribution:
        other = deepcopy(node)
        other.horizon = horizon
        return wiring.tasks_of(other, LIMIT)

    return check(wiring.tasks_of(node, LIMIT), with_horizon if "horizon" in node else None)


def table(title: str, findings: Sequence[Finding]) -> Table:
    """The findings as rows."""
    shown = Table("check", "verdict", "what was seen", title=title, title_justify="left")
    for name, verdict, seen in findings:
        shown.add_row(name, Text(verdict, STYLES[verdict]), seen)
    return shown


@command("metarl-check")
def main() -> None:
    """The command `metarl-check`."""
    parser = argparse.ArgumentParser("metarl-check", description="Check a task distribution before training on it.")
    parser.add_argument("name", metavar="NAME", help="an option of conf/tasks, a YAML file, or a dotted class")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="arguments of the distribution")
    parser.add_argument("--config-dir", help="a folder of your own with tasks/NAME.yaml")
    arguments = parser.parse_args()
    findings = check_node(wiring.task_node(arguments.name, arguments.settings, arguments.config_dir))
    shown = console()
    shown.print(table(" ".join([arguments.name, *arguments.settings]), findings))
    faults = sum(finding.verdict == FAULT for finding in findings)
    shown.print(f"{faults} fault{'' if faults == 1 else 's'} found" if faults else "no fault found")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
