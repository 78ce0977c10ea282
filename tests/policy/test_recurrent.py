"""Policies with memory: against torch's own cells, and the two ways of going through a sequence against each other."""

import pytest
import torch
from torch import nn

from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.fast_weights import All, Head
from metarl_exp.algorithm.inner_optimizer import InnerOptimizer
from metarl_exp.algorithm.objective import MAML, MetaBatch, MetaFunction
from metarl_exp.maths.parameters import flatten, stack, unflatten
from metarl_exp.policy import RNN, CategoricalHead, GaussianHead
from metarl_exp.types import Experience, Spec
from tests.policy.stacked import double

CONTINUOUS, DISCRETE = Spec(3, 2, False, 5), Spec(3, 4, True, 5)
CELLS = pytest.mark.parametrize("cell", ["gru", "lstm"])
HEADS = {"gaussian": GaussianHead(0.7, 1e-6, 100.0, CONTINUOUS), "categorical": CategoricalHead(DISCRETE)}
KINDS = pytest.mark.parametrize("kind", HEADS)


def make(kind, cell, hidden=4):
    """A policy whose biases are not zero, and its parameters."""
    policy = RNN(cell, hidden, HEADS[kind], torch.Generator().manual_seed(0), torch.float64)
    names = [(name, p.detach()) for name, p in policy.named_parameters()]
    return policy, {name: p + 0.3 * double(*p.shape, seed=i) for i, (name, p) in enumerate(names)}


@KINDS
@CELLS
def test_the_gates_are_those_of_torch(kind, cell):
    policy, theta = make(kind, cell)
    oracle = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}[cell](3, 4, dtype=torch.float64)
    oracle.load_state_dict({name: p for name, p in theta.items() if not name.startswith("readout")})
    x, state, read = double(2, 3, 6, 3), None, []
    for t in range(6):
        state = oracle(x[:, :, t].reshape(6, 3), state)
        read.append((state if cell == "gru" else state[0]).view(2, 3, 4))
    weight, bias = theta["readout.layers.0.weight"], theta["readout.layers.0.bias"]
    expected = torch.stack(read, 2) @ weight.T + bias
    torch.testing.assert_close(policy(theta, x)[0], expected, rtol=1e-13, atol=1e-14)


@KINDS
@CELLS
def test_acting_step_by_step_is_going_through_the_sequence(kind, cell):
    policy, theta = make(kind, cell)
    x = double(2, 3, 6, 3)
    whole = policy(theta, x)
    for _ in range(2):  # a second time from an empty memory again
        act = policy.acting(theta)
        for t in range(6):
            for part, together in zip(act(x[:, :, t]), whole, strict=True):
                torch.testing.assert_close(part, together[:, :, t], rtol=1e-13, atol=1e-14)


@KINDS
@CELLS
def test_waiting_leaves_the_memory_as_it_was(kind, cell):
    policy, theta = make(kind, cell)
    x, idle = double(2, 3, 2, 3), torch.tensor([[True, False, True], [False, True, False]])
    act = policy.acting(theta)
    act(x[:, :, 0])
    act(torch.full((2, 3, 3), torch.nan).where(idle.unsqueeze(-1), x[:, :, 0]), idle)
    after = act(x[:, :, 1])[0]
    once, twice = policy(theta, x)[0][:, :, 1], policy(theta, x[:, :, [0, 0, 1]])[0][:, :, 2]
    torch.testing.assert_close(after, twice.where(~idle.unsqueeze(-1), once), rtol=1e-13, atol=1e-14)


@KINDS
@CELLS
def test_each_task_uses_its_own_parameters(kind, cell):
    """The stack in one call equals one call for each task, with its derivatives."""
    policy, theta = make(kind, cell)
    stacked = {n: p + 0.1 * double(*p.shape, seed=i) for i, (n, p) in enumerate(stack(theta, 5).items())}
    leaves = {name: p.requires_grad_() for name, p in stacked.items()}
    x = double(5, 2, 4, 3)
    together = policy(leaves, x)
    alone = [policy({name: p[i] for name, p in leaves.items()}, x[i : i + 1]) for i in range(5)]
    for field, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(field, torch.cat(parts), rtol=1e-13, atol=1e-14)
    weights = double(*together[0].shape, seed=9)
    found = torch.autograd.grad((together[0] * weights).sum(), list(leaves.values()), allow_unused=True)
    expected = torch.autograd.grad((torch.cat([a[0] for a in alone]) * weights).sum(), list(leaves.values()),
                                   allow_unused=True)  # fmt: skip
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@CELLS
def test_initial_weights_are_orthogonal_gate_by_gate_and_come_from_the_generator(cell):
    def fresh():
        generator = torch.Generator().manual_seed(1)
        return dict(RNN(cell, 4, HEADS["categorical"], generator, torch.float64).named_parameters())

    theta = fresh()
    for block in theta["weight_hh"].chunk({"gru": 3, "lstm": 4}[cell]):
        torch.testing.assert_close(block @ block.T, torch.eye(4, dtype=torch.float64))
    for name, p in fresh().items():
        assert p.equal(theta[name])


