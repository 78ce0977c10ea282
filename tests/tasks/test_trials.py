"""Trials: what a policy with memory sees of several episodes of one task."""

import pytest
import torch

from metarl_exp import wiring
from metarl_exp.algorithm.episodes import mean_returns, success_rates
from metarl_exp.algorithm.sampler import Sampler, action_noise, sample_episodes
from metarl_exp.maths.distributions import Categorical, DiagonalGaussian
from metarl_exp.policy import RNN, CategoricalHead
from metarl_exp.runs import results, scoring
from metarl_exp.tasks import Bandit, CartPole, Navigation2D, TabularMDP
from metarl_exp.tasks.base import Closeable, Divisible, DrawsPaths, Solvable
from metarl_exp.tasks.trials import TrialEnv, Trials
from metarl_exp.types import Spec, Step

CPU = torch.device("cpu")
LENGTHS = torch.tensor([[[3, 1], [2, 4]], [[1, 2], [4, 4]], [[2, 4], [1, 3]]])  # [E, N, M], the horizon being 4
TERMINAL = torch.tensor([[True, False], [True, False]])  # [N, M] of all episodes shorter than the horizon
SPEC = Spec(observation_size=1, action_size=1, discrete=False, horizon=4)


class Scripted:
    """The k-th episodes: each observes 100 k + t and is paid as much for the step from there; nonsense once over."""

    def __init__(self, episode):
        self.episode, self.lengths = episode, LENGTHS[episode]

    def reset(self):
        self.t = 0
        return torch.full((2, 2, 1), 100.0 * self.episode)

    def step(self, action):
        now = 100.0 * self.episode + self.t
        over = self.t >= self.lengths
        self.t += 1
        ended = (self.t == self.lengths) & (self.lengths < SPEC.horizon)
        observation, reward = torch.full((2, 2, 1), now + 1), torch.full((2, 2), now)
        return Step(
            observation.masked_fill(over.unsqueeze(-1), torch.nan),
            reward.masked_fill(over, torch.nan),
            ended & TERMINAL,
            ended & ~TERMINAL,
            success=torch.full((2, 2), self.t == 2),
        )


class Counting:
    """Acts with the number of steps that it remembers, of all that have counted so far."""

    spec, distribution = SPEC._replace(observation_size=4, horizon=12), DiagonalGaussian

    def acting(self, parameters):
        steps = torch.zeros(2, 2)

        def distribution(observations, idle=None):
            nonlocal steps
            now = steps
            steps = torch.where(torch.zeros(2, 2, dtype=torch.bool) if idle is None else idle, steps, steps + 1)
            return DiagonalGaussian(now.unsqueeze(-1), torch.zeros(2, 2, 1))

        return distribution


@pytest.fixture
def trials():
    env = TrialEnv([Scripted(e) for e in range(3)], SPEC)
    noise = action_noise(Counting(), (2, 2), torch.Generator())
    return sample_episodes(env, Counting(), {"p": torch.zeros(2)}, noise, deterministic=True)


def test_a_trial_is_its_episodes_one_after_the_other_without_gaps(trials):
    """Against a walk through one trajectory after the other."""
    assert trials.mask.sum(2).equal(LENGTHS.sum(0))
    assert trials.mask.shape[2] == LENGTHS.sum(0).max()
    for n, m in torch.cartesian_prod(torch.arange(2), torch.arange(2)).tolist():
        seen, last = [], [0.0, 0.0, 0.0]
        for episode in range(3):
            for t in range(LENGTHS[episode, n, m]):
                seen.append([100.0 * episode + t, *last])
                last = [len(seen) - 1.0, 100.0 * episode + t, float(t + 1 == LENGTHS[episode, n, m])]
        happened = trials.mask[n, m]
        assert trials.observations[n, m][happened].tolist() == seen
        assert trials.actions[n, m, :, 0][happened].tolist() == list(range(len(seen)))
        assert trials.rewards[n, m][happened].tolist() == [row[0] for row in seen]
        assert trials.final_observations[n, m].tolist() == [200.0 + LENGTHS[2, n, m], *last]
        assert happened.tolist() == sorted(happened.tolist(), reverse=True)
        for x in trials[:5]:
            assert not x[n, m][~happened].any()


