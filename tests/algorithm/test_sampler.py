"""Rollouts in scripted environments, where every number is known."""

import signal
import sys
import time
import traceback
from functools import partial

import pytest
import torch

from metarl_exp.algorithm.episodes import join_episodes, success_rates
from metarl_exp.algorithm.sampler import Sampler, action_noise, sample_episodes
from metarl_exp.maths.distributions import Categorical, DiagonalGaussian
from metarl_exp.policy import CategoricalMLP
from metarl_exp.process.failures import EnvironmentFailure, NonFiniteError
from metarl_exp.tasks import Navigation2D
from metarl_exp.tasks.guard import limits
from metarl_exp.types import Spec, Step

LENGTHS = torch.tensor([[3, 1], [2, 5]])  # when the episodes end, the horizon being 5
TERMINAL = torch.tensor([[True, False], [False, False]])  # [0, 0] ends in the MDP, [0, 1] and [1, 0] by a limit
SPEC = Spec(observation_size=1, action_size=1, discrete=False, horizon=5)


class Scripted:
    """Observes t, rewards 10 t + 1 for the step from t; dead episodes go on to say nonsense."""

    def __init__(self, lengths=LENGTHS, nonsense=torch.nan):
        self.lengths, self.nonsense, self.actions = lengths, nonsense, []
        self.in_the_mdp = TERMINAL[: lengths.shape[0], : lengths.shape[1]]

    def reset(self):
        self.t = 0
        return torch.zeros(*self.lengths.shape, 1)

    def step(self, action):
        self.actions.append(action)
        reward = torch.full(self.lengths.shape, 10.0 * self.t + 1)
        self.t += 1
        dead = self.t > self.lengths
        ended = self.t == self.lengths
        observation = torch.full((*self.lengths.shape, 1), float(self.t)).masked_fill(dead.unsqueeze(-1), self.nonsense)
        return Step(
            observation, reward.masked_fill(dead, self.nonsense), ended & self.in_the_mdp, ended & ~self.in_the_mdp
        )


class Acting:
    """What the policies below share: a policy that has nothing to compute once."""

    def acting(self, parameters):
        return partial(self, parameters)


class Echo(Acting):
    """The mean action is the observation times the task's parameter, the deviation 1."""

    spec, distribution = SPEC, DiagonalGaussian

    def __call__(self, parameters, observations):
        gain = parameters["gain"].view(-1, *[1] * (observations.dim() - 1))
        return DiagonalGaussian(gain * observations, torch.zeros_like(observations))


GAIN = {"gain": torch.tensor([1.0, 2.0])}


def sample(env, policy=None, parameters=GAIN, shape=(2, 2), generator=None, **options):
    policy = policy or Echo()
    noise = action_noise(policy, shape, generator or torch.Generator())
    return sample_episodes(env, policy, parameters, noise, **options)


def roll(env=None, seed=0, deterministic=False):
    generator = torch.Generator().manual_seed(seed)
    return sample(env or Scripted(), deterministic=deterministic, generator=generator), generator


def test_everything_that_happened_is_there_and_nothing_else():
    trajectories, _ = roll(deterministic=True)
    t = torch.arange(5.0)
    mask = t < LENGTHS.unsqueeze(-1)
    assert torch.equal(trajectories.mask, mask)
    assert torch.equal(trajectories.observations[..., 0], t * mask)
    assert torch.equal(trajectories.actions[..., 0], GAIN["gain"].view(2, 1, 1) * t * mask)
    assert torch.equal(trajectories.rewards, (10 * t + 1) * mask)
    assert trajectories.returns().tolist() == [[33, 1], [12, 105]]


def test_ends_of_the_mdp_and_limits_are_kept_apart():
    """Trap 13: only the episode that ended in the MDP has a terminal step; the horizon sets none either."""
    trajectories, _ = roll()
    assert trajectories.terminal.nonzero().tolist() == [[0, 0, 2]]


def test_the_final_observation_is_what_followed_the_last_step():
    trajectories, _ = roll()
    assert torch.equal(trajectories.final_observations[..., 0], LENGTHS.float())


