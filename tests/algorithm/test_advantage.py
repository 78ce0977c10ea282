"""From trajectories to experience: the baseline is fitted here, once, and nowhere else."""

import numpy as np
import pytest
import torch

from metarl_exp.algorithm.advantage import GAE, CriticGAE
from metarl_exp.maths import baseline
from metarl_exp.policy import CategoricalMLP, CriticMLP, CriticRNN, GaussianHead
from metarl_exp.types import Spec, Trajectories

SETTINGS = {"discount": 0.9, "gae_lambda": 0.8, "ridge": 1e-5, "standardise": False, "bootstrap_time_limit": False}
LENGTHS = torch.tensor([[4, 2, 4], [3, 4, 4]])


def gae(**settings):
    return GAE(**SETTINGS | settings)


def make_trajectories(horizon=4, dtype=torch.float64):
    """Random episodes of unequal length; the second of task 0 ended in the MDP; padded to `horizon`."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(4) < LENGTHS.unsqueeze(-1)
    terminal = torch.zeros_like(mask)
    terminal[0, 1, 1] = True
    sizes = [(2, 3, 4, 2), (2, 3, 4, 2), (2, 3, 4)]
    drawn = [torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes]
    fields = [x.masked_fill(~mask.view(2, 3, 4, *[1] * (x.dim() - 3)), 0).to(dtype) for x in drawn]
    final = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64).to(dtype)
    over_time = [
        torch.cat([x, torch.zeros(2, 3, horizon - 4, *x.shape[3:]).to(x.dtype)], dim=2)
        for x in (*fields, terminal, mask)
    ]
    return Trajectories(*over_time, final)


def by_hand(trajectories, bootstrap, discount=0.9, lambda_=0.8, ridge=1e-5):
    """Task after task and episode after episode, in numpy."""
    advantages = np.zeros(trajectories.rewards.shape)
    for i in range(2):

        def features(observation, t):
            o, t = np.clip(observation.numpy(), -10, 10), t / 100
            return np.concatenate([o, o**2, [] if bootstrap else [t, t**2, t**3], [1.0]])

        rows, targets, beyond, episodes = [], [], [], []
        for j in range(3):
            length = int(LENGTHS[i, j])
            rewards = trajectories.rewards[i, j, :length].numpy()
            inputs = [features(trajectories.observations[i, j, t], t) for t in range(length)]
            final = features(trajectories.final_observations[i, j], length)
            rows += inputs
            targets += [sum(discount ** (u - t) * rewards[u] for u in range(t, length)) for t in range(length)]
            ended = trajectories.terminal[i, j].any()
            goes_on = bootstrap and not ended
            beyond += [goes_on * discount ** (length - t) * final for t in range(length)]
            episodes.append((rewards, np.array(inputs), final, ended))
        x, y, following = np.array(rows), np.array(targets), np.array(beyond)
        weights = np.linalg.solve(x.T @ (x - following) + ridge * np.eye(x.shape[1]), x.T @ y)
        for j, (rewards, inputs, final, ended) in enumerate(episodes):
            values = np.append(inputs @ weights, final @ weights if bootstrap and not ended else 0.0)
            errors = rewards + discount * values[1:] - values[:-1]
            for t in range(len(rewards)):
                advantages[i, j, t] = sum((discount * lambda_) ** k * e for k, e in enumerate(errors[t:]))
    return torch.from_numpy(advantages)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_advantages_are_those_by_hand(bootstrap):
    """Trap 13: a limit is worth the baseline's value of what followed, or nothing; an end of the MDP never."""
    found = gae(bootstrap_time_limit=bootstrap)(make_trajectories(), {}).advantages
    torch.testing.assert_close(found, by_hand(make_trajectories(), bootstrap), rtol=0, atol=1e-9)


def cycle(horizon, episodes=4):
    """Episodes of the cycle of states 0 → 1 → 2 → 0 …, one-hot, paid 1, −2 and 5; each starts elsewhere."""
    states = (torch.arange(horizon + 1) + torch.arange(episodes).unsqueeze(-1)) % 3
    seen = torch.nn.functional.one_hot(states, 3).double().unsqueeze(0)
    rewards = torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)[states[None, :, :-1]]
    nothing, all_steps = torch.zeros_like(rewards), torch.ones_like(rewards, dtype=torch.bool)
    return Trajectories(seen[:, :, :-1], nothing.long(), rewards, ~all_steps, all_steps, seen[:, :, -1]), states


