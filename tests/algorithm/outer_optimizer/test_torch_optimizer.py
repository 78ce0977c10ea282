"""torch's optimizers on the meta-gradient: their own numbers, their own state."""

import copy
import io

import pytest
import torch

from metarl_exp.algorithm.objective import Evaluated
from metarl_exp.algorithm.outer_optimizer import TorchOptimizer
from metarl_exp.algorithm.outer_optimizer.torch_optimizer import NAMES

CHOSEN = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("Adam", {}),
    ("Adam", {"betas": [0.8, 0.9], "weight_decay": 0.1}),
    *((name, {}) for name in NAMES if name not in ("SGD", "Adam")),
]


class Cubic:
    """F(θ) = Σ θ³ / 3, whose gradient θ² changes on the way."""

    def __init__(self, theta):
        self.theta, self.losses = theta, self.evaluate(theta).losses
        self.loss = self.losses.mean().item()

    def gradient(self):
        return self.theta**2

    def evaluate(self, theta):
        return Evaluated((theta**3 / 3).sum().view(1), 0.25)


START = torch.linspace(-1, 2, 7, dtype=torch.float64)


def walk(optimizer, theta, steps):
    for _ in range(steps):
        theta, _ = optimizer.step(Cubic(theta))
    return theta


@pytest.mark.parametrize(("name", "settings"), CHOSEN)
def test_steps_as_torch_does(name, settings):
    """Three steps of every optimizer that may be named, in the precision of training (NAdam's own is float32)."""
    start = START.float()
    expected = start.clone().requires_grad_()
    oracle = getattr(torch.optim, name)([expected], lr=0.1, **settings)
    for _ in range(3):
        expected.grad = expected.detach() ** 2
        oracle.step()
    found = walk(TorchOptimizer(name, 0.1, settings), start, 3)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=0)


def test_gradient_descent_and_momentum_by_hand():
    assert torch.equal(walk(TorchOptimizer("SGD", 0.1, {}), START, 1), START - 0.1 * START**2)
    first = START - 0.1 * START**2
    expected = first - 0.1 * (0.9 * START**2 + first**2)
    torch.testing.assert_close(walk(TorchOptimizer("SGD", 0.1, {"momentum": 0.9}), START, 2), expected)


def test_the_first_step_of_adam_is_the_step_size_in_the_direction_of_descent():
    found = walk(TorchOptimizer("Adam", 0.1, {"eps": 1e-12}), START[START != 0], 1) - START[START != 0]
    torch.testing.assert_close(found, torch.full_like(found, -0.1), rtol=1e-9, atol=0)


def test_the_report_says_what_happened():
    theta, report = TorchOptimizer("SGD", 0.1, {}).step(Cubic(START))
    assert report == {
        "outer/gradient_norm": pytest.approx((START**2).norm().item(), rel=1e-14),
        "outer/loss_before": Cubic(START).loss,
        "outer/loss_after": Cubic(theta).loss,
        "outer/kl": 0.25,
        "outer/tasks_made_worse": 0.0,
    }


def test_the_old_theta_is_left_as_it_was():
    before = START.clone()
    theta = walk(TorchOptimizer("Adam", 0.1, {}), START, 1)
    kept = theta.clone()
    assert torch.equal(before, START)
    optimizer = TorchOptimizer("Adam", 0.1, {})
    theta = walk(optimizer, START, 1)
    walk(optimizer, theta, 1)
    assert torch.equal(theta, kept)


@pytest.mark.parametrize(
    ("name", "settings", "dtype"), [*((*chosen, torch.float32) for chosen in CHOSEN), ("Adam", {}, torch.float64)]
)
def test_continues_from_a_saved_state(name, settings, dtype):
    """Through a file, as a checkpoint goes: three steps and two more are five steps, to the bit."""
    optimizer, file = TorchOptimizer(name, 0.1, settings), io.BytesIO()
    theta = walk(optimizer, START.to(dtype), 3)
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = TorchOptimizer(name, 0.1, settings)
    resumed.load_state_dict(torch.load(file))
    assert torch.equal(walk(resumed, theta, 2), walk(optimizer, theta, 2))


@pytest.mark.parametrize(("name", "settings"), CHOSEN)
def test_a_state_that_was_taken_stays_as_it_was(name, settings):
    """Steps after it do not change it."""
    optimizer = TorchOptimizer(name, 0.1, settings)
    theta = walk(optimizer, START, 2)
    taken = optimizer.state_dict()
    kept = copy.deepcopy(taken)
    walk(optimizer, theta, 2)
    torch.testing.assert_close(taken, kept, rtol=0, atol=0)


def test_follows_the_real_meta_gradient(problem):
    function = problem(inner_steps=2).function
    theta, report = TorchOptimizer("SGD", 1e-3, {}).step(function)
    torch.testing.assert_close(theta, function.theta - 1e-3 * function.gradient(), rtol=0, atol=1e-15)
    assert report["outer/loss_after"] < report["outer/loss_before"] == function.loss
    assert report["outer/kl"] == function.evaluate(theta).kl > 0


@pytest.mark.parametrize(
    ("name", "nearest"), [("Adagard", "Adagrad"), ("adam", "Adam"), ("sgd", "SGD"), ("RMSProp", "RMSprop")]
)
def test_a_mistyped_optimizer_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=rf"outer_optimizer\.optimizer='{name}'.*did you mean '{nearest}'"):
        TorchOptimizer(name, 0.1, {})


@pytest.mark.parametrize("name", ["LBFGS", "SparseAdam", "Optimizer", "Muon"])
def test_optimizers_that_cannot_follow_one_dense_vector_are_refused(name):
    with pytest.raises(ValueError, match=r"allowed are ASGD, Adadelta"):
        TorchOptimizer(name, 0.1, {})


@pytest.mark.parametrize("settings", [{"momentun": 0.9}, {"momentum": -1.0}, {"lr": 0.1}, {"nesterov": True}])
def test_settings_that_the_optimizer_does_not_take_are_refused(settings):
    with pytest.raises(ValueError, match=r"outer_optimizer\.settings=.* of SGD"):
        TorchOptimizer("SGD", 0.1, settings)


@pytest.mark.parametrize("lr", [-0.1, float("nan"), "0.1", None])
def test_a_step_size_that_is_none_is_refused(lr):
    with pytest.raises(ValueError, match=r"outer_optimizer\.lr="):
        TorchOptimizer("SGD", lr, {})