@pytest.mark.parametrize("longest", [1, 2, 4])
def test_stops_when_all_episodes_have_ended(longest):
    env = Scripted(LENGTHS.clamp_max(longest))
    trajectories, _ = roll(env)
    assert trajectories.mask.shape[-1] == len(env.actions) == min(longest, 5)


def test_the_horizon_is_the_limit():
    trajectories, _ = roll(Scripted(torch.full((2, 2), 99)))
    assert trajectories.mask.shape[-1] == SPEC.horizon
    assert trajectories.mask.all()
    assert not trajectories.terminal.any()


def test_the_noise_used_up_does_not_depend_on_when_episodes_end():
    """The next rollout sees the same random numbers, and so do the episodes that go on."""
    (short, after_short), (long, after_long) = roll(Scripted(torch.ones(2, 2))), roll(Scripted(torch.full((2, 2), 5)))
    assert torch.equal(after_short.get_state(), after_long.get_state())
    assert torch.equal(short.actions[:, :, 0], long.actions[:, :, 0])
    ended_early, _ = roll()
    alive = ended_early.mask.unsqueeze(-1)
    assert torch.equal(ended_early.actions, long.actions.masked_fill(~alive, 0))


def test_sampled_actions_reached_the_environment():
    env = Scripted(torch.full((2, 2), 5))
    trajectories, _ = roll(env)
    assert torch.equal(torch.stack(env.actions, dim=2), trajectories.actions)


