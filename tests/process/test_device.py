"""Everything computes on the device that was asked for, and little crosses to and from it.

A second device is pretended on the CPU (`pretended.py`), where mixing devices raises as on a GPU. Tests on a real one
are skipped where there is none.
"""

import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode

from metarl_exp import wiring
from metarl_exp.algorithm import recording
from metarl_exp.commands import replay, train
from metarl_exp.runs import scoring
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.tasks.transfer import to_device
from metarl_exp.wiring import assembly, devices
from metarl_exp.wiring.devices import device_continued, device_named, device_to_read_on
from tests.pretended import HERE, PretendedDevice

TINY = ["tracker=none", "meta_batch_size=3", "trajectories=4", "tasks.horizon=9"]
SHORT = ["outer_optimizer.cg_iterations=2", "outer_optimizer.max_backtracks=2"]  # TRPO
ADAM = ["outer_optimizer=adam"]
SMALL, DISCRETE = ["policy.hidden_sizes=[6]"], ["policy.hidden_sizes=[6]"]
TASKS = {
    "navigation": SMALL,
    "varying start": ["tasks=navigation_2d_varying_start", *SMALL],
    "oracle": ["oracle=true", *SMALL],
    "cartpole": ["tasks=cartpole", *DISCRETE],
    "hidden sign": ["tasks=cartpole_hidden_sign", *DISCRETE],
    "target": ["tasks=cartpole_target", *DISCRETE],
    "bernoulli": ["tasks=bernoulli_bandit", *DISCRETE],
    "gaussian": ["tasks=gaussian_bandit", *DISCRETE],
    "tabular": ["tasks=tabular_mdp", *DISCRETE],
    "tabular oracle": ["tasks=tabular_mdp", "oracle=true", *DISCRETE],
}
PPO = ["outer_optimizer=ppo", "outer_optimizer.minibatches=2"]
TRIALS = ["trial_episodes=3", "adaptation=none", "objective=joint", "objective.clip=0.2", *PPO]
LEARNERS = {
    "first order": ["adaptation.order=first"],
    "three steps": ["adaptation=three_steps", "objective.step_weights=[0,1,1,1]"],
    "inner adam": ["inner_optimizer=adam", "aggregator=pcgrad"],
    "meta-sgd": ["inner_optimizer=meta_sgd", *ADAM],
    "anil": ["fast_weights=head"],
    "cavia": ["fast_weights=context", "policy=mlp_context"],
    "e-maml": ["objective=e_maml"],
    "lvc": ["objective=lvc"],
    "dice": ["objective=dice"],
    "loaded dice": ["objective=loaded_dice"],
    "promp": ["objective=promp", *PPO],
    "reptile": ["objective=reptile", "adaptation.order=first", *ADAM],
    "joint": ["adaptation=none", "objective=joint"],
    "critic": ["policy=mlp_critic", "advantage=critic", "objective.value_weight=0.5", *ADAM],
    "schedule": [*ADAM, "+outer_optimizer.scheduler.name=StepLR", "+outer_optimizer.scheduler.step_size=1"],
}
COMPOSITIONS = (
    {f"trpo on {name}": overrides for name, overrides in TASKS.items()}
    | {name: [*SMALL, *overrides] for name, overrides in LEARNERS.items()}
    | {
        "rl2 on bandits": ["tasks=bernoulli_bandit", "policy=rnn", "policy.hidden_size=6", *TRIALS],
        "rl2 on cartpole": ["tasks=cartpole", "policy=rnn", "policy.cell=lstm", "policy.hidden_size=6", *TRIALS],
        "rl2 on navigation": ["policy=rnn", "policy.hidden_size=6", *TRIALS],
    }
)


@pytest.fixture
def pretended(monkeypatch):
    """While it is entered, every learner is built on it."""
    device, cpu = PretendedDevice(), torch.device("cpu")
    monkeypatch.setattr(assembly, "device_named", lambda name: HERE if _get_current_dispatch_mode() is device else cpu)
    return device


