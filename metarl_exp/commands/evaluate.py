"""Evaluate a finished run again, with other settings if asked.

    metarl-evaluate RUN [--trust] [key=value ...]      keys of conf/evaluation, theta=best|latest|initial, stale=true

Writes a file of its own beside the run's `evaluation.json`, which stays as training wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metarl_exp import figures, wiring
from metarl_exp.commands.command_line import THETAS, file_stem, pairs, read_run
from metarl_exp.process.printing import console
from metarl_exp.runs import results, scoring
from metarl_exp.runs.ending import command
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.validation import require_choice


def evaluate(run: Path, settings: Sequence[str], trust: bool = False) -> Path:
    """Evaluate one θ of a run with `key=value` settings; the path of the JSON file.

    Raises ValueError for an unknown key, a value out of range, and what only a run that one may `trust` is allowed to
    do; FileNotFoundError if `run` is not a run's folder.
    """
    config = wiring.load_config(run, trust)
    given = pairs(settings)
    which = given.pop("theta", "best")
    require_choice("theta", which, THETAS)
    others = {key: value for key, value in given.items() if key != "stale"}
    learner = wiring.load(run, which, wiring.typed(given.get("stale", "false")), trust)
    evaluation = wiring.evaluation_with(config, others, beside=["theta", "stale"])
    evaluation = evaluation.with_best_step_size(learner, learner.theta)
    candidate = scoring.Candidate(wiring.theta_iteration(run, which), learner.theta)
    content, _ = scoring.evaluate(learner, evaluation, {which: candidate})
    content["settings"] = list(settings)  # as they were typed: the file's name may have no room for them
    name = file_stem("evaluation", {"theta": which} | given)
    folder = RunFolder(run)
    path = folder.write_json(f"{name}.json", content)
    figures.gradient_steps(content, folder.path / "figures", name)
    console().print(results.table(content))
    return path


@command("metarl-evaluate")
def main() -> None:
    """The command `metarl-evaluate`."""
    keys = "keys of conf/evaluation; theta=best|latest|initial; stale=true"
    print(f"written: {read_run('metarl-evaluate', 'Evaluate a run again, with other settings.', keys, evaluate)}")


if __name__ == "__main__":
    main()
