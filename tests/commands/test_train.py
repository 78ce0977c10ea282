"""The training entry point as a user meets it: files, the same command again in every state, interruption, errors."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import metarl_exp
from metarl_exp.commands import train
from metarl_exp.runs import checkpoint
from metarl_exp.runs import metrics as glossary
from metarl_exp.runs.run_folder import RunFolder
from tests.waiting import PATIENCE, until

TINY = [
    "experiment=smoke",
    "tracker=none",
    "policy.hidden_sizes=[6]",
    "tasks.horizon=8",
    "iterations=6",
    "threads=1",
]


def command(output: Path, *overrides: str) -> list[str]:
    return ["metarl-train", *TINY, f"output_root={output}", *overrides]


@pytest.fixture
def run(undrawn, drawn_run):
    """Run a job in this process, without its figures; its folder and what it printed."""
    return drawn_run


@pytest.fixture
def drawn_run(tmp_path, monkeypatch, capfd):
    """The same with its figures."""

    def job(*overrides: str, output: Path = tmp_path, sweep: bool = False) -> tuple[RunFolder, str]:
        name, *arguments = command(output, *overrides)
        monkeypatch.setattr(sys, "argv", [name, *["-m"][: int(sweep)], *arguments])
        capfd.readouterr()
        train.main()
        (path,) = [p for p in sorted(output.iterdir()) if p.is_dir()][-1:]
        return RunFolder(path), capfd.readouterr().out

    return job


def deterministic(folder: RunFolder) -> list[dict]:
    return [{k: v for k, v in r.items() if not k.startswith("perf/")} for r in folder.read_metrics()]


def test_a_run_leaves_everything_in_its_folder(drawn_run):
    folder, printed = drawn_run()
    names = {str(p.relative_to(folder.path)) for p in folder.path.rglob("*") if p.is_file()}
    assert names == {
        ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml",
        "metrics.jsonl", "evaluation.json", "provenance.json", "status.json", "train.log", "lock",
        "checkpoints/latest.pt", "checkpoints/previous.pt", "checkpoints/best.pt",
        "figures/learning_curve.png", "figures/learning_curve.pdf", "figures/gradient_steps.png",
        "figures/gradient_steps.pdf", "figures/paths.png", "figures/paths.pdf",
    }  # fmt: skip
    assert folder.state() == "finished"
    assert folder.path.name.startswith("smoke-")
    assert folder.path.name.endswith("-seed0")
    assert str(folder.path) in printed
    assert "3 steps" in printed
    evaluation = folder.read_json("evaluation.json")
    assert set(evaluation["theta"]) == {"initial", "best", "last"}
    assert evaluation["theta"]["last"]["iteration"] == 6
    assert len(evaluation["theta"]["best"]["returns"]) == evaluation["tasks"]["n"] == 6
    assert len(evaluation["theta"]["best"]["returns"][0]) == 4
    provenance = folder.read_json("provenance.json")
    assert provenance["threads"] == 1
    assert provenance["environment"]["id"] == "metarl_exp.tasks.Navigation2D"
    assert provenance["fingerprint"] in folder.path.name


def test_every_logged_metric_is_in_the_glossary_and_nothing_else_is(run, tmp_path):
    logged = set()
    several_steps = ["outer_optimizer=ppo", "objective=promp"]
    critic = ["policy=mlp_critic", "advantage=critic", "objective.value_weight=0.5"]
    for i, overrides in enumerate([["adaptation=three_steps"], several_steps + critic]):
        folder, _ = run(*overrides, output=tmp_path / str(i))
        logged |= {re.sub(r"step_\d+$", "step_<k>", key) for record in folder.read_metrics() for key in record}
    assert logged == set(glossary.GLOSSARY)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(run, tmp_path):
    one, _ = run(output=tmp_path / "one")
    two, _ = run(output=tmp_path / "two")
    other, _ = run("seed=1", output=tmp_path / "other")
    assert deterministic(one) == deterministic(two)
    assert one.read_json("evaluation.json") == two.read_json("evaluation.json")
    assert deterministic(one) != deterministic(other)


@pytest.mark.parametrize("key", ["adaptation.order=first", "inner_optimizer=adam", "outer_optimizer=adam"])
def test_a_key_changes_the_numbers(run, tmp_path, key):
    """Trap 1, from the command line: the switch reaches the update."""
    base, _ = run("iterations=2", output=tmp_path / "base")
    changed, _ = run("iterations=2", key, output=tmp_path / "changed")
    assert deterministic(base)[1] != deterministic(changed)[1]
    assert base.path.name != changed.path.name


def test_a_finished_run_is_shown_and_not_touched(run):
    folder, _ = run()
    before = {p: p.stat().st_mtime_ns for p in folder.path.rglob("*") if p.is_file() and p.name != "lock"}
    again, printed = run()
    assert again.path == folder.path
    assert "already finished" in printed
    assert "3 steps" in printed
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_restart_starts_over_in_a_new_folder(run):
    first, _ = run()
    second, _ = run("restart=true")
    assert second.path.name == first.path.name + "-r1"
    assert deterministic(first) == deterministic(second)
    plain, printed = run()
    assert plain.path == second.path
    assert "already finished" in printed


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the run gets to clean up."""


