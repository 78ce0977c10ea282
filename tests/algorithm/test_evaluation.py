"""The meta-test protocol: the schedule, the task sets, and that looking changes nothing."""

import hashlib
import pickle

import pytest
import torch

from metarl_exp import wiring
from metarl_exp.algorithm.episodes import mean_returns
from metarl_exp.algorithm.evaluation import Evaluation
from metarl_exp.process.failures import NonFiniteError
from metarl_exp.runs.scoring import summarise
from metarl_exp.tasks.base import uniform
from metarl_exp.types import Spec, Step

SETTINGS = dict(
    steps=3,
    step_size_schedule=[1.0, 0.5],
    step_size_multipliers=[1.0],
    trajectories=4,
    test_tasks=3,
    validation_tasks=5,
    validate_every=10,
    best_by="validation",
    deterministic=False,
    task_seed=1,
)


def evaluation(**changes) -> Evaluation:
    return Evaluation(**SETTINGS | changes)


@pytest.fixture
def learner():
    return wiring.assemble(wiring.compose(["tasks.horizon=6", "policy.hidden_sizes=[5]", "trajectories=3"])).learner


class Quadratic:
    """One step, S = 1; the reward of an action a in task c is −(a − c)². Episodes of length one."""

    spec = Spec(observation_size=1, action_size=1, discrete=False, horizon=1)
    parameter_names = ("c",)
    version = 1

    def sample(self, num_tasks, generator):
        return uniform((num_tasks, 1), 1.0, 2.0, generator)

    def test_tasks(self, num_tasks, generator):
        return self.sample(num_tasks, generator)

    def make_env(self, tasks, trajectories, generator, device):
        return QuadraticEnv(tasks.float().unsqueeze(1).expand(-1, trajectories, 1))


class QuadraticEnv:
    def __init__(self, c):
        self.c = c

    def reset(self):
        return torch.zeros_like(self.c)

    def step(self, action):
        reward = -(action - self.c).square().squeeze(-1)
        return Step(torch.zeros_like(self.c), reward, torch.ones_like(reward, dtype=torch.bool), reward > 0)


def test_k_steps_on_a_quadratic_by_hand(learner):
    """Trap 11: full step first, half afterwards, each on new samples from where the last one ended.

    A linear policy with mean b and standard deviation σ: ∇_b of −mean log π Â is −mean((a − b) Â)/σ². With the raw
    reward as advantage its expectation is −2(c − b), so b moves by α_k · 2(c − b): the distance shrinks by 1 − 2α_k.
    """
    from metarl_exp.algorithm.adaptation import Adaptation
    from metarl_exp.algorithm.fast_weights import All
    from metarl_exp.algorithm.inner_optimizer import InnerOptimizer
    from metarl_exp.algorithm.meta_learner import MetaLearner
    from metarl_exp.policy import GaussianMLP
    from metarl_exp.types import Experience

    distribution = Quadratic()
    policy = GaussianMLP([], "tanh", 0.05, 1e-6, 10.0, distribution.spec, torch.Generator().manual_seed(0))
    learner = MetaLearner(distribution, policy, 0.1, 1e-3, 1, 2)

    class OnlyBias(All):
        def select(self, names):
            return [name for name in names if name.endswith("bias")]

    def centred_rewards(t, parameters):
        advantages = t.rewards - t.rewards.mean((1, 2), keepdim=True)
        return Experience(t.observations, t.actions, advantages, t.mask, parameters, t.rewards)

    learner.advantage = centred_rewards
    rule = InnerOptimizer("SGD", 0.2, {})
    learner.adaptation = Adaptation(1, "first", policy, rule, OnlyBias(), learner.objective.inner_loss)
    protocol = evaluation(trajectories=40000, deterministic=True)
    returns = protocol(learner, learner.theta, "test")
    c = protocol.tasks(learner, "test")[:, 0]
    shrinking = torch.tensor([1.0, 1 - 2 * 0.2, (1 - 2 * 0.2) * (1 - 2 * 0.1), (1 - 2 * 0.2) * (1 - 2 * 0.1) ** 2])
    torch.testing.assert_close(returns.double(), -((c[:, None] * shrinking) ** 2), rtol=0.05, atol=0)


