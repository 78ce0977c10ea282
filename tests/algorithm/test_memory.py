"""A task that only memory solves: which of two arms pays is found out by pulling one, and is kept for the trial."""

import pytest
import torch

from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.advantage import GAE
from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.fast_weights import All
from metarl_exp.algorithm.inner_optimizer import InnerOptimizer
from metarl_exp.algorithm.meta_learner import MetaLearner
from metarl_exp.algorithm.objective import Joint
from metarl_exp.algorithm.outer_optimizer import TorchOptimizer
from metarl_exp.policy import RNN, CategoricalHead, CategoricalMLP
from metarl_exp.process.streams import stream, streams
from metarl_exp.tasks import Bandit
from metarl_exp.tasks.trials import Trials

PULLS = 4


class HiddenArm(Bandit):
    """One of two arms always pays 1, the other never: a trial of four pulls is worth 3.5 at best, 2 by chance."""

    def __init__(self):
        super().__init__(arms=2, horizon=PULLS // 2, payment="bernoulli")

    def sample(self, num_tasks, generator):
        return torch.eye(2, dtype=torch.float64)[torch.randint(2, (num_tasks,), generator=generator)]


def trained(tasks, policy, iterations):
    objective = Joint()
    learner = MetaLearner.compose(
        task_distribution=tasks,
        policy=policy,
        advantage=GAE(1.0, 1.0, 1e-3, standardise=False, bootstrap_time_limit=False),
        adaptation=Adaptation(0, "first", policy, InnerOptimizer("SGD", 0.1, {}), All(), objective.inner_loss),
        objective=objective,
        aggregator=Mean(),
        outer_optimizer=TorchOptimizer("Adam", 0.03, {}),
        meta_batch_size=20,
        trajectories=10,
        streams=streams(0),
    )
    learner.train(iterations)
    held_out = tasks.sample(200, stream(1, "held out"))
    return learner.inner_update(held_out).returns.mean(0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_memory_finds_the_arm_in_the_first_episode_and_uses_it_in_the_second(cell):
    trials = Trials(HiddenArm(), 2)
    policy = RNN(cell, 8, CategoricalHead(trials.spec), stream(0, "initialisation"))
    first, second = trained(trials, policy, 100).tolist()
    assert first == pytest.approx(1.5, abs=0.15)  # of two pulls: half of the first, and all of the second
    assert second > 1.9


def test_without_memory_it_stays_at_chance():
    tasks = HiddenArm()
    policy = CategoricalMLP([8], "tanh", tasks.spec, stream(0, "initialisation"))
    (returns,) = trained(tasks, policy, 100).tolist()
    assert returns == pytest.approx(1.0, abs=0.1)
