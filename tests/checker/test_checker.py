"""The checker: every fault is planted in a small distribution and found by its check alone; what is clean is clean."""

import random
import re
import signal
import time

import numpy as np
import pytest
import torch

from metarl_exp import checker, wiring
from metarl_exp.checker import FAULT, NOT_RUN, NOTE, check
from metarl_exp.checker.finding import Subject
from metarl_exp.commands.check import check_node
from metarl_exp.tasks import GymnasiumTasks
from metarl_exp.tasks.base import uniform
from metarl_exp.tasks.guard import limits
from metarl_exp.types import Spec, Step

CONF = wiring.config_dir() / "tasks"
OPTIONS = sorted(str(file.relative_to(CONF).with_suffix("")) for file in CONF.rglob("*.yaml"))
OPTIONS.remove("gymnasium")  # which environment is for its user to say

# Meta-World pins another MuJoCo than the one here and lives in an environment of its own.
ELSEWHERE = [option for option in OPTIONS if option.startswith("metaworld")]
HERE = [option for option in OPTIONS if option not in ELSEWHERE]
SLOW = ["highway"]  # a hundredth of a second each step


class Line:
    """A point on a line that wind and actions push, with noise; the reward is for being near the goal."""

    version = 1
    parameter_names: tuple = ("goal", "wind")

    def __init__(self, horizon=16):
        self.spec = Spec(observation_size=2, action_size=1, discrete=False, horizon=horizon)

    def sample(self, num_tasks, generator):
        return uniform((num_tasks, 2), -1.0, 1.0, generator)

    def test_tasks(self, num_tasks, generator):
        return self.sample(num_tasks, generator)

    def make_env(self, tasks, trajectories, generator, device):
        return LineEnv(self, tasks.float().unsqueeze(1).expand(-1, trajectories, -1), generator)


class LineEnv:
    """What the faults below change is a method each."""

    def __init__(self, line, tasks, generator):
        self.line, self.generator, self.t = line, generator, 0
        self.goal, self.wind = tasks[..., 0], tasks[..., 1]  # [N, M]

    def noise(self):
        return torch.rand(self.goal.shape, generator=self.generator)

    def observe(self):
        return torch.stack([self.x, self.x.square()], dim=-1)

    def terminal(self):
        return self.x.abs() > 5

    def truncated(self):
        return torch.zeros_like(self.terminal())

    def reward(self):
        return -(self.x - self.goal).abs()

    def success(self):
        return (self.x - self.goal).abs() < 0.1

    def reset(self):
        self.x = self.noise()
        return self.observe()

    def push(self, action):
        return action.squeeze(-1).clamp(-1, 1)

    def step(self, action):
        self.t += 1
        self.x = self.x + 0.1 * self.push(action) + 0.02 * self.wind + 0.01 * self.noise()
        return Step(self.observe(), self.reward(), self.terminal(), self.truncated(), self.success())


def saying(distribution, **traits):
    """A distribution that states something about itself."""
    vars(distribution).update(traits)
    return distribution


def with_env(make, horizon=16, **methods):
    """A distribution whose environments have other methods; `make` may change the arguments of the constructor."""
    changed = type("Changed", (LineEnv,), methods)

    class Other(Line):
        def make_env(self, tasks, trajectories, generator, device):
            rows = tasks.float().unsqueeze(1).expand(-1, trajectories, -1)
            return changed(*(make(self, tasks, rows, generator) if make else (self, rows, generator)))

    return Other(horizon)


def changed(**methods):
    return with_env(None, **methods)


def drawn(**members):
    """A distribution whose own members are other ones."""
    return type("Other", (Line,), members)()


def verdicts(findings, verdict):
    return {finding.check for finding in findings if finding.verdict == verdict}


def test_a_clean_distribution_has_neither_faults_nor_notes():
    findings = check(Line(), Line)
    assert len(findings) == len({f.check for f in findings}) == 14
    assert verdicts(findings, "passed") == {f.check for f in findings}, findings