def iterate(overrides, iterations=1):
    """Meta-iterations and an evaluation: metrics but those of time, returns on validation tasks, θ and the learner."""
    trpo = [] if any(override.startswith("outer_optimizer=") for override in overrides) else SHORT
    evaluated = ["evaluation.validation_tasks=2", "evaluation.trajectories=2", "evaluation.steps=1"]
    parts = wiring.assemble(wiring.compose([*TINY, *trpo, *evaluated, *overrides]))
    records = parts.learner.train(iterations)
    metrics = [{k: v for k, v in r.metrics.items() if not k.startswith("perf/")} for r in records]
    returns = parts.evaluation(parts.learner, parts.learner.theta, "validation")
    return metrics, returns.tolist(), {n: p.cpu().tolist() for n, p in parts.learner.theta.items()}, parts.learner


@pytest.mark.parametrize("overrides", COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_nothing_is_left_on_the_cpu(overrides, pretended):
    """Bit for bit, since the pretended device computes with the CPU."""
    iterations = 2 if "outer_optimizer=adam" in overrides else 1  # its moments stay there
    with pretended:
        found = iterate(overrides, iterations)
        assert {p.device for p in found[-1].theta.values()} == {HERE}
    expected = iterate(overrides, iterations)
    assert found[:-1] == expected[:-1]


def test_the_pretended_device_finds_what_was_left_on_the_cpu(pretended, monkeypatch):
    """What this file is worth: one tensor made without a device is enough."""
    monkeypatch.setattr("metarl_exp.maths.baseline.torch.eye", lambda n, dtype, device: torch.ones(n, n, dtype=dtype))
    with pretended, pytest.raises(RuntimeError, match="tensors on two devices"):
        iterate(SMALL)


def traffic_of(pretended, overrides, horizon):
    """What crosses in one rollout of a learner's policy."""
    learner = wiring.assemble(wiring.compose([*TINY, *overrides, f"tasks.horizon={horizon}"])).learner
    tasks, streams = learner.task_distribution.sample(3, learner.streams.tasks), learner.streams
    parameters = learner.adaptation.start(learner.theta, 3, "first").parameters
    pretended.traffic.clear()
    learner.sampler(parameters, tasks, streams.actions, streams.environment)
    return np.array([pretended.traffic["down"], pretended.traffic["up"]])


@pytest.mark.parametrize("overrides", TASKS.values(), ids=TASKS)
def test_a_step_of_tasks_in_torch_moves_nothing_and_waits_for_nothing(overrides, pretended):
    """But for the looks at whether all is over, one in sixteen steps."""
    with pretended:
        short, long = (traffic_of(pretended, overrides, horizon) for horizon in (15, 31))
    assert (long - short <= [1, 0]).all()


def test_trials_ask_once_a_step_who_is_over(pretended):
    """An episode of trials ends for all at once, so that the next step depends on it."""
    overrides = ["tasks=cartpole", "policy=rnn", "policy.hidden_size=6", *TRIALS]
    with pretended:
        short, long = (traffic_of(pretended, overrides, horizon) for horizon in (4, 5))
    assert (long - short).tolist() == [2, 0]  # in two of the three episodes; the last one ends the trial


@pytest.mark.parametrize("tasks", ["half_cheetah_direction", "pendulum"])
def test_a_step_of_tasks_on_the_host_is_one_transfer_each_way(tasks, pretended):
    pytest.importorskip("mujoco")
    with pretended:
        short, long = (traffic_of(pretended, [f"tasks={tasks}", *SMALL], horizon) for horizon in (3, 13))
    assert (long - short).tolist() == [10, 10]


@pytest.mark.parametrize("every", [1, 5, 16])
def test_looking_less_often_changes_no_trajectory(every, pretended, monkeypatch):
    """Poles fall after different numbers of steps, the last of them long before the horizon."""

    def experiences():
        learner = wiring.assemble(wiring.compose([*TINY, *TASKS["cartpole"], "tasks.horizon=200"])).learner
        batch = learner.inner_update(learner.task_distribution.sample(3, learner.streams.tasks))
        assert batch.experiences[-1].mask.shape[-1] < 150
        return [x.cpu() for e in batch.experiences for x in e if isinstance(x, torch.Tensor)]

    monkeypatch.setattr(recording, "LOOK_EVERY", every)
    with pretended:
        found = experiences()
    assert all(torch.equal(one, two) for one, two in zip(found, experiences(), strict=True))


def test_arrays_of_any_kind_travel_together(pretended):
    generator = np.random.default_rng(0)
    arrays = [
        generator.random((3, 5), dtype=np.float32),
        generator.random(3) < 0.5,
        generator.random((2, 3)).T,
        generator.integers(9, size=3),
        np.zeros((0, 2), np.float32),
    ]
    here = to_device(arrays, torch.device("cpu"))
    with pretended:
        there = to_device(arrays, HERE)
        assert pretended.traffic == {"up": 1, "down": 0}
        for one, two, array in zip(here, there, arrays, strict=True):
            assert two.device == HERE
            assert torch.equal(one, two.cpu())
            assert np.array_equal(one.numpy(), array)
            assert one.dtype == two.dtype


def test_a_learner_adapts_on_its_device_to_a_live_environment(pretended):
    """Which is on the host."""
    overrides = ["tasks=cartpole", *DISCRETE]
    with pretended:
        learner = iterate(overrides)[-1]
        adapted = learner.adapt(gymnasium.make("CartPole-v1"), episodes=2)
        action = adapted.act(np.zeros(4, np.float32))
    assert {p.device for p in adapted.parameters.values()} == {HERE}
    assert action in (0, 1)


def test_results_from_a_device_are_written_and_drawn(pretended):
    def looked_at():
        learner = iterate(SMALL)[-1]
        config = wiring.compose([*TINY, "evaluation.test_tasks=2", "evaluation.trajectories=2", "evaluation.steps=1"])
        evaluation = wiring.component("evaluation", config.evaluation)
        content, _ = scoring.evaluate(learner, evaluation, {"last": scoring.Candidate(1, learner.theta)})
        scenes, _ = replay.shoot(learner, evaluation, learner.theta, [0, 1], lambda longest: list(range(longest)))
        return content, [take.rewards.tolist() for scene in scenes for take in scene.takes]

    with pretended:
        found = looked_at()
    assert found == looked_at()


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)


