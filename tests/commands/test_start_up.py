"""Start-up: the libraries that imports and commands do without, most of which take a good part of a second or more."""

import copy
import json
import subprocess
import sys
from pathlib import Path

from hydra.core.config_store import ConfigStore

import metarl_exp
from metarl_exp.commands import train  # noqa: F401, which readies Hydra

HEAVY = ["torch", "numpy", "scipy", "matplotlib", "PIL", "gymnasium", "mujoco", "higher", "wandb", "jinja2", "hydra"]
NEEDED = {  # by lines of Python, which run one after the other: those of HEAVY that have been imported
    "import metarl_exp": [],
    "command('status', 'metarl-status', 'outputs')": [],
    "command('train', 'metarl-train', '--version')": ["hydra"],
    "command('train', 'metarl-train', '-sc', 'query=bash')": ["hydra"],
    "command('train', 'metarl-train', '--help')": ["hydra"],
    "command('train', 'metarl-train', '--cfg', 'job', 'method=anil', 'policy=gaussian_mlp')": ["hydra"],
    "command('train', 'metarl-train', 'taks=cartpole')": ["hydra"],
    "command('report', 'metarl-report', 'outputs')": ["numpy", "scipy", "matplotlib", "PIL", "jinja2", "hydra"],
}
WATCHED = """
import contextlib, importlib, io, json, sys

def command(module, *argv):
    sys.argv = [*argv]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        importlib.import_module(f"metarl_exp.commands.{module}").main()

heavy, lines = json.loads(sys.argv[1])
for line in lines:
    exec(line)
    print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def needed(lines: list[str], folder: Path) -> list[list[str]]:
    """Libraries that have been imported after each line, run one after the other in one process and a folder."""
    (folder / "outputs").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps([HEAVY, lines])],
        cwd=folder,
        env={"PYTHONPATH": str(Path(metarl_exp.__file__).parents[1]), "COMP_LINE": "metarl-train tasks="},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_command_that_trains_nothing_imports_nothing_that_trains(tmp_path):
    found = needed(list(NEEDED), tmp_path)
    assert dict(zip(NEEDED, found, strict=True)) == NEEDED


def test_the_algorithm_is_imported_without_what_configures_draws_and_tracks(tmp_path):
    (found,) = needed(["from metarl_exp import MetaLearner"], tmp_path)
    assert not {"hydra", "wandb", "matplotlib", "jinja2", "mujoco"} & set(found)


def test_help_does_not_copy_all_options_for_each_group_and_what_is_composed_is_a_copy():
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    assert store.load("hydra/config.yaml").node is not store.load("hydra/config.yaml").node