def test_the_multiple_is_chosen_on_validation_tasks_and_scales_the_whole_schedule(learner, monkeypatch):
    protocol, looked_at, measure = evaluation(step_size_multipliers=[0.5, 4.0, 1.0], steps=2), [], Evaluation.measure

    def watched(self, learner, theta, which, *arguments):
        looked_at.append(which)
        return measure(self, learner, theta, which, *arguments)

    monkeypatch.setattr(Evaluation, "measure", watched)
    tuned = protocol.with_best_step_size(learner, learner.theta)
    assert looked_at == ["validation"] * 3
    by_hand = [evaluation(step_size_schedule=[m, m / 2], steps=2) for m in (0.5, 4.0, 1.0)]
    worth = [e(learner, learner.theta, "validation")[:, -1].mean() for e in by_hand]
    assert tuned == by_hand[max(range(3), key=lambda i: worth[i])]
    assert len(set(worth)) == 3
    chosen, returns = protocol.validated(learner, learner.theta)
    assert chosen == tuned
    assert torch.equal(returns, tuned(learner, learner.theta, "validation"))
    looked_at.clear()
    assert evaluation().with_best_step_size(learner, learner.theta) == evaluation()
    assert not looked_at


def test_a_multiplier_with_which_a_task_diverges_is_worse_than_all_others(learner):
    chosen = evaluation(step_size_multipliers=[1e38, 1e-3, 1e37]).with_best_step_size(learner, learner.theta)
    assert chosen == evaluation(step_size_schedule=[1e-3, 5e-4])
    with pytest.raises(NonFiniteError, match="is not finite"):
        evaluation(step_size_multipliers=[1e38, 1e37]).with_best_step_size(learner, learner.theta)


def composed(*overrides):
    return wiring.assemble(
        wiring.compose(["tasks.horizon=6", "policy.hidden_sizes=[5]", "trajectories=3", *overrides])
    ).learner


@pytest.mark.parametrize("overrides", [["adaptation=none"], ["adaptation=none", "oracle=true"]])
def test_a_theta_that_does_not_adapt_is_not_chosen_by_training_returns(overrides):
    """Each batch has other tasks, so that the luckiest draw of them would be the best iterate."""
    with pytest.raises(ValueError, match=r"^evaluation.best_by=training_return with adaptation.inner_steps=0"):
        evaluation(best_by="training_return").check_selection(composed(*overrides))
    evaluation(best_by="validation").check_selection(composed(*overrides))


def test_a_theta_that_adapts_may_be_chosen_by_training_returns():
    evaluation(best_by="training_return").check_selection(composed())
    memory = ["adaptation=none", "trial_episodes=2", "policy=rnn", "policy.hidden_size=4"]
    composition = ["tasks.horizon=6", "trajectories=3", *memory, "outer_optimizer=ppo", "objective.clip=0.2"]
    evaluation(best_by="training_return").check_selection(wiring.assemble(wiring.compose(composition)).learner)


def test_the_three_task_sets_share_no_task(learner):
    protocol = evaluation(test_tasks=40, validation_tasks=40)
    sets = [protocol.tasks(learner, "test"), protocol.tasks(learner, "validation")]
    sets.append(learner.task_distribution.sample(400, learner.streams.tasks))
    rows = [tuple(row) for tasks in sets for row in tasks.tolist()]
    assert len(set(rows)) == len(rows) == 480


def test_task_sets_do_not_depend_on_the_seed_of_training(learner):
    other = wiring.assemble(wiring.compose(["tasks=cartpole", "seed=5"])).learner
    again = wiring.assemble(wiring.compose(["tasks=cartpole", "seed=6"])).learner
    assert torch.equal(evaluation().tasks(other, "test"), evaluation().tasks(again, "test"))


