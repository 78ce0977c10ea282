"""Policies whose head follows from the tasks, and their names of before: the same numbers and the same fingerprints.

`policies.json` has, for every option that there was for one kind of actions, the code of then: its fingerprint, the
choice of derivatives, and Σ|x| of each parameter, in their order, as they begin and after a meta-iteration.
"""

import inspect
import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from metarl_exp import policy, wiring
from metarl_exp.algorithm.derivatives.analytic import Analytic
from metarl_exp.maths.distributions import Categorical, DiagonalGaussian
from metarl_exp.policy import MLP, CategoricalMLP
from metarl_exp.tasks import Navigation2D
from metarl_exp.wiring import distributions, jobs
from metarl_exp.wiring.classes import class_of
from metarl_exp.wiring.distributions import discrete_actions, tasks_of
from metarl_exp.wiring.heads import FORMER, FORMER_OPTIONS, HEADS, NETWORKS
from metarl_exp.wiring.policies import policy_node

RECORDED = json.loads(Path(__file__).with_name("policies.json").read_text())
TABULAR, NAVIGATION = ["tasks=tabular_mdp"], ["tasks=navigation_2d"]


def of_today(option: str) -> list[str]:
    """The overrides that choose the same policy without a head in its name."""
    name, settings = FORMER[option.partition("_")[2]]
    return [f"policy={name}", *(f"policy.{key}={value}" for key, value in settings.items())]


@pytest.mark.parametrize("option", sorted(FORMER_OPTIONS))
def test_a_policy_has_the_numbers_that_it_had_with_a_head_in_its_name(option):
    recorded = RECORDED[option]
    learner = wiring.assemble(wiring.compose([*of_today(option), *recorded["overrides"]])).learner
    assert isinstance(learner.adaptation.derivatives, Analytic) is (recorded["derivatives"] == "Analytic")
    for iterations, then in enumerate(("initial", "trained")):
        learner.train(iterations)
        found = {name: p.abs().sum().item() for name, p in learner.theta.items()}
        assert [*found] == [*recorded[then]]
        assert found == pytest.approx(recorded[then], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("option", sorted(FORMER_OPTIONS))
def test_a_policy_has_one_fingerprint_by_all_its_names_and_in_what_is_stored(option):
    recorded = RECORDED[option]
    wiring.check_overrides([f"policy={option}", *recorded["overrides"]])
    former = wiring.compose([f"policy={option}", *recorded["overrides"]])
    today = wiring.compose([*of_today(option), *recorded["overrides"]])
    assert former.policy._target_ != today.policy._target_
    assert policy_node(today.policy, lambda: discrete_actions(today)) == former.policy  # which is stored
    assert wiring.fingerprint(former) == wiring.fingerprint(today) == recorded["fingerprint"]
    assert not wiring.differing_keys(today, former)
    assert not wiring.differing_keys(former, today)
    assert wiring.foreign_code(former) == wiring.foreign_code(today) == []
    one, other = (wiring.assemble(config).learner.theta for config in (former, today))
    assert all(torch.equal(one[name], p) for name, p in other.items())


def test_the_settings_of_a_head_are_the_arguments_of_its_class():
    for head, settings in HEADS.items():
        assert [*inspect.signature(getattr(policy, f"{head}Head")).parameters] == [*settings, "spec"]


def test_every_name_with_a_head_leads_to_its_network():
    for network in NETWORKS:
        for head in HEADS:
            found = class_of("policy", {"_target_": f"metarl_exp.policy.{head}{network}"})
            assert found.__name__ == network


def test_the_options_with_a_head_in_their_name_are_not_listed():
    assert wiring.options(None)["policy"] == ["conv", "mlp", "mlp_context", "mlp_critic", "rnn", "rnn_critic"]
    with pytest.raises(ValueError, match=r"policy=gaussian_mpl: allowed are conv, mlp, mlp_context"):
        wiring.check_overrides(["policy=gaussian_mpl"])


def test_a_user_s_own_options_may_build_on_a_name_with_a_head(tmp_path):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "small.yaml").write_text("defaults: [categorical_mlp, _self_]\nhidden_sizes: [3]\n")
    config = wiring.compose(["policy=small", *TABULAR], str(tmp_path))
    assert wiring.assemble(config).learner.policy.layers[0].weight.shape == (3, 10)
    assert wiring.fingerprint(config) == wiring.fingerprint(wiring.compose(["policy.hidden_sizes=[3]", *TABULAR]))


# ---- a policy and tasks of one's own


