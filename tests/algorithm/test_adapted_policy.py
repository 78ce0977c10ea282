"""Adapting to one live environment."""

import hashlib

import gymnasium
import numpy as np
import pytest
import torch

from metarl_exp.algorithm.meta_learner import MetaLearner
from metarl_exp.policy import RNN, CategoricalHead, CategoricalMLP, GaussianMLP
from metarl_exp.tasks import CartPole, Navigation2D
from metarl_exp.tasks.cartpole import NOMINAL


def cartpole_learner(inner_steps=1):
    tasks = CartPole(30, "none", **NOMINAL)
    policy = CategoricalMLP([4], "tanh", tasks.spec, torch.Generator().manual_seed(0))
    return MetaLearner(tasks, policy, 0.1, 1e-3, inner_steps, 2, trajectories=2)


def navigation_learner(inner_steps=1):
    tasks = Navigation2D(5, "scaled", False)
    generator = torch.Generator().manual_seed(0)
    policy = GaussianMLP([4], "tanh", 1.0, 1e-6, 100.0, tasks.spec, generator, torch.float64)
    return MetaLearner(tasks, policy, 0.1, 1e-3, inner_steps, 2, trajectories=2)


def navigation(goal=(0.3, -0.2)):
    return gymnasium.make("metarl_exp/Navigation2D-v0", task=list(goal), horizon=5)


def fingerprint(learner):
    """A hash of θ, the outer optimizer and the generators."""
    tensors = [*learner.theta.values(), *learner.streams.state().values()]
    optimizer = repr(learner.outer_optimizer.state_dict()).encode()
    return hashlib.sha256(b"".join(x.numpy().tobytes() for x in tensors) + optimizer).hexdigest()


def test_gymnasium_s_cartpole_can_be_adapted_to_and_played():
    learner, env = cartpole_learner(), gymnasium.make("CartPole-v1")
    adapted = learner.adapt(env, episodes=3)
    assert adapted.returns.shape == (1, 3)
    assert (adapted.returns >= 8).all()  # no cart pole falls faster
    observation, _ = env.reset(seed=0)
    for deterministic in (True, False):
        action = adapted.act(observation, deterministic)
        assert type(action) is int
        env.step(action)


def test_a_policy_with_memory_remembers_until_it_is_reset():
    tasks = CartPole(30, "none", **NOMINAL)
    policy = RNN("gru", 4, CategoricalHead(tasks.spec), torch.Generator().manual_seed(0))
    learner = MetaLearner(tasks, policy, 0.1, 1e-3, 1, 2, trajectories=2)
    adapted = learner.adapt(gymnasium.make("CartPole-v1"), episodes=2)
    observations = torch.tensor([[0.1, -1.0, 0.2, 1.0], [0.0, 2.0, 0.0, -2.0], [0.1, -1.0, 0.2, 1.0]])
    for _ in range(2):
        whole = policy(adapted.parameters, observations.view(1, 1, 3, 4)).logits[0, 0]
        for observation, logits in zip(observations, whole, strict=True):
            assert adapted.act(observation.numpy()) == logits.argmax()
        adapted.reset()
    adapted.act(observations[1].numpy())
    act = policy.acting(adapted.parameters)
    act(observations[1].view(1, 1, 4))
    expected, found = (a(observations[0].view(1, 1, 4)).logits for a in (act, adapted.acting))
    assert torch.equal(found, expected)


def test_theta_optimizer_and_generators_are_left_as_they_were():
    """Trap 11."""
    learner = cartpole_learner()
    learner.train(1)
    before = fingerprint(learner)
    learner.adapt(gymnasium.make("CartPole-v1"), episodes=2, steps=2)
    assert fingerprint(learner) == before
    learner.train(1)
    assert fingerprint(learner) != before


@pytest.mark.parametrize("make", [cartpole_learner, navigation_learner])
def test_no_steps_give_the_meta_parameters(make):
    learner = make()
    env = gymnasium.make("CartPole-v1") if make is cartpole_learner else navigation()
    adapted = learner.adapt(env, episodes=1, steps=0)
    assert adapted.returns.shape == (0, 1)
    for name, x in learner.theta.items():
        assert torch.equal(adapted.parameters[name][0], x)


