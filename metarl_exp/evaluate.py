"""Evaluate a finished run again, with other settings if asked.

    metarl-evaluate RUN [key=value ...]      keys of conf/evaluation, and theta=best|latest|initial

Writes a file of its own beside the run's `evaluation.json`, which stays as training wrote it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from metarl_exp import allocator, build, figures, results
from metarl_exp.run_folder import RunFolder
from metarl_exp.validation import require_choice

THETAS = ("best", "latest", "initial")


def evaluate(run: Path, settings: Sequence[str]) -> Path:
    """Evaluate one θ of a run with `key=value` settings; the path of the JSON file.

    Raises ValueError for an unknown key or a value out of range, FileNotFoundError if `run` is not a run's folder.
    """
    config = build.load_config(run)
    given = dict(split(setting) for setting in settings)
    which = given.pop("theta", "best")
    require_choice("theta", which, THETAS)
    learner = build.load(run, which)
    evaluation = build.evaluation_with(config, given)
    candidate = results.Candidate(build.theta_iteration(run, which), learner.theta)
    content, _ = results.evaluate(learner, evaluation, {which: candidate})
    name = "_".join(["evaluation", f"theta={which}", *(f"{k}={v.replace(' ', '')}" for k, v in sorted(given.items()))])
    folder = RunFolder(run)
    path = folder.write_json(f"{name}.json", content)
    figures.gradient_steps(content, folder.path / "figures", name)
    Console(width=None if sys.stdout.isatty() else 160).print(results.table(content))
    return path


def split(setting: str) -> tuple[str, str]:
    """key=value as a pair; an `evaluation.` in front of the key is welcome."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise ValueError(f"{setting!r}: settings are written key=value")
    return key.removeprefix("evaluation."), value


def main() -> None:
    """The command `metarl-evaluate`."""
    parser = argparse.ArgumentParser(
        "metarl-evaluate", description="Evaluate a run again, with other settings if asked."
    )
    parser.add_argument("run", type=Path, help="folder of a run, such as outputs/default-…-seed0")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="keys of conf/evaluation; theta=best|latest|initial"
    )
    arguments = parser.parse_args()
    allocator.keep_freed_memory()
    try:
        print(f"written: {evaluate(arguments.run, arguments.settings)}")
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"metarl-evaluate: {error}") from None


if __name__ == "__main__":
    main()
