"""The page on tasks of one's own, done as it says: its files are written, its commands are run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from metarl_exp.commands import check, evaluate, train
from metarl_exp.runs.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your-own-tasks.md").read_text()
FILES = dict(re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"^    (metarl-.+)$", PAGE, re.MULTILINE)
SMALL = ["experiment=smoke", "iterations=2", "policy.hidden_sizes=[8]", "tasks.horizon=10", "threads=1", "tracker=none"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A user's folder with the files of the page, and nothing of it left in this process afterwards."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("wind", None)


def test_the_page_has_the_files_and_commands_that_this_test_looks_for():
    assert set(FILES) == {"wind.py", "tasks/wind.yaml", "tasks/swing.yaml"}
    assert PAGE.count("```") == 2 * len(FILES)
    verbs = [command.split()[0] for command in COMMANDS]
    assert verbs == [f"metarl-{verb}" for verb in ("check", "check", "train", "evaluate", "check", "train")]


def test_the_example_is_about_thirty_lines():
    code = [line for line in FILES["wind.py"].splitlines() if line.strip() and "import" not in line]
    assert len(code) <= 32


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("metarl-check")])
def test_the_checks_find_no_fault(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        check.main()
    printed = capsys.readouterr().out
    assert ended.value.code == 0, printed
    assert "no fault found" in printed
    assert "FAULT" not in printed
    assert "note" not in printed or "swing" in command


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("metarl-train")])
def test_the_trainings_run_to_the_end(command, folder, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", [*shlex.split(command), *SMALL])
    train.main()
    (path,) = (folder / "outputs").iterdir()
    run = RunFolder(path)
    assert run.state() == "finished"
    assert len(run.read_metrics()) == 2
    identity = run.read_json("provenance.json")["environment"]
    assert identity["id"] == ("wind.Wind" if "wind" in command else "metarl_exp.tasks.GymnasiumTasks")
    assert re.fullmatch("[0-9a-f]{10}", identity["golden"])
    if "wind" in command:
        require_readable_if_trusted(path, monkeypatch, capfd)


def require_readable_if_trusted(run, monkeypatch, capfd):
    """The page's command for a run on tasks of one's own, without its flag and with it."""
    (reads,) = (command for command in COMMANDS if command.startswith("metarl-evaluate"))
    typed = shlex.split(reads.replace("RUN", run.name))
    monkeypatch.setattr(sys, "argv", [word for word in typed if word != "--trust"])
    with pytest.raises(SystemExit, match=r"would run tasks\._target_=wind\.Wind; .* type --trust"):
        evaluate.main()
    monkeypatch.setattr(sys, "argv", typed)
    evaluate.main()
    printed = capfd.readouterr().out
    assert f"outputs/{run.name} is trusted to run tasks._target_=wind.Wind\n" in printed
    assert "written: " in printed


def test_a_module_of_the_current_folder_counts_for_an_installed_command_too(folder):
    """Which, unlike `python -m`, does not look there by itself; hence -P."""
    entry = "from metarl_exp.commands.check import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", entry, *shlex.split(COMMANDS[0])[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "no fault found" in done.stdout