@pytest.mark.parametrize("horizon", [1, 4, 50])
def test_a_task_that_a_time_limit_only_interrupts_is_worth_what_it_pays_for_ever(horizon):
    """V = (I − γ P)⁻¹ r of the cycle, whatever the limit is, at every step and at the limit."""
    trajectories, states = cycle(horizon)
    moves = torch.eye(3, dtype=torch.float64).roll(1, 1)
    exact = torch.linalg.solve(torch.eye(3) - 0.9 * moves, torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64))
    found, final = gae(bootstrap_time_limit=True, ridge=1e-9).values(trajectories, {})
    torch.testing.assert_close(found[0], exact[states[:, :-1]], rtol=0, atol=1e-5)
    torch.testing.assert_close(final[0], exact[states[:, -1]], rtol=0, atol=1e-5)
    torch.testing.assert_close(
        gae(bootstrap_time_limit=True, ridge=1e-9)(trajectories, {}).advantages,
        torch.zeros_like(found),
        rtol=0,
        atol=1e-4,
    )


def test_a_reward_of_1_for_ever_is_worth_10_at_the_limit():
    """1 / (1 − γ)."""
    t, _ = cycle(50, episodes=20)
    t = t._replace(observations=t.observations[..., :1] * 0, final_observations=t.final_observations[..., :1] * 0)
    values, final = gae(bootstrap_time_limit=True).values(t._replace(rewards=torch.ones_like(t.rewards)), {})
    assert final[0, 0].item() == pytest.approx(10, abs=1e-4)
    assert values[0, 0, -1].item() == pytest.approx(10, abs=1e-4)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_ending_early_is_judged_by_whether_the_limit_is_an_end(bootstrap):
    """A step costs 1; half of the episodes end at step 10 for 2 more, the others go on: to step 12, or for ever.

    Ending costs 7.29 from the start; going on 7.18 if the limit is the end, and 10 if it is not.
    """
    mask = torch.ones(1, 20, 12, dtype=torch.bool)
    mask[:, ::2, 10:] = False
    terminal, rewards = torch.zeros_like(mask), -torch.ones(1, 20, 12)
    terminal[:, ::2, 9] = True
    rewards[:, ::2, 9] -= 2.0
    observations, actions = torch.zeros(1, 20, 12, 1), torch.zeros(1, 20, 12, dtype=torch.long)
    t = Trajectories(observations, actions, rewards * mask, terminal, mask, torch.zeros(1, 20, 1))
    ends, goes_on = gae(gae_lambda=1.0, bootstrap_time_limit=bootstrap)(t, {}).advantages[0, :2, 0]
    assert (ends > goes_on) == bootstrap


def test_without_a_discount_a_limit_that_only_interrupts_is_refused():
    with pytest.raises(ValueError, match=r"^advantage.discount=1.0 with advantage.bootstrap_time_limit=true"):
        gae(discount=1.0, bootstrap_time_limit=True)


def test_discounted_rewards_are_discounted_from_the_start_of_the_episode():
    """γ^t r_t of three steps by hand: the first reward counts whole."""
    mask = torch.tensor([[[True, True, True], [True, False, False]]])
    rewards = torch.tensor([[[2.0, -4.0, 8.0], [3.0, 0.0, 0.0]]])
    observations, nothing = torch.zeros(1, 2, 3, 1), torch.zeros(1, 2, 3, dtype=torch.long)
    t = Trajectories(observations, nothing, rewards, ~mask & mask, mask, torch.zeros(1, 2, 1))
    found = gae(discount=0.5)(t, {}).discounted_rewards
    assert found.tolist() == [[[2.0, -2.0, 2.0], [3.0, 0.0, 0.0]]]


def test_bootstrapping_changes_no_advantage_of_an_episode_that_ends_in_the_mdp_but_by_its_values():
    """With λ = 1 an advantage is the return minus V, and the return of an episode that ended has no value in it."""
    t = make_trajectories()
    returns = []
    for bootstrap in (False, True):
        estimator = gae(bootstrap_time_limit=bootstrap, gae_lambda=1.0)
        returns.append(estimator(t, {}).advantages + estimator.values(t, {})[0])
    mask = t.mask[0, 1]
    torch.testing.assert_close(returns[0][0, 1][mask], returns[1][0, 1][mask])
    assert (returns[0] - returns[1])[1].abs().max() > 1e-3


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("standardise", [False, True])
def test_padding_changes_nothing(bootstrap, standardise):
    """Trap 6."""
    estimator = gae(bootstrap_time_limit=bootstrap, standardise=standardise)
    narrow, wide = (estimator(make_trajectories(horizon), {}).advantages for horizon in (4, 9))
    torch.testing.assert_close(wide[..., :4], narrow, rtol=0, atol=1e-9)
    assert not wide[..., 4:].any()