def test_attributes_computed_by_a_constructor_are_reported_for_gymnasiums_environments():
    vary = {"mass": {"attribute": "mass", "uniform": [0.5, 2.0]}}
    tasks = GymnasiumTasks("tests.environments:Pendulous-v0", 20, {}, vary, [], None, 0, "fork", None)
    findings = check(tasks)
    assert verdicts(findings, FAULT) == {"attributes are as if built in"}
    assert any("rewards of step 0, task 0, episode 0" in f.seen for f in findings if f.verdict == FAULT)


def test_attributes_that_are_set_in_time_are_as_if_built_in():
    findings = check(Levered(early=False), lambda horizon: Levered(early=False, horizon=horizon))
    assert [f.seen for f in findings if f.check == "attributes are as if built in"] == [
        "set attributes gave the numbers of environments that were made with them"
    ]
    assert verdicts(findings, FAULT) == set()


GLOBAL = {
    "torch": lambda self: torch.rand(self.goal.shape),
    "numpy": lambda self: torch.from_numpy(np.random.rand(*self.goal.shape)).float(),
    "Python": lambda self: torch.full(self.goal.shape, random.random()),
}


def built_in(self):
    """Noise of a generator with a seed of its own."""
    if not hasattr(self, "own"):
        self.own = torch.Generator().manual_seed(7)
    return torch.rand(self.goal.shape, generator=self.own)


def reseeding(self):
    torch.manual_seed(0)
    return LineEnv.noise(self)


def fresh(self):
    return torch.from_numpy(np.random.default_rng().random(tuple(self.goal.shape))).float()


def from_zero(self):
    self.x = torch.zeros_like(self.goal)
    return self.observe()


def grows(self):
    return torch.stack([self.x] * (3 if self.t > 4 else 2), dim=-1)


def written_over(self):
    if not hasattr(self, "buffer"):
        self.buffer = torch.empty(*self.x.shape, 2)
    self.buffer[..., 0], self.buffer[..., 1] = self.x, self.x.square()
    return self.buffer


def mode_of_the_distribution(line, tasks, rows, generator):
    line.goal = rows[..., 0]
    return line, rows, generator


def overwriting(line, tasks, rows, generator):
    tasks.mul_(0.5)
    return line, rows, generator


def counting(line, tasks, rows, generator):
    line.calls = getattr(line, "calls", 0) + 1
    return line, rows + 1e-3 * line.calls, generator


def first_for_all(line, tasks, rows, generator):
    return line, rows[:1].expand_as(rows), generator


def last_for_all(line, tasks, rows, generator):
    return line, rows[-1:].expand_as(rows), generator


def tiled(line, tasks, rows, generator):
    """Rows laid out as if episodes came first."""
    return line, tasks.float().repeat(rows.shape[1], 1).view_as(rows), generator


class Levered(Line):
    """The wind blows with the square of a number that environments compute when they are made.

    Those of `rebuilt` have the task then; the others, made for a wind of one, are given theirs later. If it is `early`
    that the square is computed, it stays one.
    """

    def __init__(self, early, rebuilding=False, horizon=16):
        super().__init__(horizon)
        self.early, self.rebuilding = early, rebuilding

    def make_env(self, tasks, trajectories, generator, device):
        goal, wind = tasks.float().unsqueeze(1).expand(-1, trajectories, -1).unbind(-1)
        square = torch.ones_like(wind) if self.early and not self.rebuilding else wind.square()
        return LineEnv(self, torch.stack([goal + 0.1 * wind, square], dim=-1), generator)

    def rebuilt(self):
        return Levered(self.early, rebuilding=True, horizon=self.spec.horizon)