def die_in_iteration(monkeypatch, number: int, where: str) -> None:
    """Let the process «die» in an iteration, before or after its checkpoint is written."""
    original = checkpoint.save_latest

    def save_latest(folder, state):
        if state["iteration"] == number and where == "before":
            raise Killed
        original(folder, state)
        if state["iteration"] == number and where == "after":
            raise Killed

    monkeypatch.setattr(checkpoint, "save_latest", save_latest)


@pytest.fixture(scope="module")
def uninterrupted():
    """Whole runs, by their options: each is made once."""
    return {}


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("number", [1, 4, 6])
@pytest.mark.parametrize("options", [[], ["outer_optimizer=adam", "inner_optimizer=adam"]], ids=["trpo", "adam"])
def test_interrupted_and_continued_equals_uninterrupted(
    run, tmp_path, monkeypatch, number, where, options, uninterrupted
):
    if tuple(options) not in uninterrupted:
        uninterrupted[tuple(options)], _ = run(*options, output=tmp_path / "whole")
    whole = uninterrupted[tuple(options)]
    with monkeypatch.context() as patched:
        die_in_iteration(patched, number, where)
        with pytest.raises(Killed):
            run(*options, output=tmp_path / "halves")
    halves, printed = run(*options, output=tmp_path / "halves")
    assert deterministic(halves) == deterministic(whole)
    assert halves.read_json("evaluation.json") == whole.read_json("evaluation.json")
    assert ("continuing at iteration" in printed) == (number > 1 or where == "after")
    assert "before it was running (no reason recorded)" in halves.log.read_text()


def test_a_damaged_checkpoint_is_refused_and_the_previous_one_used(run, tmp_path, monkeypatch):
    whole, _ = run(output=tmp_path / "whole")
    with monkeypatch.context() as patched:
        die_in_iteration(patched, 4, "after")
        with pytest.raises(Killed):
            run(output=tmp_path / "halves")
    (path,) = (tmp_path / "halves").iterdir()
    latest = path / "checkpoints" / "latest.pt"
    latest.write_bytes(latest.read_bytes()[:500])
    halves, printed = run(output=tmp_path / "halves")
    assert "checkpoint refused" in printed
    assert "continuing at iteration 3" in printed
    assert deterministic(halves) == deterministic(whole)


def test_a_continued_run_keeps_its_threads_and_its_tracker_s_id(run, tmp_path, monkeypatch):
    """Offline W&B cannot resume: a second folder, with the same id, which `wandb sync` joins."""
    tracked = ["tracker=wandb", "tracker.mode=offline"]
    with monkeypatch.context() as patched:
        die_in_iteration(patched, 2, "after")
        with pytest.raises(Killed):
            run(*tracked)
    folder, printed = run(*tracked, "threads=2")
    assert "continuing with threads=1, as the run began" in printed
    assert folder.read_json("provenance.json")["threads"] == torch.get_num_threads() == 1
    identifier = folder.read_json("provenance.json")["tracker_id"]
    files = list((folder.path / "wandb").glob("offline-run-*/*.wandb"))
    assert {file.name for file in files} == {f"run-{identifier}.wandb"}