def test_auto_is_the_cpu_without_a_gpu(no_gpu):
    assert device_named("auto") == torch.device("cpu")


def test_auto_is_the_gpu(two_gpus):
    assert [str(device_named(name)) for name in ("auto", "cuda:1", "cpu")] == ["cuda", "cuda:1", "cpu"]


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "meta", "gpu", 0, None])
def test_a_device_that_is_not_here_is_refused(name, no_gpu):
    with pytest.raises(ValueError, match=f"^device={name!r} is not available here: torch .* finds auto, cpu"):
        device_named(name)


def test_a_gpu_too_many_is_refused(two_gpus):
    with pytest.raises(ValueError, match="device='cuda:2' is not available here: .* auto, cpu, cuda, cuda:0, cuda:1"):
        device_named("cuda:2")


@pytest.mark.parametrize(
    ("asked", "recorded", "found", "said"),
    [
        ("auto", None, "cuda", ""),
        ("cpu", "cpu", "cpu", ""),
        ("cuda:1", "cuda", "cuda:1", ""),
        ("cpu", "cuda:0", "cuda", "continuing with device=cuda, as the run began .not cpu."),
        ("auto", "cpu", "cpu", "continuing with device=cpu, as the run began .not cuda."),
    ],
)
def test_a_continued_run_keeps_its_kind_of_device(asked, recorded, found, said, two_gpus):
    heard = []
    assert str(device_continued(asked, recorded, heard.append)) == found
    assert " ".join(heard) == said.replace(" .", " (").replace("cpu.", "cpu)").replace("cuda.", "cuda)")