class Tanh(MLP):
    """A network for tasks of both kinds."""

    def outputs(self, parameters, observations):
        return super().outputs(parameters, observations).tanh()


class Choice(CategoricalMLP):
    """A policy with a head of its own."""


class Elsewhere(Navigation2D):
    """Tasks that count how often they are made, and say nothing of their actions before."""

    made, discrete = 0, None

    def __init__(self, horizon):
        super().__init__(horizon, "scaled", False)
        self.spec = self.spec._replace(discrete=False)
        type(self).made += 1


class Contradiction(Elsewhere):
    """Tasks whose class says other actions than they have."""

    discrete = True


def of_one_s_own(kind, *overrides):
    return wiring.compose([f"policy._target_={__name__}.{kind.__name__}", *overrides])


@pytest.mark.parametrize(("tasks", "distribution"), [(TABULAR, Categorical), (NAVIGATION, DiagonalGaussian)])
def test_a_network_of_one_s_own_has_the_head_that_the_tasks_ask_for(tasks, distribution):
    policy = wiring.assemble(of_one_s_own(Tanh, *tasks)).learner.policy
    assert isinstance(policy, Tanh)
    assert policy.distribution is distribution


def test_a_policy_of_one_s_own_may_have_the_keys_of_a_name_with_a_head():
    config = of_one_s_own(Choice, "policy=categorical_mlp", *TABULAR)
    assert isinstance(wiring.assemble(config).learner.policy, Choice)
    with pytest.raises(ValueError, match="unknown key 'policy.init_std'"):
        wiring.assemble(of_one_s_own(Choice, *TABULAR))


def test_tasks_of_one_s_own_are_made_once_to_know_their_actions(monkeypatch):
    monkeypatch.setattr(distributions, "_discrete", {})
    config = wiring.compose(["~tasks.action_map", "~tasks.varying_start", f"tasks._target_={__name__}.Elsewhere"])
    Elsewhere.made = 0
    assert wiring.fingerprint(config) == wiring.fingerprint(config)
    assert Elsewhere.made == 1
    plain = wiring.fingerprinted(wiring.compose())
    assert {k: v for k, v in wiring.fingerprinted(config).items() if k.startswith("policy")} == {
        k: v for k, v in plain.items() if k.startswith("policy")
    }


def test_tasks_that_contradict_their_class_are_refused():
    with pytest.raises(ValueError, match=r"Contradiction: its class says discrete=True, its spec discrete=False"):
        tasks_of(OmegaConf.create({"_target_": f"{__name__}.Contradiction", "horizon": 5}), 10.0)


def test_tasks_that_cannot_be_made_are_named_before_a_sweep_begins(tmp_path):
    with pytest.raises(ValueError, match=r"^tasks.id='Nope-v0': Environment `Nope`"):
        jobs.plan(["tasks=pendulum", "tasks.id=Nope-v0", "seed=0,1", f"output_root={tmp_path}"])


def test_a_stored_configuration_is_compared_without_its_tasks_being_made():
    config, stored = wiring.compose(), wiring.compose(["policy=gaussian_mlp"])
    stored.tasks._target_ = "nowhere.Tasks"
    assert [d.partition(":")[0] for d in wiring.differing_keys(config, stored)] == ["tasks._target_"]


# ---- refusals


def test_the_head_of_other_actions_is_refused_with_the_policy_that_fits():
    with pytest.raises(
        ValueError, match=r"needs continuous actions, these tasks have 5 discrete ones: take policy=mlp"
    ):
        wiring.assemble(wiring.compose(["policy=gaussian_gru", *TABULAR]))
    with pytest.raises(ValueError, match=r"needs discrete actions, these are continuous: take policy=mlp"):
        wiring.assemble(wiring.compose(["policy=categorical_conv"]))


@pytest.mark.parametrize("key", ["init_std", "min_std", "max_std"])
def test_a_deviation_of_discrete_actions_is_refused(key):
    with pytest.raises(ValueError, match=rf"policy.{key}=0.5: these tasks have 5 discrete actions, .*leave it out"):
        wiring.assemble(wiring.compose([f"policy.{key}=0.5", *TABULAR]))


def test_a_mistyped_setting_of_a_head_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"'policy.init_sdt' \(did you mean 'init_std'\?\): policy takes hidden_sizes"):
        wiring.assemble(wiring.compose(["+policy.init_sdt=1"]))
    with pytest.raises(ValueError, match=r"missing key 'policy.init_std'"):
        wiring.assemble(wiring.compose(["~policy.init_std"]))