def test_only_the_end_of_the_last_episode_ends_a_trial(trials):
    """In the MDP where that one ended in it; a limit, that of the horizon too, is none."""
    lasts = [(n, m, LENGTHS[:, n, m].sum().item() - 1) for n, m in ((0, 0), (1, 0))]
    assert [tuple(place) for place in trials.terminal.nonzero().tolist()] == lasts


def test_a_trial_is_divided_into_its_episodes(trials):
    parts = Trials(Navigation2D(4, "scaled", False), 3).episodes(trials)
    assert len(parts) == 3
    for episode, part in enumerate(parts):
        assert part.mask.sum(2).equal(LENGTHS[episode])
        assert part.mask.shape[2] == LENGTHS[episode].max()
        t = torch.arange(part.mask.shape[2])
        assert part.observations[..., 0].equal((100.0 * episode + t) * part.mask)
        assert part.success.equal(part.mask & (t == 1))
        following = [100.0 * (episode + 1), 0.0][episode == 2]
        if episode < 2:
            assert (part.final_observations[..., 0] == following).all()
        else:
            assert part.final_observations.equal(trials.final_observations)
    expected = torch.stack([(LENGTHS[e] * (LENGTHS[e] - 1) / 2 + 100.0 * e * LENGTHS[e]).mean(1) for e in range(3)], 1)
    assert mean_returns(parts).equal(expected)
    assert success_rates(parts).equal(torch.stack([(LENGTHS[e] >= 2).double().mean(1) for e in range(3)], 1))


def test_a_discrete_action_is_shown_one_hot_and_a_trial_begins_with_zeros():
    trials, generator = Trials(Bandit(3, 2, "gaussian"), 2), torch.Generator().manual_seed(0)
    assert trials.spec == Spec(observation_size=1 + 3 + 2, action_size=3, discrete=True, horizon=4)
    env = trials.make_env(trials.sample(2, generator), 2, generator, CPU)
    assert env.reset()[..., 1:].eq(0).all()
    for t in range(4):
        action = torch.tensor([[0, 1], [2, 2]])
        step = env.step(action)
        assert step.observation[..., 1:4].equal(torch.nn.functional.one_hot(action, 3).float())
        assert step.observation[..., 4].equal(step.reward)
        assert step.observation[..., 5].eq(float(t in (1, 3))).all()
        assert step.idle is None
    assert env.reset()[..., 1:].eq(0).all()


def test_every_episode_has_luck_of_its_own_and_the_same_task():
    generator = torch.Generator().manual_seed(0)
    mdps = TabularMDP(4, 2, 5)
    tasks, trials = mdps.sample(3, generator), Trials(mdps, 2)
    env = trials.make_env(tasks, 4, generator, CPU)
    env.reset()
    rewards = torch.stack([env.step(torch.zeros(3, 4, dtype=torch.long)).reward for _ in range(10)], 2)
    assert (rewards[..., 0] != rewards[..., 5]).all()
    # Both episodes start in state 0: over many, the first reward has the mean of that state's.
    many = trials.make_env(tasks, 20_000, generator, CPU)
    many.reset()
    rewards = torch.stack([many.step(torch.zeros(3, 20_000, dtype=torch.long)).reward for _ in range(6)], 2)
    expected = mdps.mdps(tasks).rewards[:, 0, 0]
    for t in (0, 5):
        assert ((rewards[..., t].double().mean(1) - expected).abs() < 4 / 20_000**0.5).all()


def test_trials_drop_protocols_that_depend_on_the_observation():
    trials = Trials(Navigation2D(4, "scaled", False), 2)
    assert isinstance(trials, Divisible)
    assert not isinstance(trials, DrawsPaths)
    assert not isinstance(trials, Closeable)
    mdps = Trials(TabularMDP(3, 2, 4), 2)
    assert isinstance(mdps, Solvable)
    tasks = mdps.sample(2, torch.Generator())
    assert mdps.optimal_returns(tasks).equal(mdps.of.optimal_returns(tasks))  # of one episode, as returns are


# ---- the policy's memory