def digest(learner) -> str:
    state = learner.state()
    return hashlib.sha256(
        pickle.dumps([x.tolist() for x in [*state["theta"].values(), *state["streams"].values()]])
    ).hexdigest()


@pytest.mark.parametrize("deterministic", [False, True])
def test_evaluation_touches_neither_theta_nor_the_optimizer_nor_the_generators(learner, deterministic):
    """Trap 11, by hash; and the global generator of torch as well."""
    before, torch_state, optimizer = digest(learner), torch.get_rng_state(), learner.outer_optimizer.state_dict()
    evaluation(deterministic=deterministic)(learner, learner.theta, "test")
    assert digest(learner) == before
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert learner.outer_optimizer.state_dict() == optimizer


def test_two_evaluations_of_one_theta_are_equal_and_training_between_does_not_matter(learner):
    theta = learner.theta
    first = evaluation()(learner, theta, "validation")
    learner.train(1)
    assert torch.equal(evaluation()(learner, theta, "validation"), first)


def test_shapes_and_numbers_of_trajectories(learner):
    measured = evaluation(steps=2, trajectories=7).measure(learner, learner.theta, "test")
    assert [tuple(t.mask.shape[:2]) for t in measured] == [(3, 7)] * 3
    assert mean_returns(measured).shape == (3, 3)


def test_deterministic_returns_have_no_noise_of_the_policy(learner):
    """All episodes of a task are the same, since navigation itself has no randomness; adaptation still explored."""
    measured = evaluation(deterministic=True).measure(learner, learner.theta, "test")
    for trajectories in measured:
        assert torch.equal(trajectories.returns(), trajectories.returns()[:, :1].expand(-1, 4))
    assert not torch.equal(measured[0].returns(), measured[1].returns())


@pytest.mark.parametrize("shared", [True, False])
def test_tasks_that_share_their_noise_differ_by_themselves_alone(learner, shared, monkeypatch):
    protocol = evaluation(shared_noise=shared)
    tasks = protocol.tasks(learner, "test")[[0, 1, 0]]
    monkeypatch.setattr(Evaluation, "tasks", lambda *_: tasks)
    for sampled in protocol.measure(learner, learner.theta, "test"):
        assert torch.equal(sampled.actions[0], sampled.actions[2]) == shared
        assert torch.equal(sampled.rewards[0], sampled.rewards[2]) == shared
        assert not torch.equal(sampled.rewards[0], sampled.rewards[1])


@pytest.mark.parametrize("deterministic", [False, True])
def test_some_tasks_only_watched_in_the_episodes_that_are_measured(learner, deterministic):
    protocol = evaluation(steps=2, deterministic=deterministic)
    seen = {0: [], 2: []}
    watch = {k: lambda env, k=k: seen[k].append(env.position.clone()) for k in seen}
    measured = protocol.measure(learner, learner.theta, "test", rows=[2, 0], watch=watch.get)
    goals = protocol.tasks(learner, "test")[[2, 0]]
    for k, positions in seen.items():
        batch = measured[k]
        assert len(positions) == batch.mask.shape[2] + 1
        final = torch.stack(positions)[batch.mask.sum(2), torch.arange(2)[:, None], torch.arange(4)]
        torch.testing.assert_close(final, batch.final_observations)
    distance = (measured[0].final_observations - goals.float()[:, None]).norm(dim=-1)
    last = measured[0].rewards.gather(2, measured[0].mask.sum(2, keepdim=True) - 1).squeeze(2)
    torch.testing.assert_close(last, -distance)  # rewards are those of the chosen tasks


def test_a_summary_counts_the_tasks_made_worse():
    """Trap 14."""
    entry = summarise(torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.0, 2.0], [0.0, 3.0]]), 7)
    assert entry["tasks_made_worse"] == [0.0, 0.25]
    assert entry["mean"] == [0.0, 1.25]
    assert entry["n"] == 4
