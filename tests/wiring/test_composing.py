"""Values set in a copy of what their options compose to: Hydra's own composition is the oracle."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from metarl_exp.wiring import composing


def by_hydra(overrides):
    with initialize_config_dir(str(composing.config_dir()), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["seed=3", "iterations=7"],
        ["iterations=7", "experiment=finn2017/navigation_2d"],
        ["experiment=finn2017/navigation_2d", "iterations=7", "policy.hidden_sizes=[64,32]"],
        ["tasks.horizon=50", "tasks=cartpole", "objective=promp", "outer_optimizer=ppo", "outer_optimizer.lr=5e-3"],
        [
            "evaluation.step_size_multipliers=[0.2,1,5]",
            "evaluation.step_size_schedule=[1.0]",
            "init_from='a (b)=c'",
            "threads=null",
        ],
        ["inner_optimizer=meta_sgd", "+inner_optimizer.settings.momentum=0.9", "inner_optimizer.lr=0.1"],
        ["tasks=pendulum", "tasks.vary={mass: {attribute: m, uniform: [0.5, 2]}}", "tasks.horizon=9"],
        ["tasks=pendulum", "~tasks.vary.mass", "seed=2"],
        ["output_root='${oc.env:HOME}/x'", "++seed=5"],
        ["adaptation=three_steps", "adaptation.inner_steps=2", "adaptation.inner_steps=4"],
    ],
    ids=" ".join,
)
def test_a_configuration_is_the_one_that_hydra_composes(overrides):
    try:
        expected = by_hydra(overrides)
    except Exception as refused:
        with pytest.raises(type(refused)):
            composing.compose(overrides)
    else:
        assert OmegaConf.to_yaml(composing.compose(overrides)) == OmegaConf.to_yaml(expected)


def test_a_cached_configuration_is_not_changed_by_values_set_in_a_copy():
    composing.compose(["seed=5", "policy.hidden_sizes=[3]"]).tasks.horizon = 1
    assert OmegaConf.to_yaml(composing.compose([])) == OmegaConf.to_yaml(by_hydra([]))


def test_hydra_says_why_a_value_cannot_be_set():
    with pytest.raises(ConfigCompositionException, match="Could not override 'policy.nothing'"):
        composing.compose(["policy.nothing=1"])