def test_memory_lasts_a_trial_and_stands_still_while_it_is_idle():
    """What acted, step by step in trials of poles that fall at different times, is what the whole sequence gives."""
    poles = CartPole(15, "none", [0.2, 1.5], [0.1, 0.1], [1, 1], [9.8, 9.8], [10.0, 30.0])
    trials, generator = Trials(poles, 3), torch.Generator().manual_seed(0)
    policy = RNN("gru", 8, CategoricalHead(trials.spec), generator)
    acted = []

    class Watched:
        spec, distribution = trials.spec, Categorical

        def acting(self, parameters):
            act = policy.acting(parameters)

            def distribution(observations, idle=None):
                acted.append(act(observations, idle))
                return acted[-1]

            return distribution

    theta = dict(policy.named_parameters())
    with torch.no_grad():
        theta["weight_hh"].mul_(3)
    sampled = Sampler(Watched(), trials, 5, CPU)(theta, trials.sample(4, generator), generator, generator)
    lengths = torch.stack([episode.mask.sum(2) for episode in trials.episodes(sampled)])
    assert (lengths[0] != lengths[0].flatten()[0]).any()  # some were idle
    together = policy(theta, sampled.observations).logits
    steps = lengths.amax((1, 2)).cumsum(0)  # the k-th episodes began at these steps of the batch
    starts = [0, *steps[:2].tolist()]
    logits = torch.stack([distribution.logits for distribution in acted], 2)
    for n, m in torch.cartesian_prod(torch.arange(4), torch.arange(5)).tolist():
        when = [
            start + t for start, length in zip(starts, lengths[:, n, m].tolist(), strict=True) for t in range(length)
        ]
        torch.testing.assert_close(logits[n, m, when], together[n, m, : len(when)], rtol=1e-5, atol=1e-6)


def test_memory_begins_with_the_trial_and_goes_on_over_its_episodes():
    """The same observation at the beginning of two trials, and at that of an episode inside."""
    bandit = Trials(Bandit(2, 1, "bernoulli"), 2)
    policy = RNN("lstm", 8, CategoricalHead(bandit.spec), torch.Generator().manual_seed(0))
    theta, start = dict(policy.named_parameters()), torch.ones(1, 1, bandit.spec.observation_size)
    act = policy.acting(theta)
    first, second = act(start).logits, act(start).logits
    assert not first.allclose(second)
    assert policy.acting(theta)(start).logits.equal(first)


# ---- runs


CHOSEN = ["tasks=bernoulli_bandit", "tasks.horizon=3", "policy=rnn", "trial_episodes=4", "adaptation=none"]


def test_one_key_makes_trials_of_a_distribution_and_returns_are_those_of_episodes():
    parts = wiring.assemble(
        wiring.compose([*CHOSEN, "evaluation.trajectories=3", "evaluation.test_tasks=5", "threads=1"])
    )
    learner = parts.learner
    assert learner.policy.spec.horizon == 12
    record = learner.train(1)[0]
    assert record.returns.shape == (20, 4)
    assert record.metrics["env_steps"] == 20 * 20 * 12
    returns = parts.evaluation(learner, learner.theta, "test")
    assert returns.shape == (5, 4)
    content, _ = scoring.evaluate(learner, parts.evaluation, {"best": scoring.Candidate(1, learner.theta)})
    assert content["protocol"]["steps"] == 3
    torch.testing.assert_close(torch.tensor(content["theta"]["best"]["returns"]), returns, rtol=0, atol=1e-5)
    text = results.markdown(content)
    assert text.splitlines()[0] == "| θ | 0 episodes | 1 episode | 2 episodes | 3 episodes |"
    assert "after episodes of a trial" in text
    assert len(content["optimal_returns"]) == 5


def test_the_key_is_part_of_the_fingerprint_and_its_neutral_value_is_not():
    trials, plain = wiring.compose(["trial_episodes=2"]), wiring.compose()
    assert wiring.fingerprint(trials) != wiring.fingerprint(plain)
    assert "trial_episodes" not in wiring.fingerprinted(plain)
    assert wiring.environment_identity(trials) == wiring.environment_identity(plain)
    assert wiring.training_steps(trials) == 2 * wiring.training_steps(plain)


def test_gradient_steps_between_trials_are_refused_with_the_reason():
    with pytest.raises(ValueError, match="adaptation.inner_steps=1 with trials .*: within a trial a policy adapts"):
        wiring.assemble(wiring.compose([*CHOSEN[:-1], "adaptation=one_step"]))
    with pytest.raises(ValueError, match="trial_episodes=0: must be an integer ≥ 1"):
        wiring.assemble(wiring.compose([*CHOSEN, "trial_episodes=0"]))