def test_a_run_of_a_gpu_goes_on_where_there_is_none(no_gpu):
    heard = []
    assert str(device_continued("auto", "cuda", heard.append)) == "cpu"
    assert heard == ["the run began with device=cuda, which is not here: it goes on with cpu, equal up to rounding"]
    assert str(device_to_read_on("cuda:1")) == "cpu"


def test_a_run_is_recorded_with_the_device_that_it_found(tmp_path, tiny, undrawn, monkeypatch, no_gpu):
    """In its provenance, in what a tracker is told, and in its configuration."""
    told = []
    monkeypatch.setattr("metarl_exp.runs.tracker.base.NoTracker.start", lambda self, info: told.append(info.config))
    monkeypatch.setattr(sys, "argv", ["metarl-train", *tiny, "device=auto", f"output_root={tmp_path}"])
    train.main()
    (run,) = tmp_path.iterdir()
    assert RunFolder(run).read_json("provenance.json")["device"] == "cpu"
    assert [config["device"] for config in told] == ["cpu"]
    assert wiring.load_config(run).device == "cpu"


def test_a_state_that_was_read_on_the_cpu_goes_on_on_the_device(pretended):
    """As checkpoints are read; the moments of the outer Adam, too, have to be where θ is."""
    overrides = [*SMALL, *ADAM]
    first = iterate(overrides)[-1].state()
    with pretended:
        there = wiring.assemble(wiring.compose([*TINY, *overrides])).learner
        there.restore(first)
        there.train(1)
        state = {**there.state(), "theta": {n: p.cpu() for n, p in there.theta.items()}}
        moments = there.outer_optimizer.state["rule"]["state"][0]
        assert moments["exp_avg"].device == HERE
        assert moments["exp_avg"].cpu().any()
    expected = iterate(overrides, 2)[2]
    assert {n: p.tolist() for n, p in state["theta"].items()} == expected


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
PARITY = {
    name: COMPOSITIONS[name]
    for name in ("trpo on navigation", "trpo on hidden sign", "trpo on bernoulli", "meta-sgd", "promp", "e-maml")
}


@needs_gpu
@pytest.mark.parametrize("overrides", PARITY.values(), ids=PARITY)
def test_a_gpu_computes_what_the_cpu_does(overrides):
    """To the rounding of float32, as noise is drawn on the CPU for both; one step is not enough to drift apart."""
    (found, _, theta, _), (expected, _, other, _) = (iterate([*overrides, f"device={d}"]) for d in ("cuda", "cpu"))
    assert found[0] == pytest.approx(expected[0], rel=1e-3, abs=1e-4)
    for name, values in theta.items():
        torch.testing.assert_close(torch.tensor(values), torch.tensor(other[name]), rtol=1e-3, atol=1e-4)


@needs_gpu
def test_a_run_of_a_gpu_is_continued_without_one(tmp_path, tiny):
    """In processes of their own: whether there is a GPU is fixed when one starts."""
    python = [sys.executable, "-m", "metarl_exp.train", *tiny, "outer_optimizer=adam", f"output_root={tmp_path}"]
    subprocess.run([*python, "device=cuda"], check=True, timeout=300)
    (run,) = tmp_path.iterdir()
    folder = RunFolder(run)
    assert folder.read_json("provenance.json")["device"] == "cuda"
    assert folder.read_json("provenance.json")["machine"]["accelerator"]
    folder.set_state("interrupted")
    (run / "checkpoints" / "latest.pt").unlink()  # previous.pt is one iteration back
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    again = subprocess.run(
        [*python, "device=auto"], check=True, timeout=300, env=hidden, capture_output=True, text=True
    )
    assert "the run began with device=cuda, which is not here: it goes on with cpu" in again.stdout
    assert len(folder.read_metrics()) == 3
    assert folder.state() == "finished"
