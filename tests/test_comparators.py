"""What MAML is compared with, by the overrides of the page on objectives, on every task distribution."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from metarl_exp import wiring
from metarl_exp.runs import scoring
from metarl_exp.tasks.base import Closeable
from metarl_exp.wiring.composing import leaves

ROOT = Path(__file__).parents[1]
METHODS = wiring.config_dir() / "method"
PAGE = (ROOT / "docs" / "objectives.md").read_text()
SECTION = PAGE.partition("## What to compare with")[2].partition("\n## ")[0]
COMPARATORS = {name: row.split() for name, row in re.findall(r"^\| ([\w ]+) \| `([^`]+)` \|", SECTION, re.MULTILINE)}
# Meta-World has an environment of its own, where `make test-metaworld` runs these.
OPTIONS = [
    pytest.param(option, marks=pytest.mark.metaworld) if option.startswith("metaworld") else option
    for option in wiring.options(None)["tasks"]
    if option != "gymnasium"  # which environment is for its user to say
]
SMALL = [
    "tasks.horizon=2", "policy.hidden_sizes=[4]", "iterations=1", "meta_batch_size=2", "trajectories=1", "threads=1",
    "evaluation.steps=1", "evaluation.trajectories=1", "evaluation.test_tasks=2", "evaluation.validation_tasks=2",
]  # fmt: skip
SMALLER = {"trajectories": "2", "evaluation.step_size_multipliers": "[0.5,2]"}  # of what the page says, and its methods


def fitting(option: str) -> list[str]:
    """Overrides for tiny runs on a task distribution, in this process."""
    alone = ["tasks.workers=0"] if option.startswith("metaworld") else []
    discrete = wiring.component("tasks", wiring.compose([f"tasks={option}"]).tasks).spec.discrete
    return [f"tasks={option}", f"policy={'categorical' if discrete else 'gaussian'}_mlp", *alone, *SMALL]


def compared(own: list[str], comparator: list[str]) -> list[str]:
    """Tiny runs' overrides and a comparator's, smaller; what its method says is its own affair."""
    method = comparator[0].removeprefix("method=")
    says = {key for key, _ in leaves(OmegaConf.to_container(OmegaConf.load(METHODS / f"{method}.yaml")))}
    kept = [override for override in own if override.partition("=")[0] not in says]
    typed = {override.partition("=")[0] for override in comparator}
    return [*kept, *comparator, *(f"{key}={value}" for key, value in SMALLER.items() if key in says | typed)]


def measured(overrides: list[str]):
    """Train and evaluate as a run does: its parts and the content of its `evaluation.json`."""
    config = wiring.compose(overrides)
    learner, evaluation, _ = wiring.assemble(config)
    learner.train(config.iterations)
    content, _ = scoring.evaluate(
        learner,
        evaluation.with_best_step_size(learner, learner.theta),
        {"last": scoring.Candidate(learner.iteration, learner.theta)},
    )
    return learner, content


def test_the_page_names_the_three():
    assert list(COMPARATORS) == ["random initialisation", "pretrained", "oracle"]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_comparator_is_trained_and_measured_on_the_tasks_of_maml(option):
    own = fitting(option)
    maml = wiring.assemble(wiring.compose(own))
    held_out = maml.evaluation.tasks(maml.learner, "test")
    for name, overrides in COMPARATORS.items():
        learner, content = measured(compared(own, overrides))
        assert content["tasks"]["values"] == held_out.tolist()
        returns = np.array(content["theta"]["last"]["returns"])
        assert returns.shape == (2, 1 if name == "oracle" else 2)
        assert np.isfinite(returns).all()
        assert learner.iteration == (0 if name == "random initialisation" else 1)
        if name == "oracle":
            assert_told(learner.task_distribution, maml.learner.task_distribution, held_out)
        if isinstance(learner.task_distribution, Closeable):
            learner.task_distribution.close()


def assert_told(oracle, plain, tasks):
    """An observation of the oracle is the plain one, then the task: its row, or what a row is the key of."""
    task = getattr(plain, "description", lambda rows: rows)(tasks).float().unsqueeze(1).expand(-1, 2, -1)
    size = plain.spec.observation_size
    envs = [d.make_env(tasks, 2, torch.Generator().manual_seed(3), torch.device("cpu")) for d in (oracle, plain)]
    action = torch.zeros(2, 2, dtype=torch.long) if plain.spec.discrete else torch.zeros(2, 2, plain.spec.action_size)
    for seen, without in ([env.reset() for env in envs], [env.step(action).observation for env in envs]):
        assert torch.equal(seen[..., :size], without)
        assert torch.equal(seen[..., size:], task)


def test_every_trained_comparator_takes_as_many_steps_as_maml():
    """By the page's own numbers, at the defaults."""
    steps = {name: wiring.training_steps(wiring.compose(overrides)) for name, overrides in COMPARATORS.items()}
    maml = wiring.training_steps(wiring.compose())
    assert steps == {"random initialisation": 0, "pretrained": maml, "oracle": maml}