def test_tasks_are_fitted_apart():
    """Other rewards in task 1 leave task 0 as it was."""
    trajectories = make_trajectories()
    other = trajectories._replace(rewards=trajectories.rewards * torch.tensor([1.0, 5.0]).view(2, 1, 1))
    first, second = (gae(standardise=True)(t, {}).advantages for t in (trajectories, other))
    assert torch.equal(first[0], second[0])


def test_standardised_advantages_have_mean_zero_and_deviation_one_in_each_task():
    experience = gae(standardise=True)(make_trajectories(), {})
    for advantages, mask in zip(experience.advantages, experience.mask, strict=True):
        assert advantages[mask].mean().item() == pytest.approx(0, abs=1e-14)
        assert advantages[mask].std(correction=0).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("rewards", [0.0, 1.0])
def test_constant_observations_and_rewards_stay_finite(rewards):
    """Trap 6: rank-deficient features, advantages without variance."""
    trajectories = make_trajectories()
    trajectories = trajectories._replace(
        observations=torch.zeros_like(trajectories.observations),
        rewards=torch.full_like(trajectories.rewards, rewards).masked_fill(~trajectories.mask, 0),
    )
    assert gae(standardise=True)(trajectories, {}).advantages.isfinite().all()


def test_the_fit_happens_once_and_advantages_are_plain_numbers(problem, monkeypatch):
    """Trap 6: one fit a batch of experience; losses, gradients and curvature fit nothing."""
    fits, original = [], baseline.fit_ridge
    monkeypatch.setattr(baseline, "fit_ridge", lambda *arguments: fits.append(arguments) or original(*arguments))
    trajectories = make_trajectories()._replace(observations=make_trajectories().observations.requires_grad_())
    experience = gae()(trajectories, {"x": torch.ones(2, requires_grad=True)})
    assert len(fits) == 1
    assert not experience.advantages.requires_grad
    assert not experience.parameters["x"].requires_grad
    function = problem(inner_steps=2).function
    function.gradient()
    function.evaluate(function.theta)
    function.curvature("second")(function.theta)
    assert len(fits) == 1


def test_the_experience_is_the_trajectories_with_advantages():
    trajectories, parameters = make_trajectories(dtype=torch.float32), {"x": torch.ones(2)}
    experience = gae()(trajectories, parameters)
    for name in ("observations", "actions", "mask"):
        assert getattr(experience, name) is getattr(trajectories, name)
    assert torch.equal(experience.parameters["x"], parameters["x"])
    assert experience.advantages.dtype == torch.float32


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("discount", 1.1),
        ("discount", -0.1),
        ("discount", None),
        ("gae_lambda", 1.1),
        ("gae_lambda", "1"),
        ("ridge", 0.0),
        ("standardise", "no"),
        ("bootstrap_time_limit", 1),
    ],
)
def test_settings_that_mean_nothing_are_refused(field, value):
    with pytest.raises(ValueError, match=rf"advantage\.{field}="):
        gae(**{field: value})


# ---- values of a critic


def critic_gae(policy, **settings):
    return CriticGAE(**{k: v for k, v in (SETTINGS | settings).items() if k != "ridge"}, policy=policy)


def with_critic(kind=CriticMLP, size=(5,), tasks=2):
    """A policy with a critic, and parameters of its own for each task."""
    generator, spec = torch.Generator().manual_seed(1), Spec(2, 2, False, 4)
    shape = (size, "tanh") if kind is CriticMLP else ("gru", size)
    policy = kind(*shape, GaussianHead(1.0, 1e-6, 1e3, spec), generator, torch.float64)
    stacked = {n: p.detach().expand(tasks, *p.shape) for n, p in policy.named_parameters()}
    noise = {n: torch.randn(p.shape, generator=generator, dtype=torch.float64) for n, p in stacked.items()}
    return policy, {n: p + 0.3 * noise[n] for n, p in stacked.items()}


def mlp_values(phi, x):
    """Of one episode's observations [T + 1, 2]."""
    hidden = torch.tanh(x @ phi["critic.layers.0.weight"].T + phi["critic.layers.0.bias"])
    return (hidden @ phi["critic.layers.1.weight"].T + phi["critic.layers.1.bias"])[:, 0]