def start(output: Path, *overrides: str, **environment: str) -> subprocess.Popen:
    """A run in a process of its own."""
    arguments = [sys.executable, "-m", "metarl_exp.train", *command(output, *overrides)[1:]]
    root = str(Path(train.__file__).parents[2])
    return subprocess.Popen(
        arguments,
        env={**os.environ, "PYTHONPATH": root, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which is ignored in a shell's background
    )


def wait_for_iterations(output: Path, number: int) -> RunFolder:
    def there() -> list[Path]:
        return [path for path in output.glob("*/metrics.jsonl") if len(path.read_text().splitlines()) >= number]

    return RunFolder(until(there)[0].parent)


def test_sigkill_a_second_launch_and_the_same_command_again(run, tmp_path):
    """A real process killed with SIGKILL; while it lives, a second launch of its command is refused."""
    process = start(tmp_path / "killed", "iterations=40")
    folder = wait_for_iterations(tmp_path / "killed", 3)
    process.send_signal(signal.SIGSTOP)  # or it might end before the second launch
    with pytest.raises(SystemExit, match=f"in use by .*{process.pid}"):
        run("iterations=40", output=tmp_path / "killed")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert folder.state() == "running"
    killed, _ = run("iterations=40", output=tmp_path / "killed")
    whole, _ = run("iterations=40", output=tmp_path / "whole")
    assert deterministic(killed) == deterministic(whole)
    assert killed.read_json("evaluation.json") == whole.read_json("evaluation.json")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_continue(tmp_path, sent):
    process = start(tmp_path, "iterations=100000")
    folder = wait_for_iterations(tmp_path, 2)
    process.send_signal(sent)
    printed = process.communicate(timeout=PATIENCE)[0].decode()
    assert process.returncode == 130
    assert folder.state() == "interrupted"
    assert "To continue" in printed
    assert "metarl-train experiment=smoke" in printed
    assert "Traceback" not in printed


def test_a_quantity_that_is_not_finite_stops_the_run_and_saves_the_batch(run, tmp_path, monkeypatch):
    from metarl_exp.tasks.navigation_2d import NavigationEnv

    original = NavigationEnv.step

    def poisoned(self, action):
        step = original(self, action)
        if len(action) <= 3:  # those of the golden rollout, which tells that the code is another
            return step
        return step._replace(reward=step.reward.index_fill(0, torch.tensor([2]), float("nan")))

    with monkeypatch.context() as patched:
        patched.setattr(NavigationEnv, "step", poisoned)
        with pytest.raises(SystemExit):
            run()
    (path,) = tmp_path.iterdir()
    folder = RunFolder(path)
    status = folder.read_json("status.json")
    assert status["state"] == "failed"
    assert "rewards" in status["reason"]
    assert "first at [2, 0, 0]" in status["reason"]
    batch = torch.load(path / "failed_batch.pt", weights_only=True)
    assert batch["rewards"][2].isnan().any()
    folder, _ = run()
    assert folder.state() == "finished"


def test_the_folder_of_another_configuration_is_refused_naming_the_key(run):
    folder, _ = run()
    with pytest.raises(SystemExit, match="adaptation.order: first ≠ second"):
        run("adaptation.order=first", f"hydra.run.dir={folder.path}")


def test_mistakes_end_before_any_folder_is_made(run, tmp_path):
    for override in ("sead=1", "+sead=1", "adaptation.order=secnd", "tasks=cartpol"):
        with pytest.raises(SystemExit, match="did you mean"):
            run(override)
    for refused, reason in {
        "~iterations": "missing key 'iterations'",
        "seed=???": "Missing mandatory value: seed",
        "--config-name=mine": "are not supported",
        "--config-path=conf": "are not supported",
        "--experimental-rerun=config.pickle": "reads a pickle",
    }.items():
        with pytest.raises(SystemExit, match=reason):
            run(refused)
    with pytest.raises(SystemExit, match="without --multirun"):
        run("--cfg=job", sweep=True)
    assert list(tmp_path.iterdir()) == []


def test_a_shell_is_told_how_to_complete_the_command(monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["metarl-train", "-sc", "install=bash"])
    train.main()
    assert "complete -o nospace -o default -F hydra_bash_completion metarl-train" in capfd.readouterr().out


def test_a_sweep_runs_every_job_in_a_folder_of_its_own(run, tmp_path):
    run("seed=0,1", "iterations=2", sweep=True)
    names = sorted(p.name for p in tmp_path.iterdir() if p.is_dir() and p.name != "sweeps")
    assert len(names) == 2
    assert [name[-6:] for name in names] == ["-seed0", "-seed1"]
    assert names[0][:-1] == names[1][:-1]
    assert all(RunFolder(tmp_path / name).state() == "finished" for name in names)


def test_init_from_starts_at_the_best_theta_of_another_run(run, tmp_path):
    first, _ = run(output=tmp_path / "first")
    second, _ = run("iterations=0", f"init_from={first.path}", output=tmp_path / "second")
    best = first.read_json("evaluation.json")["theta"]["best"]["returns"]
    assert second.read_json("evaluation.json")["theta"]["initial"]["returns"] == best


def test_a_finished_run_loads_and_evaluates_again(drawn_run, tmp_path, monkeypatch):
    from metarl_exp.commands import evaluate

    folder, _ = drawn_run("evaluation.best_by=training_return")
    learner = metarl_exp.load(folder.path)
    best = torch.load(folder.path / "checkpoints" / "best.pt", weights_only=True)["theta"]
    assert all(torch.equal(p, best[name]) for name, p in learner.theta.items())
    stored = folder.read_json("evaluation.json")
    path = evaluate.evaluate(folder.path, [])
    assert json.loads(path.read_text())["theta"]["best"] == stored["theta"]["best"]
    path = evaluate.evaluate(
        folder.path, ["steps=5", "evaluation.step_size_schedule=[1,0.1]", "deterministic=true", "theta=latest"]
    )
    content = json.loads(path.read_text())
    assert len(content["theta"]["latest"]["mean"]) == 6
    assert content["protocol"]["step_size_schedule"] == [1, 0.1]
    assert folder.read_json("evaluation.json") == stored
    with pytest.raises(ValueError, match="did you mean 'steps'"):
        evaluate.evaluate(folder.path, ["stepz=5"])
    monkeypatch.setattr(sys, "argv", ["metarl-evaluate", str(tmp_path)])
    with pytest.raises(SystemExit, match="not the folder of a run"):
        evaluate.main()


def test_the_best_by_training_return_is_the_theta_that_sampled_it(run):
    """Not the one after the step: what was measured is what is kept."""
    folder, _ = run("evaluation.best_by=training_return")
    returns = [record["return/step_1"] for record in folder.read_metrics()]
    best = torch.load(folder.path / "checkpoints" / "best.pt", weights_only=True)
    assert best["iteration"] == max(range(len(returns)), key=returns.__getitem__)
    assert best["score"] == pytest.approx(max(returns), rel=1e-6)


def test_the_last_iterate_is_taken_whatever_its_returns(run):
    folder, _ = run("evaluation.best_by=last", "evaluation.validate_every=1")
    best, latest = (torch.load(folder.path / "checkpoints" / f"{name}.pt") for name in ("best", "latest"))
    assert best["iteration"] == len(folder.read_metrics())
    assert all(torch.equal(p, latest["theta"][name]) for name, p in best["theta"].items())
    theta = folder.evaluation()["theta"]
    assert theta["best"]["returns"] == theta["last"]["returns"]


def test_a_run_that_would_choose_the_easiest_batch_does_not_begin(run, tmp_path):
    with pytest.raises(SystemExit, match=r"evaluation.best_by=training_return with adaptation.inner_steps=0"):
        run("evaluation.best_by=training_return", "adaptation=none", output=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_the_best_iterate_is_looked_for_with_the_best_step_size_multiplier(run, tmp_path):
    """So validation returns of a choice are the larger ones that each multiplier has alone."""
    found = []
    for i, factors in enumerate(("[1e-30]", "[1e-30,3.0]", "[3.0]")):
        chosen = f"evaluation.step_size_multipliers={factors}"
        folder, _ = run(chosen, "evaluation.validate_every=1", output=tmp_path / str(i))
        found.append([record["validation/step_1"] for record in folder.read_metrics()])
    none, best, long = found
    assert best == [max(pair) for pair in zip(none, long, strict=True)]
    assert none != long


def test_a_moved_run_is_still_a_run(run, tmp_path):
    folder, _ = run()
    shutil.move(folder.path, tmp_path / "elsewhere")
    assert metarl_exp.load(tmp_path / "elsewhere").policy is not None
