"""Episodes with fixed actions, in a scripted environment whose every number is known; and what a training refuses."""

import random
import sys

import numpy as np
import pytest
import torch

from metarl_exp import MetaLearner, wiring
from metarl_exp.checker import FAULT, check
from metarl_exp.checker.rehearsal import (
    difference,
    extreme_actions,
    interleave,
    play_actions,
    random_actions,
    repeat,
    require_repeatable,
)
from metarl_exp.commands import train
from metarl_exp.policy import GaussianMLP
from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks import GymnasiumTasks, Navigation2D
from metarl_exp.tasks.trials import Trials
from metarl_exp.types import Spec, Step

LENGTHS = torch.tensor([[3, 1], [2, 5]])  # when the episodes end; [0, 1] is cut off, the others end in the MDP
CONTINUOUS = Spec(observation_size=1, action_size=2, discrete=False, horizon=4)
DISCRETE = Spec(observation_size=1, action_size=5, discrete=True, horizon=4)


class Scripted:
    """Observes the number of the step, and is paid the action; notes the turns that are taken."""

    def __init__(self, name="", turns=None):
        self.name, self.turns = name, [] if turns is None else turns

    def reset(self):
        self.t = 0
        self.turns.append(f"{self.name}reset")
        return torch.zeros(2, 2, 1)

    def step(self, action):
        self.t += 1
        self.turns.append(f"{self.name}{self.t}")
        over = LENGTHS.eq(self.t)
        cut = torch.tensor([[False, True], [False, False]])
        return Step(torch.full((2, 2, 1), float(self.t)), action[..., 0], over & ~cut, over & cut)


def actions(steps=4):
    return torch.arange(1.0, 1 + 4 * steps).view(2, 2, steps, 1)


def test_a_record_has_what_happened_and_zeros_after_the_end():
    record = play_actions(Scripted(), actions())
    assert record.lengths().tolist() == [[3, 1], [2, 4]]
    assert record.observations[0, 0, :, 0].tolist() == [1, 2, 3, 0]
    assert record.rewards[0].tolist() == [[1, 2, 3, 0], [5, 0, 0, 0]]
    assert record.terminal.nonzero().tolist() == [[0, 0, 2], [1, 0, 1]]
    assert record.truncated.nonzero().tolist() == [[0, 1, 0]]
    assert not record.success.any()


def test_a_rehearsal_stops_when_all_are_over_and_is_as_long_as_its_actions():
    turns = []
    record = play_actions(Scripted("", turns), actions(7))
    assert turns == ["reset", "1", "2", "3", "4", "5"]
    assert record.rewards.shape == (2, 2, 7)


def test_batches_take_turns_and_the_shorter_one_stops_first():
    turns = []
    one, other = interleave([Scripted("a", turns), Scripted("b", turns)], [actions(3), actions(2)])
    assert turns == ["areset", "breset", "a1", "b1", "a2", "b2", "a3"]
    assert difference(one, play_actions(Scripted(), actions(3))) is None
    assert other.rewards.shape[2] == 2


def test_the_first_difference_is_named_with_its_place_and_values():
    one = play_actions(Scripted(), actions())
    rewards, observations, start = one.rewards.clone(), one.observations.clone(), one.start.clone()
    rewards[1, 1, 2] = 9.5
    assert difference(one, one._replace(rewards=rewards)) == "rewards of step 2, task 1, episode 1: 15 and 9.5"
    observations[0, 0, 1] = -1
    later = one._replace(rewards=rewards, observations=observations)
    assert difference(one, later) == "observations[0] of step 1, task 0, episode 0: 2 and -1"
    start[1, 0] = 3
    assert difference(one, later._replace(start=start)) == "start[0], task 1, episode 0: 0 and 3"
    here = torch.tensor([[False, False], [False, True]])
    assert difference(one, later._replace(start=start), here) == "rewards of step 2, task 1, episode 1: 15 and 9.5"
    assert difference(one, later, ~here & (LENGTHS < 3)) is None


def test_nan_twice_is_no_difference():
    one = play_actions(Scripted(), actions() / 0 * 0)
    assert difference(one, one) is None
    assert difference(one, play_actions(Scripted(), actions())) is not None


