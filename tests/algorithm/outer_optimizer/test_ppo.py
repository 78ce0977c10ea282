"""Several steps on one meta-batch, and what all outer optimizers of torch share: schedules, and shortened gradients."""

import pytest
import torch

from metarl_exp.algorithm.aggregator import PCGrad, per_task
from metarl_exp.algorithm.objective import LVC, MAML, MetaFunction, ProMP
from metarl_exp.algorithm.outer_optimizer import PPO, TRPO, TorchOptimizer
from metarl_exp.maths.interference import pcgrad


def ppo(**changes):
    return PPO(
        **{"optimizer": "SGD", "lr": 0.05, "settings": {}, "epochs": 1, "minibatches": 1, "max_kl": None} | changes
    )


def promp(problem, **changes):
    return problem(inner_steps=2, objective=ProMP(0.3, 0.1), **changes).function


def test_one_step_is_the_optimizer_s_own(problem, close):
    function = promp(problem)
    theta, report = ppo().step(function)
    close(theta, function.theta - 0.05 * function.gradient(), 1e-13)
    assert report["ppo/steps"] == 1
    assert report["outer/gradient_norm"] == pytest.approx(function.gradient().norm().item())


def test_each_step_differentiates_at_the_theta_of_the_one_before(problem, close):
    """By plain differences of the value, which replays the whole adaptation."""
    function = promp(problem, lr=0.03)
    expected = function.theta
    for _ in range(3):
        expected = expected - 0.05 * function.at(expected).gradient()
    theta, report = ppo(epochs=3).step(function)
    close(theta, expected, 1e-13)
    assert report["outer/loss_after"] == pytest.approx(function.evaluate(theta).loss)
    assert report["outer/loss_after"] < report["outer/loss_before"]


def test_groups_are_of_all_tasks_once_an_epoch_and_begin_elsewhere_in_the_next(problem, close):
    groups = [group.tolist() for group in ppo(epochs=2, minibatches=2)._groups(5)]
    assert [sorted(groups[0] + groups[1]), sorted(groups[2] + groups[3])] == [list(range(5))] * 2
    assert groups[0] != groups[2]
    function = promp(problem)
    expected = function.theta
    for group in ([0, 1], [2]):
        expected = expected - 0.05 * function.at(expected, torch.tensor(group)).gradient()
    close(ppo(minibatches=2).step(function)[0], expected, 1e-13)
    with pytest.raises(ValueError, match="outer_optimizer.minibatches=4: a meta-batch has only 3"):
        ppo(minibatches=4).step(function)


def test_ppo_ends_early_where_the_policies_have_gone_too_far(problem):
    function = promp(problem, lr=0.03)
    far = [ppo(lr=0.01, epochs=n).step(function)[1]["outer/kl"] for n in (1, 2)]
    theta, report = ppo(lr=0.01, epochs=9, max_kl=sum(far) / 2).step(function)
    assert report["ppo/steps"] == 2
    assert torch.equal(theta, ppo(lr=0.01, epochs=2).step(function)[0])


def test_many_steps_on_a_loss_without_a_clip_are_refused(problem):
    p = problem()
    for objective in (MAML(), LVC()):
        with pytest.raises(ValueError, match=r"objective.clip=null with outer_optimizer=PPO.*objective.clip=0.2"):
            objective.check_compatible(p.adaptation, ppo())
    for objective in (MAML(clip=0.2), ProMP(0.3, 0.1)):
        objective.check_compatible(p.adaptation, ppo())


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"epochs": 0}, "epochs=0"), ({"minibatches": 0}, "minibatches=0"), ({"max_kl": 0}, "max_kl=0"),
     ({"max_gradient_norm": 0}, "max_gradient_norm=0"), ({"scheduler": {"name": "StepLr"}}, "did you mean 'StepLR'"),
     ({"scheduler": {"name": "StepLR"}}, r"outer_optimizer.scheduler=\{'name': 'StepLR'\}: .*step_size"),
     ({"scheduler": {"gamma": 0.5}}, "scheduler.name=None")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(changes, says):
    with pytest.raises(ValueError, match=rf"outer_optimizer\..*{says}" if "scheduler=" not in says else says):
        ppo(**changes)


def test_a_schedule_moves_on_once_a_meta_iteration_and_is_continued(problem, close):
    """Halved after every second: 0.05, 0.05, 0.025, 0.025 …, with any number of steps on a batch."""
    function = promp(problem)

    def lengths(optimizers, epochs):
        """How long the steps are, in multiples of the first."""
        moved = []
        for optimizer in optimizers:
            theta = optimizer.step(function)[0]
            moved.append((theta - function.theta).norm().item())
        return [x / moved[0] for x in moved]

    halving = {"name": "StepLR", "step_size": 2, "gamma": 0.5}
    optimizer = ppo(scheduler=halving)
    assert lengths([optimizer] * 5, 1) == pytest.approx([1, 1, 0.5, 0.5, 0.25], rel=1e-12)
    first, second = ppo(scheduler=halving), ppo(scheduler=halving)
    for _ in range(2):
        first.step(function)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.step(function)[0], second.step(function)[0])
    assert lengths([ppo(scheduler=halving), second], 1) == pytest.approx([1, 0.5], rel=1e-12)


def test_a_long_gradient_is_shortened_and_a_short_one_is_not(problem, close):
    function = promp(problem)
    gradient = function.gradient()
    norm = gradient.norm().item()
    for longest, factor in ((norm / 4, 0.25), (4 * norm, 1.0)):
        theta, report = TorchOptimizer("SGD", 0.05, {}, max_gradient_norm=longest).step(function)
        close(theta, function.theta - 0.05 * factor * gradient, 1e-13)
        assert report["outer/gradient_norm"] == pytest.approx(norm)


# ---- task interference


def test_the_outer_step_follows_the_aggregate_of_the_task_gradients(problem, close):
    p = problem(inner_steps=2)
    function = MetaFunction(MAML(), p.batch, p.theta, p.adaptation, PCGrad())
    close(function.gradient(), pcgrad(per_task(p.function.task_gradients())), 1e-14)
    theta, _ = TorchOptimizer("SGD", 0.05, {}).step(function)
    close(theta, function.theta - 0.05 * function.gradient(), 1e-14)


def test_with_a_trust_region_the_gradient_is_combined_and_the_curvature_is_not(problem, generator, close):
    p = problem(inner_steps=1)
    function = MetaFunction(MAML(), p.batch, p.theta, p.adaptation, PCGrad())
    v = torch.randn(len(function.theta), generator=generator, dtype=torch.float64)
    close(function.curvature("second")(v), p.function.curvature("second")(v), 1e-13)
    _, report = TRPO(0.01, 10, 1e-5, 1e-10, 0.8, 15, "same").step(function)
    assert report["outer/gradient_norm"] == pytest.approx(function.gradient().norm().item())


def test_how_tasks_interfere_is_reported(problem):
    function = problem(inner_steps=1).function
    gradients = per_task(function.task_gradients())
    angles = [torch.cosine_similarity(gradients[i], gradients[j], dim=0) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert function.interference() == {
        "interference/cosine": pytest.approx(sum(angles).item() / 3),
        "interference/conflicting": sum(a.item() < 0 for a in angles) / 3,
    }


def test_tasks_that_a_step_makes_worse_are_counted(problem):
    function = problem(inner_steps=1).function
    theta, report = TorchOptimizer("SGD", 3.0, {}).step(function)
    worse = function.evaluate(theta).losses > function.losses
    assert report["outer/tasks_made_worse"] == worse.double().mean().item() > 0
