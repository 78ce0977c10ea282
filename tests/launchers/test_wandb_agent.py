"""The W&B sweep of the examples: what its agent would run, without the server that the agent talks to."""

import sys
from pathlib import Path

import pytest
import wandb
import yaml
from wandb.sdk.launch.sweeps import utils

from metarl_exp.commands import train

pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[2] / "examples" / "wandb_sweep.yaml"


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """The environment that the agent gives to its command, and what that is for a proposal."""
    for name, value in {"WANDB_SWEEP_ID": "swe3p1d0", "WANDB_RUN_ID": "agentsid", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    declared = yaml.safe_load(FILE.read_text())

    def command(**proposed: object) -> list[str]:
        given = utils.create_sweep_command_args({"args": {k: {"value": v} for k, v in proposed.items()}})
        macros = {**given, "env": ["/usr/bin/env"], "program": [declared["program"]]}
        found = []
        for word in utils.create_sweep_command(declared["command"]):
            found += macros[word[2:-1]] if word.startswith("${") else [word]
        return found

    wandb.teardown()
    yield declared, command
    wandb.teardown()


def test_the_agent_s_command_trains_and_writes_to_the_agent_s_run(agent, monkeypatch, tmp_path, tiny):
    declared, command = agent
    proposed = {k: v.get("value", v.get("values", [v.get("min")])[0]) for k, v in declared["parameters"].items()}
    env, *arguments = command(**proposed)
    assert env == "/usr/bin/env"
    assert arguments[:2] == ["metarl-train", "tracker.mode=online"]
    assert "inner_optimizer.lr=0.01" in arguments
    own = [word for word in tiny if not word.startswith("tracker")]
    monkeypatch.setattr(sys, "argv", [*arguments, *own, "tracker.mode=offline", f"output_root={tmp_path}/outputs"])
    train.main()
    wandb.teardown()  # its service writes behind
    (file,) = tmp_path.glob("outputs/*/wandb/offline-run-*-agentsid/run-agentsid.wandb")
    assert declared["metric"]["name"].encode() in file.read_bytes()