FAULTS = {
    # what is declared
    "no version": (drawn(version=None), "declarations are complete", "version=None"),
    "a name twice": (drawn(parameter_names=("goal", "goal")), "declarations are complete", "distinct"),
    "a trait with a letter too few": (drawn(phyics="moon"), "declarations are complete", "phyics: .* it is 'physics'"),
    "half a step": (Line(2.5), "declarations are complete", "spec.horizon=2.5"),
    # the tasks
    "float32 tasks": (
        drawn(sample=lambda self, n, g: torch.rand(n, 2, generator=g)),
        "tasks are rows of the generator", "float64",
    ),
    "a column too many": (
        drawn(parameter_names=("goal",)),
        "tasks are rows of the generator", r"shape \[1, 2\]: must be \[1, 1\]",
    ),
    "always ten tasks": (
        drawn(sample=lambda self, n, g: uniform((10, 2), 0, 1, g)),
        "tasks are rows of the generator", r"shape \[10, 2\]",
    ),
    "tasks of the global generator": (
        drawn(sample=lambda self, n, g: torch.rand(n, 2).double()),
        "tasks are rows of the generator", "other tasks when",
    ),
    "tasks of a built-in seed": (
        drawn(sample=lambda self, n, g: uniform((n, 2), 0, 1, torch.Generator().manual_seed(0))),
        "tasks are rows of the generator", "whatever its generator",
    ),
    "tasks that are not finite": (
        drawn(sample=lambda self, n, g: uniform((n, 2), 0, float("inf"), g)),
        "tasks are rows of the generator", "not finite",
    ),
    "the same few tasks for training and for tests": (
        drawn(sample=lambda self, n, g: torch.randint(3, (n, 2), generator=g).double()),
        "train and test tasks are apart", "40 of 40 test tasks",
    ),
    # the form of answers
    "an observation that grows": (changed(observe=grows), "answers have their shapes", r"step 4: observation is .*3\]"),
    "not the size of the spec": (
        changed(observe=lambda self: self.x.unsqueeze(-1)), "answers have their shapes", r"reset: \[1, 1, 1\]",
    ),
    "squeezed where one suffices": (
        changed(reward=lambda self: self.x.squeeze()), "answers have their shapes", "1 × 1 episodes.*reward",
    ),
    "another dtype later": (
        changed(observe=lambda self: LineEnv.observe(self).to(torch.float64 if self.t == 9 else torch.float32)),
        "answers have their shapes", "step 8: observation is .*float64",
    ),
    "rewards with an axis too many": (
        changed(reward=lambda self: self.x.unsqueeze(-1)), "answers have their shapes", "reward is",
    ),
    "ends as numbers": (changed(terminal=lambda self: self.x), "answers have their shapes", "terminal is .*float32"),
    "success per task": (changed(success=lambda self: self.x[:, 0] > 0), "answers have their shapes", "success is"),
    "success now and then": (
        changed(success=lambda self: self.x > 0 if self.t < 3 else None),
        "answers have their shapes", "step 2: success is a NoneType, and was not before",
    ),
    "not a number": (
        changed(reward=lambda self: self.x / (0 if self.t == 7 else 1)), "numbers are finite", "rewards: inf .* step 6",
    ),
    "no answer": (changed(reset=lambda self: 1 // 0), "answers have their shapes", "raised: ZeroDivisionError"),
    "actions beyond the bounds": (
        changed(push=lambda self, a: (1 - a.square()).sqrt().squeeze(-1)), "every action is taken", "±10: .*nan",
    ),
    # ends
    "time is up": (
        changed(terminal=lambda self: torch.full_like(self.x, self.t >= self.line.spec.horizon, dtype=torch.bool)),
        "a time limit is not terminal", "terminal is set with step 15",
    ),
    # randomness
    "another start each time": (changed(noise=fresh), "the same again is the same", "start"),
    "a counter": (with_env(counting), "the same again is the same", "second time: .* of step 0"),
    **{
        f"global {name}": (changed(noise=noise), "the same again is the same", f"random generator of {name} was drawn")
        for name, noise in GLOBAL.items()
    },
    "seeds the global generator": (
        changed(noise=reseeding), "randomness comes from the generator", "seeds the global random generator of torch",
    ),
    "a built-in seed": (
        changed(noise=built_in), "randomness comes from the generator", "a seed is built in",
    ),
    "rewards of a built-in seed": (
        changed(
            reset=from_zero,
            push=lambda self, a: 0 * a.squeeze(-1),
            observe=lambda self: LineEnv.noise(self).unsqueeze(-1).expand(-1, -1, 2),
            reward=lambda self: built_in(self) + self.goal,
        ),
        "randomness comes from the generator", "^rewards differ between episodes",
    ),
    # tasks
    "no task is applied": (
        changed(reward=lambda self: -self.x, wind=property(lambda self: 0, lambda *_: None), success=lambda self: None),
        "tasks are applied", "gave the same",
    ),
    "the first task for all": (with_env(first_for_all), "neighbours do not matter", "of step 0"),
    "a number from before": (
        Levered(early=True), "attributes are as if built in", r"observations\[0\] of step 0.*stays behind",
    ),
    # neighbours
    "the last task for all": (with_env(last_for_all), "neighbours do not matter", "of step 0"),
    "tasks and episodes mixed up": (with_env(tiled), "neighbours do not matter", "of step 0"),
    "observations normalised over the batch": (
        changed(observe=lambda self: LineEnv.observe(self) - self.x.mean()), "neighbours do not matter", "observations",
    ),
    # state
    "the goal is the distribution's": (
        with_env(mode_of_the_distribution, reward=lambda self: -(self.x - self.line.goal).abs()),
        "batches share nothing", "batch 0 of two that take turns.*rewards",
    ),
    "writes into tasks": (with_env(overwriting), "tensors are left alone", "the tasks"),
    "writes into actions": (
        changed(push=lambda self, a: a.clamp_(-1, 1).squeeze(-1)), "tensors are left alone", "the actions of step 0",
    ),
    "writes into observations": (
        changed(observe=written_over), "tensors are left alone", "the observation of the reset",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_by_its_check_and_by_no_other(fault):
    distribution, name, message = FAULTS[fault]
    findings = check(distribution)
    assert verdicts(findings, FAULT) == {name}, findings
    assert any(re.search(message, f.seen) for f in findings if f.verdict == FAULT), findings


def test_an_end_in_the_step_in_which_a_time_limit_runs_out_is_neither_a_fault_nor_noted():
    """Gymnasium allows both flags; other episodes are cut off alone."""

    def terminal(self):
        return (self.x > 0.7) & torch.tensor(self.t == 8)

    distribution = changed(terminal=terminal, truncated=lambda self: torch.full_like(self.x, self.t == 8).bool())
    record = Subject(distribution).episodes
    assert (record.terminal & record.truncated).any()
    assert (~record.terminal & record.truncated).any()
    findings = check(distribution)
    assert verdicts(findings, FAULT) == set()
    assert [f for f in findings if "terminal is set" in f.seen] == []


@pytest.mark.parametrize("limited", [True, False])
def test_an_end_that_moves_with_the_horizon_is_found_where_random_actions_never_get_that_far(limited):
    """A point that is always gone before time is up: only with less time does it show what else ends an episode."""

    def leaves(horizon):
        def terminal(self):
            return (self.x > 2) | torch.tensor(limited and self.t >= self.line.spec.horizon)

        return changed(terminal=terminal, push=lambda self, action: torch.ones_like(self.x), horizon=horizon)

    assert verdicts(check(leaves(200)), FAULT) == set()
    findings = check(leaves(200), leaves)
    assert verdicts(findings, FAULT) == ({"a time limit is not terminal"} if limited else set()), findings
    assert any("terminal moves with the horizon" in finding.seen for finding in findings) == limited


def test_a_failed_check_is_not_repeated_by_checks_that_need_it():
    findings = check(changed(reset=lambda self: 1 // 0))
    assert [f.verdict for f in findings] == ["passed", "passed", FAULT, *[NOT_RUN] * 11]


# ---- what is worth knowing and no fault


class Paired(Line):
    """Wind blows away from the goal."""

    def sample(self, num_tasks, generator):
        return uniform((num_tasks, 1), -1, 1, generator) * torch.tensor([1, -1])

    def make_env(self, tasks, trajectories, generator, device):
        if not torch.equal(tasks[:, 0], -tasks[:, 1]):
            raise ValueError("wind must be -goal")
        return super().make_env(tasks, trajectories, generator, device)


def takes_over(self):
    self.line.last = self
    return LineEnv.reset(self)


def if_last(self, action):
    if self.line.last is not self:
        raise RuntimeError("in use for another batch")
    return LineEnv.push(self, action)


NOTES = {
    "environments that cannot be made anew": (
        drawn(rebuilt=lambda self: None), "attributes are as if built in", "not compared",
    ),
    "no effect of wind": (
        with_env(lambda line, tasks, rows, generator: (line, rows * torch.tensor([1.0, 0.0]), generator)),
        "tasks are applied", "no effect of wind was seen",
    ),
    "one task": (
        drawn(sample=lambda self, n, g: torch.ones(n, 2).double(), train_test_overlap="there is one"),
        "tasks are applied", "all the same",
    ),
    "tasks that only good actions tell apart, and it says so": (
        saying(
            with_env(lambda line, tasks, rows, generator: (line, rows * 0, generator)),
            sparse_reward="only the goal pays",
        ),
        "tasks are applied", "random and constant actions: only the goal pays",
    ),
    "columns that only go together": (
        Paired(),
        "tasks are applied", "cannot be varied one at a time: ValueError: wind must be -goal",
    ),
    "few tasks, and it says so": (
        drawn(
            sample=lambda self, n, g: torch.randint(3, (n, 2), generator=g).double(),
            train_test_overlap="there are nine tasks",
        ),
        "train and test tasks are apart", "40 of 40 .*declared: there are nine tasks",
    ),
    "a shorter list of test tasks": (
        drawn(test_tasks=lambda self, n, g: uniform((5, 2), 2, 3, g)), "tasks are rows of the generator", "5 of 16",
    ),
    "no randomness": (
        changed(noise=lambda self: torch.zeros_like(self.goal)),
        "randomness comes from the generator", "no randomness seen",
    ),
    "the same noise for all episodes": (
        changed(noise=lambda self: torch.rand(1, 1, generator=self.generator).expand_as(self.goal)),
        "randomness comes from the generator", "the same for all episodes of a task",
    ),
    "a limit of its own": (
        changed(truncated=lambda self: torch.full_like(self.x, self.t == 12, dtype=torch.bool)),
        "a time limit is not terminal", r"\(truncated\) after 12 of 16 steps",
    ),
    "ends whenever it is cut off": (
        changed(terminal=lambda self: self.x > 0.7, truncated=lambda self: self.x > 0.72),
        "a time limit is not terminal", r"terminal is set in all \d episodes that were truncated",
    ),
    "no turns": (changed(reset=takes_over, push=if_last), "batches share nothing", "refuse to .*: RuntimeError"),
}  # fmt: skip


@pytest.mark.parametrize("noted", NOTES)
def test_harmless_findings_are_noted(noted):
    distribution, name, message = NOTES[noted]
    findings = check(distribution, lambda horizon: changed(horizon=horizon))
    assert verdicts(findings, FAULT) == set(), findings
    assert [f.seen for f in findings if f.check == name and f.verdict == NOTE and re.search(message, f.seen)], findings


def test_an_end_at_the_horizon_can_be_declared():
    distribution = FAULTS["time is up"][0]
    distribution.ends_at_horizon = "a game has sixteen moves"
    findings = check(distribution)
    assert verdicts(findings, FAULT) == set()
    assert any("declared: a game has sixteen moves" in finding.seen for finding in findings)


# ---- the checker itself


def test_a_check_leaves_the_global_generators_as_they_were_and_closes_what_it_opened():
    left_open = set()

    def make_env(self, *arguments):
        left_open.add(self)
        return Line.make_env(self, *arguments)

    distribution = drawn(make_env=make_env, close=lambda self: left_open.discard(self))
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    check(distribution)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert not left_open


def test_a_distribution_that_hangs_is_a_fault():
    def hang(_):
        limits[-1].left = 0  # the limit is over, soon: on a busy machine good checks may take longer
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        time.sleep(60)

    findings = check(changed(reset=hang))
    assert [f.seen for f in findings if f.verdict == FAULT] == [
        f"raised: TimeoutError: no answer within {checker.LIMIT:g} s"
    ]


# ---- what is shipped


def test_the_listing_sees_every_option():
    assert len(OPTIONS) == len(wiring.options(None)["tasks"]) - 1 > 20
    assert {"navigation_2d", "cartpole", "pendulum", *SLOW} <= set(HERE)


@pytest.mark.parametrize("option", [pytest.param(o, marks=[pytest.mark.slow] * (o in SLOW)) for o in HERE])
def test_every_shipped_distribution_passes(option):
    """In episodes of twenty steps at most."""
    node = wiring.task_node(option, [])
    node.horizon = min(node.horizon, 20)
    try:
        findings = check_node(node)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    assert verdicts(findings, FAULT) == set(), [f for f in findings if f.verdict == FAULT]
    assert verdicts(findings, NOT_RUN) == set()
