"""The classical agents for MDPs: their posteriors in closed form, and what each plan must be."""

import math
from pathlib import Path

import pytest
import torch

from metarl_exp.agents import Random, mdp, play
from metarl_exp.agents.belief import Belief, Prior
from metarl_exp.agents.mdp import BEB, OPSRL, PSRL, UCRL2, Optimal, best_at_random
from metarl_exp.commands import classical
from metarl_exp.maths.planning import optimal_action_values, policy_values
from metarl_exp.study.comparison import Mean, PublishedTable, difference
from metarl_exp.tasks import Bandit, TabularMDP

PROPER = Prior(next_state=1.0, reward=0.0, precision=1.0)
FLAT = Prior(next_state=1e-4, reward=0.0, precision=1e-4)
TASKS = TabularMDP(states=4, actions=3, horizon=6)
AGENTS = {
    "greedy": mdp.Greedy(FLAT),
    "epsilon_greedy": mdp.EpsilonGreedy(0.1, FLAT),
    "psrl": PSRL(PROPER),
    "opsrl": OPSRL(4, PROPER),
    "ucrl2": UCRL2(0.4, 0.05, FLAT),
    "beb": BEB(0.002, PROPER),
    "optimal": Optimal(),
}
LEARNERS = [name for name in AGENTS if name != "optimal"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def total(agent, rows, episodes=3, seed=1):
    """Total reward of each task."""
    played = play(agent, TASKS, rows, episodes, seeded(seed), seeded(seed + 100))
    return played.reshape(len(rows), -1).sum(1)


def ready(agent, rows):
    agent.start(rows, TASKS, 1, seeded())
    return agent


# ---- posteriors


def belief_after(prior, rewards, next_states):
    """A belief about two MDPs of which the first was seen, in state 1 and action 2."""
    belief = Belief(prior, 2, 4, 3)
    for reward, next_state in zip(rewards, next_states, strict=True):
        state, action = torch.tensor([1, 0]), torch.tensor([2, 0])
        belief.observe(state, action, torch.tensor([reward, 0.0]), torch.tensor([next_state, 0]))
    return belief


def test_the_posterior_mean_is_the_conjugate_one():
    """Normal: (τ₀ μ₀ + Σ r) / (τ₀ + n). Dirichlet: (α + counts) / (4 α + n)."""
    belief = belief_after(Prior(0.5, 2.0, 3.0), [1.0, -4.0, 6.0], [0, 3, 3])
    mean = belief.mean()
    assert mean.rewards[0, 1, 2].item() == pytest.approx((3 * 2 + 3) / 6)
    torch.testing.assert_close(mean.transitions[0, 1, 2], torch.tensor([1.5, 0.5, 0.5, 2.5]) / 5)
    untouched = torch.ones(2, 4, 3, dtype=torch.bool)
    untouched[0, 1, 2] = untouched[1, 0, 0] = False
    assert torch.equal(mean.rewards[untouched], torch.full((22,), 2.0))
    assert torch.equal(mean.transitions[untouched], torch.full((22, 4), 0.25))
    assert belief.visits[0, 1, 2] == belief.visits.sum(dim=(1, 2))[0] == 3


def test_samples_have_the_posterior_s_moments():
    """Normal variance 1 / (τ₀ + n); Dirichlet variance m (1 − m) / (weights + 1)."""
    belief, generator = belief_after(PROPER, [1.0, -4.0, 6.0], [0, 3, 3]), seeded()
    draws = [belief.sample(generator) for _ in range(4000)]
    rewards = torch.stack([d.rewards[0, 1, 2] for d in draws]).double()
    transitions = torch.stack([d.transitions[0, 1, 2] for d in draws]).double()
    assert rewards.mean().item() == pytest.approx(3 / 4, abs=4 * 0.5 / 4000**0.5)
    assert rewards.var().item() == pytest.approx(1 / 4, abs=4 * 0.25 * (2 / 4000) ** 0.5)
    mean = torch.tensor([2, 1, 1, 3]).double() / 7
    variance = mean * (1 - mean) / 8
    assert ((transitions.mean(0) - mean).abs() < 4 * (variance / 4000).sqrt()).all()
    torch.testing.assert_close(transitions.var(0), variance, rtol=0.12, atol=0)
    assert draws[0].transitions.sum(-1).allclose(torch.ones(2, 4, 3))


@pytest.mark.parametrize("name", [name for name in LEARNERS if name != "epsilon_greedy"])
def test_an_agent_that_knows_the_mdp_plans_like_the_oracle(name):
    """A posterior of ten million visits everywhere: what is left of doubt must not cost anything."""
    rows, visits = TASKS.sample(50, seeded()), 10_000_000
    tables, agent = TASKS.mdps(rows), ready(AGENTS[name], rows)
    agent.belief.counts = (visits * tables.transitions).float()
    agent.belief.totals = (visits * tables.rewards).float()
    plan = best_at_random(agent.action_values(), seeded())
    worth = policy_values(tables, torch.nn.functional.one_hot(plan, 3).double())[:, 0, 0]
    torch.testing.assert_close(worth, TASKS.optimal_returns(rows), rtol=0, atol=0.02)
    random = policy_values(tables, torch.full((50, 6, 4, 3), 1 / 3).double())[:, 0, 0]
    assert (TASKS.optimal_returns(rows) - random).mean() > 2  # so that 0.02 says something


# ---- plans


def test_the_bonus_of_ucrl2_is_the_confidence_region():
    """Before episode 2 (k + 1 = 3), after 9 visits of one pair: L = 4 log(2 · 4 · 3 · 3 / 0.05)."""
    agent = ready(UCRL2(0.7, 0.05, FLAT), TASKS.sample(2, seeded()))
    agent.belief, agent.episode = belief_after(FLAT, [0.0] * 9, [0] * 9), 1
    rewards, radius = agent.slack()
    width = 0.7 * (4 * math.log(2 * 4 * 3 * 3 / 0.05)) ** 0.5
    assert rewards[0, 1, 2].item() == pytest.approx(width / 3, rel=1e-6)
    assert radius[0, 1, 2].item() == pytest.approx(2 * width / 3, rel=1e-6)
    assert rewards[0, 2, 2].item() == pytest.approx(width, rel=1e-6)  # never visited: as if once


def test_ucrl2_is_optimistic_where_its_region_holds_the_truth():
    rows = TASKS.sample(100, seeded())
    agent, tables = ready(UCRL2(1.0, 0.05, FLAT), rows), TASKS.mdps(rows)
    generator = seeded(2)
    for _ in range(300):  # pairs at random, from the tables
        pair = torch.randint(4, (100,), generator=generator), torch.randint(3, (100,), generator=generator)
        chosen = (torch.arange(100), *pair)
        reward = tables.rewards[chosen] + torch.randn(100, generator=generator)
        following = torch.multinomial(tables.transitions[chosen], 1, generator=generator)[:, 0]
        agent.belief.observe(*pair, reward.float(), following)
    rewards, radius = agent.slack()
    mean = agent.belief.mean()
    inside = (tables.rewards <= mean.rewards + rewards) & (
        (tables.transitions - mean.transitions).abs().sum(-1) <= radius
    )
    held = inside.all(dim=(1, 2))
    assert held.float().mean() >= 0.95  # δ = 0.05
    optimum = optimal_action_values(tables, 6)
    assert (agent.action_values()[held] >= optimum[held] - 1e-4).all()


def test_beb_plans_with_its_two_bonuses():
    """Two steps by hand: Q_1 = r + 1 / (1 + τ), Q_0 = that + β H / (1 + weights) + Σ p max Q_1, β = 2 H² scaling."""
    tasks = TabularMDP(states=4, actions=3, horizon=2)
    agent = BEB(0.01, PROPER)
    agent.start(torch.zeros(2, 1), tasks, 1, seeded())
    agent.belief = belief_after(PROPER, [1.0, -4.0, 6.0], [0, 3, 3])
    mean = agent.belief.mean()
    last = mean.rewards + 1 / (1 + agent.belief.visits + 1)
    bonus = 2 * 2**2 * 0.01 * 2 / (1 + agent.belief.visits + 4)
    first = last + bonus + torch.einsum("isaz,iz->isa", mean.transitions, last.amax(-1))
    torch.testing.assert_close(agent.action_values(), torch.stack([first, last], dim=1))


def test_opsrl_takes_the_envelope_of_its_samples_and_psrl_one_of_them():
    rows = TASKS.sample(5, seeded())
    one, same, three = (
        ready(agent, rows).action_values() for agent in (PSRL(PROPER), OPSRL(1, PROPER), OPSRL(3, PROPER))
    )
    assert torch.equal(one, same)
    belief, generator = Belief(PROPER, 5, 4, 3), seeded()
    samples = [optimal_action_values(belief.sample(generator), 6) for _ in range(3)]
    assert torch.equal(three, torch.stack(samples).amax(0))
    assert (three > one).any()


def test_among_equals_every_action_has_its_chance():
    values = torch.tensor([2.0, 2.0 * (1 - 3e-7), 1.9999, -5.0]).expand(40_000, 4)
    share = torch.bincount(best_at_random(values, seeded()), minlength=4) / 40_000
    torch.testing.assert_close(share, torch.tensor([0.5, 0.5, 0.0, 0.0]), rtol=0, atol=0.01)


def test_epsilon_is_the_share_of_uniform_actions():
    agent = ready(mdp.EpsilonGreedy(0.3, FLAT), TASKS.sample(20_000, seeded()))
    observation = torch.eye(4)[torch.zeros(20_000, dtype=torch.long)]
    chosen = agent.act(observation)
    departed = (chosen != agent.plan[:, 0, 0]).float().mean().item()
    assert departed == pytest.approx(0.3 * 2 / 3, abs=4 * (0.2 * 0.8 / 20_000) ** 0.5)


def test_a_plan_is_made_once_an_episode_and_followed_step_by_step():
    rows = TASKS.sample(3, seeded())
    agent, seen = ready(mdp.Greedy(PROPER), rows), []
    observation = torch.eye(4)[[0, 1, 2]]
    for t in range(12):
        action = agent.act(observation)
        seen.append(agent.plan)
        assert torch.equal(action, agent.plan[torch.arange(3), t % 6, torch.tensor([0, 1, 2])])
        agent.learn(observation, action, torch.randn(3, generator=seeded(t)), observation, ended=t % 6 == 5)
    assert all(plan is seen[0] for plan in seen[:6])
    assert all(plan is seen[6] for plan in seen[6:])
    assert seen[6] is not seen[0]
    assert agent.belief.visits.sum() == 36


# ---- play


@pytest.mark.parametrize("name", AGENTS)
def test_no_instance_sees_another_and_a_start_forgets_everything(name):
    """But for those who draw from posteriors: rejections make the numbers that are left for an instance others."""
    rows = TASKS.sample(3, seeded())
    others = torch.cat([rows[:1], TASKS.sample(2, seeded(9))])
    first, again, beside = (total(AGENTS[name], r) for r in (rows, rows, others))
    assert torch.equal(first, again)
    assert first[0] == beside[0] or name in ("psrl", "opsrl")
    assert not torch.equal(first, beside)


def test_the_oracle_knows_the_best_action_of_every_step_and_earns_the_optimum():
    rows = TASKS.sample(1000, seeded())
    agent, best = ready(Optimal(), rows), optimal_action_values(TASKS.mdps(rows), 6).argmax(-1)
    observation = torch.eye(4)[torch.full((1000,), 2)]
    for t in range(12):
        assert torch.equal(agent.act(observation), best[:, t % 6, 2])
        agent.learn(observation, torch.zeros(1000), torch.zeros(1000), observation, ended=t % 6 == 5)
    gap = total(Optimal(), rows) / 3 - TASKS.optimal_returns(rows)
    assert gap.mean().abs() < 4 * gap.std() / 1000**0.5


@pytest.mark.parametrize("name", LEARNERS)
def test_learning_is_worth_more_than_chance_and_less_than_knowing(name):
    rows = TASKS.sample(200, seeded())
    chance, learned, known = (total(agent, rows, 30).mean() for agent in (Random(), AGENTS[name], Optimal()))
    assert chance + 0.4 * (known - chance) < learned < known


# ---- the stored table


def test_the_stored_table_is_the_published_one():
    """All 35 cells within 1.6 % and three standard errors, all but UCRL2's within 1.2 % and one and a half."""
    path = Path(__file__).parents[2] / "experiments" / "duan2016" / "mdps.yaml"
    study = classical.read(path)
    stored = classical.kept(study, path.with_suffix(".json"))
    source = study.published
    published = PublishedTable(path.parent / source["file"], source["paper"], source["table"])
    compared = 0
    for row in study.rows:
        cells = stored[row.name]["cells"]
        for column in study.columns:
            number, cell = published(row.published, column.published), cells[column.name]
            if number:
                gap = difference(Mean(cell["mean"], cell["standard_error"]), number.value)
                percent, errors = (1.6, 3) if column.name == "UCRL2" else (1.2, 1.5)
                assert abs(gap.percent) < percent, (row.name, column.name)
                assert abs(gap.standard_errors) < errors, (row.name, column.name)
                compared += 1
        assert cells["Random"]["mean"] == min(cell["mean"] for cell in cells.values())
        assert cells["optimum"]["mean"] == max(cell["mean"] for cell in cells.values())
    assert compared == 35


# ---- guards


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("agent.epsilon=1.5", lambda: mdp.EpsilonGreedy(1.5, FLAT)),
        ("agent.samples=0", lambda: OPSRL(0, PROPER)),
        ("agent.scaling=-1", lambda: UCRL2(-1, 0.05, FLAT)),
        ("agent.delta=1", lambda: UCRL2(1, 1, FLAT)),
        ("agent.scaling=-1", lambda: BEB(-1, PROPER)),
        ("agent.prior.next_state=0", lambda: Prior(0, 0, 1)),
        ("agent.prior.reward=None", lambda: Prior(1, None, 1)),
        ("agent.prior.precision=0", lambda: Prior(1, 0, 0)),
    ],
)
def test_settings_that_mean_nothing_are_refused(field, make):
    with pytest.raises(ValueError, match=field):
        make()


def test_the_oracle_refuses_tasks_that_it_does_not_know():
    with pytest.raises(ValueError, match="tasks=Bandit"):
        Optimal().start(torch.rand(2, 3), Bandit(payment="bernoulli", arms=3, horizon=2), 1, seeded())