def test_by_default_it_takes_as_many_steps_as_training():
    assert navigation_learner(inner_steps=2).adapt(navigation(), episodes=1).returns.shape == (2, 1)
    assert navigation_learner(inner_steps=2).adapt(navigation(), episodes=1, steps=3).returns.shape == (3, 1)


def test_the_schedule_scales_the_steps():
    """Trap 11: the first step from the same data, half as long; the second one half of what follows."""
    learner = navigation_learner()
    theta = learner.theta

    def moved(step_size_schedule, steps=1):
        parameters = learner.adapt(navigation(), 4, steps, step_size_schedule).parameters
        return {name: x[0] - theta[name] for name, x in parameters.items()}

    whole, half, none = moved((1.0,)), moved((0.5,)), moved((1.0, 0.0), steps=3)
    for name in theta:
        torch.testing.assert_close(half[name], 0.5 * whole[name], rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(none[name], whole[name], rtol=0, atol=0)
    assert max(x.abs().max() for x in whole.values()) > 0


def test_adapting_is_the_inner_update_of_training():
    """Trap 2: one function. The episodes of a live environment, one after the other, give the step of a batch."""
    learner = navigation_learner()
    seen = []
    original = learner.advantage

    def remember(trajectories, parameters):
        seen.append(original(trajectories, parameters))
        return seen[-1]

    learner.advantage = remember
    adapted = learner.adapt(navigation(), episodes=4)
    path = learner.adaptation.start(learner.theta, 1, "second")
    path.step(seen[0])
    assert seen[0].mask.shape[:2] == (1, 4)
    for name, x in path.parameters.items():
        torch.testing.assert_close(adapted.parameters[name], x.detach(), rtol=0, atol=0)


def test_returns_are_those_of_the_environment():
    """Gymnasium's own count of every episode, in the order they were played."""
    env = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1", max_episode_steps=30))
    adapted = cartpole_learner().adapt(env, episodes=4, steps=2)
    assert adapted.returns.flatten().tolist() == list(env.return_queue)


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_seed_decides(deterministic):
    def act(seed):
        adapted = navigation_learner().adapt(navigation(), 2, seed=seed)
        return adapted.act(np.array([0.1, -0.1]), deterministic)

    assert np.array_equal(act(0), act(0))
    assert not np.array_equal(act(0), act(1))


def test_the_deterministic_action_is_the_mean_and_the_other_scatters_around_it():
    adapted = navigation_learner().adapt(navigation(), episodes=2)
    adapted.parameters["log_std"] = torch.full_like(
        adapted.parameters["log_std"], -3.0
    )  # so narrow that the bounds clip nothing
    observation = np.array([0.1, -0.1])
    mean = adapted.act(observation)
    assert np.array_equal(mean, adapted.act(observation))
    assert mean.shape == (2,)
    samples = np.array([adapted.act(observation, deterministic=False) for _ in range(1000)])
    std = adapted.parameters["log_std"][0].exp().numpy()
    assert (np.abs(samples.mean(0) - mean) < 5 * std / 1000**0.5).all()  # five standard errors
    np.testing.assert_allclose(samples.std(0), std, rtol=0.12)


def test_an_environment_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"environment has .* the policy was made for"):
        cartpole_learner().adapt(navigation(), episodes=1)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("episodes", {"episodes": 0}),
        ("steps", {"episodes": 1, "steps": -1}),
        ("step_size_schedule", {"episodes": 1, "step_size_schedule": ()}),
    ],
)
def test_arguments_that_mean_nothing_are_refused(field, arguments):
    with pytest.raises(ValueError, match=rf"{field}="):
        navigation_learner().adapt(navigation(), **arguments)


def test_an_adapted_policy_acts_inside_the_bounds_it_was_adapted_in():
    """An action of the policy beyond the bounds is clipped when acting, as it was while adapting."""
    adapted = navigation_learner().adapt(navigation(), episodes=1)
    for name in adapted.parameters:
        adapted.parameters[name] = adapted.parameters[name] + 50.0
    action = adapted.act([1.0, 1.0])
    assert action.tolist() == [1.0, 1.0]
    assert action.dtype == "float32"