def test_the_same_seed_gives_the_same_trajectories():
    (first, _), (again, _), (other, _) = (roll(seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.actions, again.actions)
    assert not torch.equal(first.actions, other.actions)


def test_nothing_sampled_has_a_gradient():
    trajectories = sample(Scripted(), parameters={"gain": torch.ones(2, requires_grad=True)})
    assert not any(x.requires_grad for x in trajectories if x is not None)


def test_the_policy_s_precision_is_the_data_s():
    trajectories = sample(Scripted(), parameters={"gain": torch.ones(2).double()})
    for name in ("observations", "actions", "rewards", "final_observations"):
        assert getattr(trajectories, name).dtype == torch.float64


# ---- numbers that are none


class Broken(Scripted):
    """One quantity of one living episode is not finite at the second step."""

    def __init__(self, field, value):
        super().__init__(nonsense=0.0)
        self.field, self.value = field, value

    def step(self, action):
        step = super().step(action)
        if self.t == 2:
            getattr(step, self.field)[1, 0] = self.value
        return step


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_reward_that_is_not_finite_names_task_trajectory_and_step(value):
    with pytest.raises(NonFiniteError, match=r"rewards \(indices: task.*first at \[1, 0, 1\]") as caught:
        roll(Broken("reward", value))
    assert caught.value.batch.mask.shape == (2, 2, 5)


def test_an_observation_that_is_not_finite_is_named():
    """It followed the last step of its episode, so it is the final one, and no action came of it."""
    with pytest.raises(NonFiniteError, match=r"final_observations.*first at \[1, 0, 0\]"):
        roll(Broken("observation", torch.nan))


def test_a_gaussian_policy_that_is_not_finite_names_its_task():
    with pytest.raises(NonFiniteError, match=r"first at \[1"):
        sample(Scripted(), parameters={"gain": torch.tensor([1.0, torch.nan])})


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_categorical_policy_that_is_not_finite_names_its_task(deterministic):
    """The argmax of logits that are not numbers is a perfectly good action."""
    policy = CategoricalMLP([], "tanh", Spec(1, 2, True, 5))
    parameters = {name: p.detach().expand(2, *p.shape).clone() for name, p in policy.named_parameters()}
    parameters["layers.0.bias"][1] = torch.nan
    with pytest.raises(NonFiniteError, match=r"first at \[1"):
        sample(Scripted(), policy, parameters, deterministic=deterministic)


# ---- Sampler


def test_the_sampler_steps_every_task_with_its_own_parameters():
    """Two tasks, two parameters: the first walks right, the second up."""
    tasks = Navigation2D(3, "scaled", False)

    class Walk(Acting):
        spec, distribution = tasks.spec, DiagonalGaussian

        def __call__(self, parameters, observations):
            mean = parameters["direction"].view(-1, *[1] * (observations.dim() - 2), 2).expand_as(observations)
            return DiagonalGaussian(mean, torch.zeros_like(mean))

    sampler = Sampler(Walk(), tasks, trajectories=4, device=torch.device("cpu"))
    goals = torch.tensor([[0.5, 0.0], [0.0, 0.5]], dtype=torch.float64)
    generators = torch.Generator(), torch.Generator()
    trajectories = sampler({"direction": torch.eye(2)}, goals, *generators, deterministic=True)
    assert trajectories.mask.shape == (2, 4, 3)
    expected = torch.tensor([[0.3, 0.0], [0.0, 0.3]]).unsqueeze(1).expand(2, 4, 2)
    torch.testing.assert_close(trajectories.final_observations, expected)
    torch.testing.assert_close(trajectories.returns(), torch.full((2, 4), -0.4 - 0.3 - 0.2))


# ---- join_episodes


def test_episodes_are_joined_with_zeros_after_the_shorter_ones():
    environments = [Scripted(torch.full((2, 1), length)) for length in (2, 4, 1)]
    singles = [sample(env, shape=(2, 1), deterministic=True) for env in environments]
    joined = join_episodes(singles)
    assert joined.mask.shape == (2, 3, 4)
    assert joined.observations.shape == (2, 3, 4, 1)
    assert joined.mask[0].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert joined.returns()[0].tolist() == [12, 1 + 11 + 21 + 31, 1]
    assert joined.final_observations[0, :, 0].tolist() == [2, 4, 1]
    for j, single in enumerate(singles):
        length = single.mask.shape[2]
        for whole, part in zip(joined[:-1], single[:-1], strict=True):
            assert torch.equal(whole[:, j, :length], part[:, 0])
            assert not whole[:, j, length:].any()
            assert whole.dtype == part.dtype


def test_discrete_actions_stay_integers_when_joined():
    class Choose(Acting):
        spec, distribution = Spec(1, 2, True, 5), Categorical

        def __call__(self, parameters, observations):
            return Categorical(torch.cat([observations, 2 - observations], dim=-1))

    singles = [sample(Scripted(LENGTHS[:1, :1]), Choose(), shape=(1, 1)) for _ in range(2)]
    assert join_episodes(singles).actions.dtype == torch.int64


# ---- success, and what foreign code may do


class Reaching(Scripted):
    """The goal is reached at the second step, and again (nonsense) by episodes that are over."""

    def step(self, action):
        step = super().step(action)
        return step._replace(success=torch.full(self.lengths.shape, self.t in (2, 4)))


def test_success_at_any_step_that_happened_counts_and_none_after_the_end():
    trajectories, _ = roll(Reaching())
    assert trajectories.success.any(-1).tolist() == [[True, False], [True, True]]  # lengths 3, 1, 2, 5
    assert success_rates([trajectories, trajectories]).tolist() == [[0.5, 0.5], [1.0, 1.0]]
    assert success_rates([roll()[0]]) is None
    joined = join_episodes([trajectories, trajectories])
    assert torch.equal(joined.success, torch.cat([trajectories.success] * 2, dim=1))


class Foreign(Scripted):
    """Does something at its third step."""

    def __init__(self, deed):
        super().__init__()
        self.deed = deed

    def step(self, action):
        if self.t == 2:
            self.deed()
        return super().step(action)


def hang():
    limits[-1].left = 0  # the limit is over, soon: on a busy machine good steps may take longer
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    time.sleep(60)


@pytest.mark.parametrize("deed", [lambda: 1 // 0, lambda: sys.exit(0), hang])
def test_an_environment_that_raises_exits_or_hangs_is_a_failure_with_its_own_traceback(deed):
    """Trap 16: within the limit, naming the step; the cause's traceback has the line that did it."""
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(EnvironmentFailure, match=r"^step 2: (ZeroDivision|SystemExit|Timeout)") as caught:
        sample(Foreign(deed), limit=300)
    assert deed.__name__ in {frame.name for frame in traceback.extract_tb(caught.value.__cause__.__traceback__)}
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_ctrl_c_passes():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(Foreign(interrupt))