@CELLS
def test_the_meta_gradient_through_memory_is_the_derivative_of_the_value(cell, differences, close):
    """Second order: one inner step on remembered sequences, then a loss of what came out. Five points, float64."""
    policy, theta = make("categorical", cell, hidden=2)
    x, actions, y = double(1, 2, 3, 3), torch.tensor([[[0, 3, 1], [2, 2, 0]]]), double(1, 2, 3, 3, seed=1)

    def value(flat):
        parameters = unflatten(flat, theta)
        loss = -policy(parameters, x).log_prob(actions).mean()
        gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        adapted = {n: p - 0.5 * g for (n, p), g in zip(parameters.items(), gradients, strict=True)}
        return -policy(adapted, y).log_prob(actions).mean()

    flat = flatten(theta).requires_grad_()
    (found,) = torch.autograd.grad(value(flat), flat)
    close(found, differences(lambda v: value(v.requires_grad_()).detach(), flat.detach(), 1e-3), 1e-8)


@KINDS
def test_meta_gradient_and_curvature_of_a_meta_batch_are_those_of_its_values(kind, differences, close):
    """MAML on remembered trajectories: ∇F and ∇²KL v against five-point differences of F and KL."""
    policy, theta = make(kind, "gru", hidden=2)
    mask = torch.tensor([[[True, True, True], [True, False, False]], [[True, True, False], [True, True, True]]])

    def experience(seed):
        discrete = torch.randint(4, (2, 2, 3), generator=torch.Generator().manual_seed(seed))
        actions = discrete if kind == "categorical" else double(2, 2, 3, 2, seed=seed + 1)
        return Experience(
            double(2, 2, 3, 3, seed=seed), actions, double(2, 2, 3, seed=seed + 2), mask, {}, double(2, 2, 3)
        )

    objective, batches = MAML(), [experience(0), experience(10)]
    adaptation = Adaptation(1, "second", policy, InnerOptimizer("SGD", 0.1, {}), All(), objective.inner_loss)
    path = adaptation.start(theta, 2, "second")
    path.step(batches[0])
    batch = MetaBatch(torch.zeros(2, 1), tuple(batches), torch.zeros(2, 2), path)
    function = MetaFunction(objective, batch, theta, adaptation, Mean())

    def of(name):
        return lambda flat: torch.tensor(getattr(function.evaluate(flat), name), dtype=torch.float64)

    close(function.gradient(), differences(of("loss"), function.theta), 1e-8)
    v = double(len(function.theta), seed=5)
    along = differences(
        lambda t: differences(of("kl"), function.theta + t * v, 1e-3), torch.zeros(1, dtype=torch.float64), 1e-3
    )
    close(function.curvature("second")(v), along.squeeze(-1), 1e-5)


@pytest.mark.parametrize(
    ("make_one", "says"),
    [
        (lambda: RNN("rnn", 4, HEADS["categorical"]), "policy.cell='rnn': allowed are gru, lstm"),
        (lambda: RNN("gru", 0, HEADS["categorical"]), "policy.hidden_size=0"),
    ],
)
def test_a_cell_or_size_that_does_not_exist_is_refused(make_one, says):
    with pytest.raises(ValueError, match=says):
        make_one()


def test_the_head_of_a_recurrent_policy_is_its_readout():
    policy = RNN("gru", 4, HEADS["gaussian"], torch.Generator().manual_seed(0))
    assert set(Head(policy).select(dict(policy.named_parameters()))) == {
        "readout.layers.0.weight", "readout.layers.0.bias", "readout.log_std",
    }  # fmt: skip
    assert not policy.context_names