def gru_values(phi, x):
    """By torch's own cell."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell = torch.nn.GRU(2, 3, dtype=torch.float64)
    cell.load_state_dict({f"{name}_l0": phi[f"critic.{name}"] for name in names})
    read = cell(x)[0].detach()
    return (read @ phi["critic.readout.layers.0.weight"].T + phi["critic.readout.layers.0.bias"])[:, 0]


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("lambda_", [0.0, 0.8, 1.0])
@pytest.mark.parametrize(("kind", "size", "values_of"), [(CriticMLP, (5,), mlp_values), (CriticRNN, 3, gru_values)])
def test_advantages_and_targets_over_a_critic_are_those_by_hand(kind, size, values_of, lambda_, bootstrap):
    """Task after task and episode after episode; targets are λ-returns: G_t = r + γ ((1 − λ) V_{t+1} + λ G_{t+1})."""
    policy, phi = with_critic(kind, size)
    t = make_trajectories()
    found = critic_gae(policy, gae_lambda=lambda_, bootstrap_time_limit=bootstrap)(t, phi)
    targets, advantages = torch.zeros(2, 3, 4, dtype=torch.float64), torch.zeros(2, 3, 4, dtype=torch.float64)
    for i in range(2):
        for j in range(3):
            length = int(LENGTHS[i, j])
            seen = torch.cat([t.observations[i, j, :length], t.final_observations[i, j, None]])
            values = values_of({name: p[i] for name, p in phi.items()}, seen)
            if t.terminal[i, j].any() or not bootstrap:
                values[-1] = 0.0
            target = values[-1]
            for step in reversed(range(length)):
                target = t.rewards[i, j, step] + 0.9 * ((1 - lambda_) * values[step + 1] + lambda_ * target)
                targets[i, j, step], advantages[i, j, step] = target, target - values[step]
    torch.testing.assert_close(found.targets, targets, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.advantages, advantages, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_a_critic_that_is_right_leaves_no_advantage(lambda_):
    """Deterministic episodes whose observation is what is to come: nothing after an end, 5 after a time limit."""
    policy, phi = with_critic(size=(), tasks=1)
    phi |= {"critic.layers.0.weight": torch.tensor([[[1.0, 0.0]]]).double(), "critic.layers.0.bias": torch.zeros(1, 1)}
    rewards, to_come = torch.tensor([[[1.0, -2.0, 3.0], [1.0, -2.0, 3.0]]]).double(), torch.tensor([0.0, 5.0]).double()
    values, after = [], to_come
    for t in (2, 1, 0):
        after = rewards[0, :, t] + 0.9 * after
        values.insert(0, after)
    values = torch.stack(values, -1)[None]
    mask, terminal = torch.ones(1, 2, 3, dtype=torch.bool), torch.zeros(1, 2, 3, dtype=torch.bool)
    terminal[0, 0, 2] = True
    # What the first episode shows after its end is no value: it has to be left out.
    final = torch.tensor([[[77.0, 0.0], [5.0, 0.0]]]).double()
    observations = torch.stack([values, torch.zeros_like(values)], -1)
    t = Trajectories(observations, torch.zeros(1, 2, 3, 2), rewards, terminal, mask, final)
    phi = {name: p.double() for name, p in phi.items()}
    found = critic_gae(policy, gae_lambda=lambda_, bootstrap_time_limit=True)(t, phi)
    torch.testing.assert_close(found.advantages, torch.zeros(1, 2, 3).double(), rtol=0, atol=1e-14)
    torch.testing.assert_close(found.targets, values, rtol=1e-14, atol=0)


def test_over_a_critic_everything_is_a_plain_number_and_nothing_is_fitted(monkeypatch):
    monkeypatch.setattr(baseline, "fit_ridge", None)
    policy, phi = with_critic()
    found = critic_gae(policy, standardise=True)(
        make_trajectories(9), {name: p.requires_grad_() for name, p in phi.items()}
    )
    raw = critic_gae(policy)(make_trajectories(), phi)
    assert not found.targets.requires_grad
    assert not found.advantages.requires_grad
    # Standardised are the advantages alone; padding changes neither.
    torch.testing.assert_close(found.targets[..., :4], raw.targets, rtol=0, atol=1e-13)
    assert not found.targets[..., 4:].any()
    for advantages, mask in zip(found.advantages, found.mask, strict=True):
        assert advantages[mask].std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_the_linear_baseline_has_no_targets():
    assert gae()(make_trajectories(), {}).targets is None


def test_a_policy_without_a_critic_is_refused():
    policy = CategoricalMLP([4], "tanh", Spec(2, 2, True, 4))
    with pytest.raises(ValueError, match="advantage=critic with policy=CategoricalMLP, which has no critic"):
        critic_gae(policy)