@pytest.mark.parametrize("spec", [CONTINUOUS, DISCRETE], ids=["continuous", "discrete"])
def test_random_actions_are_in_range_and_of_their_seed(spec):
    drawn = random_actions(spec, (3, 2, 50), 0)
    assert drawn.shape == ((3, 2, 50) if spec.discrete else (3, 2, 50, 2))
    assert torch.equal(drawn, random_actions(spec, (3, 2, 50), 0))
    assert not torch.equal(drawn, random_actions(spec, (3, 2, 50), 1))
    if spec.discrete:
        assert sorted(drawn.unique().tolist()) == [0, 1, 2, 3, 4]
    else:
        assert -1 <= drawn.min() < -0.9
        assert 0.9 < drawn.max() <= 1


def test_extreme_actions_are_the_ends_of_the_range():
    assert extreme_actions(DISCRETE, (3, 4)).tolist() == [[[0] * 4, [4] * 4]] * 3
    assert extreme_actions(CONTINUOUS, (1, 2), 10.0).tolist() == [[[[-10.0] * 2] * 2, [[10.0] * 2] * 2]]


# ---- before a training


def stateful(deed=None, **settings):
    vary = {"wind": {"attribute": "wind", "uniform": [-1.0, 1.0]}}
    given = {
        "id": "tests.environments:Stateful-v0",
        "horizon": 10,
        "kwargs": {"deed": deed},
        "vary": vary,
        "wrappers": [],
        "success_key": None,
        "workers": 0,
        "start_method": "fork",
        "requires": None,
    }
    return GymnasiumTasks(**given | settings)


def learner(distribution, **settings):
    policy = GaussianMLP([4], "tanh", 1.0, 1e-6, 1e3, distribution.spec)
    return MetaLearner(distribution, policy, 0.1, 1e-2, 1, 2, trajectories=2, **settings)


GOALS = {"goal": {"attribute": "goal", "choice": [[1.0], [2.0], [3.0]]}}
REFUSED = {  # by deed: which question finds it, and where
    "counts_episodes": ("played twice, differ", "rewards of step 0, task 0, episode 0: "),
    "keeps_its_first_task": ("played twice, differ", "rewards of step 0"),
    "ignores_the_seed": ("played twice, differ", r"start\[1\], task 0"),
    "samples_its_space": ("played twice, differ", r"start\[1\], task 0"),
    "draws_when_made": ("played twice, differ", r"start\[0\], task 0"),
    "looks_at_the_clock": ("played twice, differ", "rewards of step 0"),
    "draws_from_a_global_generator": ("played twice, differ", "rewards of step 0.*global random generator of numpy"),
    "shares_an_attribute_of_its_class": ("played twice, differ", "rewards of step 0"),
    "restores_what_all_copies_share": ("played beside other tasks", "rewards of step 1, task 1"),
}


@pytest.mark.parametrize("deed", REFUSED)
def test_an_environment_that_is_another_the_second_time_is_refused_with_what_differed_and_where(deed):
    question, place = REFUSED[deed]
    with pytest.raises(ValueError, match=f"{question}: {place}.*allow_stateful=true"):
        learner(stateful(deed))


@pytest.mark.parametrize("deed", REFUSED)
def test_the_checker_finds_what_a_training_refuses(deed):
    assert any(finding.verdict == FAULT for finding in check(stateful(deed)))


def test_an_environment_without_a_deed_is_not_refused():
    distribution = stateful()
    tasks, others = torch.tensor([[-1.0], [0.5], [1.0]]).double(), torch.tensor([[0.2], [0.5], [-0.3]]).double()
    assert repeat(distribution, tasks, others, random_actions(distribution.spec, (3, 2, 4), 0)) == (None, None)
    learner(distribution).train(1)


def test_a_value_that_an_environment_rewrites_in_place_is_its_own():
    """A list, of which every episode of the task has a copy."""
    learner(stateful("rewrites_its_task", vary=GOALS))


def test_workers_are_rehearsed_as_this_process_is():
    with pytest.raises(ValueError, match="played twice, differ: rewards of step 0, task 0"):
        learner(stateful("counts_episodes", workers=2))


def test_a_wrapper_that_normalises_by_what_it_has_seen_is_refused_unless_it_may():
    """Its statistics are in no checkpoint, and another set for every copy of the environment."""
    wrapped = {"wrappers": ["gymnasium.wrappers.NormalizeObservation"]}
    with pytest.raises(ValueError, match=r"played twice, differ: start\[0\], task 0, episode 0"):
        learner(stateful(**wrapped))
    learner(stateful(**wrapped), allow_stateful=True).train(1)


def test_normalising_over_the_batch_is_refused():
    class Normalising(Navigation2D):
        def make_env(self, tasks, trajectories, generator, device):
            return super().make_env(tasks - tasks.mean(0), trajectories, generator, device)

    with pytest.raises(ValueError, match="beside other tasks: rewards of step 0, task 1, episode 0"):
        learner(Normalising(100, "scaled", False))


class Overwriting(Navigation2D):
    """Halves what it is given."""

    def make_env(self, tasks, trajectories, generator, device):
        env = super().make_env(tasks, trajectories, generator, device)
        tasks.mul_(0.5)
        return env


@pytest.mark.parametrize("allowed", [False, True])
def test_tensors_handed_over_must_not_be_overwritten_whatever_is_allowed(allowed):
    with pytest.raises(ValueError, match="write to the tasks after"):
        learner(Overwriting(100, "scaled", False), allow_stateful=allowed)


def test_a_trial_that_waits_for_those_beside_it_is_not_refused():
    """Tasks whose episodes end after one to five steps."""
    ends = {"ends": {"attribute": "ends", "integer": [1, 5]}}
    tasks = stateful(id="tests.environments:Scripted-v0", kwargs={}, vary=ends)
    require_repeatable(Trials(tasks, 3), allow_stateful=False)


def test_an_exception_of_an_environment_is_reported_with_its_place():
    class Broken(Navigation2D):
        def make_env(self, *_):
            raise ZeroDivisionError("no")

    with pytest.raises(EnvironmentFailure, match="the rehearsal: ZeroDivisionError: no"):
        learner(Broken(100, "scaled", False))


def test_a_rehearsal_leaves_the_global_generators_as_they_were():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    with pytest.raises(ValueError, match="numpy"):
        require_repeatable(stateful("draws_from_a_global_generator"), allow_stateful=False)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


TINY = [
    "experiment=smoke", "tracker=none", "threads=1", "policy.hidden_sizes=[4]", "iterations=1", "tasks=pendulum",
    "tasks.horizon=5", "evaluation.test_tasks=2", "evaluation.validation_tasks=2", "trajectories=2",
]  # fmt: skip
WRAPPED = "tasks.wrappers=[gymnasium.wrappers.NormalizeObservation]"


def test_the_command_refuses_in_one_line_before_there_is_a_folder_and_takes_the_key(tmp_path, monkeypatch, undrawn):
    command = ["metarl-train", *TINY, WRAPPED, f"output_root={tmp_path}"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert str(ended.value.code).startswith("metarl-train: tasks: the same episodes, played twice, differ")
    assert "\n" not in str(ended.value.code)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys, "argv", [*command, "allow_stateful=true"])
    train.main()
    (path,) = tmp_path.iterdir()
    config = wiring.load_config(path, trust=True)
    assert config.allow_stateful
    assert wiring.fingerprint(config) != wiring.fingerprint(wiring.compose([*TINY, WRAPPED]))


def test_a_command_that_builds_twice_rehearses_once(monkeypatch):
    plays = []
    original = GymnasiumTasks.make_env
    monkeypatch.setattr(
        GymnasiumTasks, "make_env", lambda self, *arguments: plays.append(1) or original(self, *arguments)
    )
    once = ["tasks=acrobot", "tasks.horizon=17"]
    for overrides in (once, [*once, "adaptation.order=first", "seed=3"]):
        wiring.assemble(wiring.compose(overrides))
    assert len(plays) == 4
    wiring.assemble(wiring.compose([*once, "tasks.horizon=18"]))
    assert len(plays) == 8
