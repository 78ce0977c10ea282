"""What several test files share: a small problem in float64 whose every number is fixed, an oracle for it, and sweeps.

The oracle has no code in common with the package: one task at a time, valid steps picked by indexing, plain autograd,
`torch.distributions` and the update rules as their papers print them.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch import distributions as td

from metarl_exp import figures
from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.fast_weights import All
from metarl_exp.algorithm.inner_optimizer import InnerOptimizer, LearnedStepSizes
from metarl_exp.algorithm.objective import MAML, MetaBatch, MetaFunction
from metarl_exp.commands import train
from metarl_exp.maths.parameters import Parameters, detach, flatten, unflatten
from metarl_exp.policy import MLP, CategoricalHead, ContextMLP, GaussianHead
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.types import Experience, Spec

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """What libraries say of themselves: torch at the first forward-mode derivative, Box2D and pygame when imported.

    All other warnings are errors. SWIG's crash the interpreter if they are.
    """
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit.script` is deprecated:DeprecationWarning")
    config.addinivalue_line("filterwarnings", "ignore:.*(swigvarlink|SwigPy).*:DeprecationWarning")
    config.addinivalue_line("filterwarnings", "ignore:.*pkg_resources.*")


# Adam's eps is of the size of the gradients here: with a tiny one, φ hardly depends on |g| and a wrong Hessian hides.
OPTIMIZERS = {"sgd": ("SGD", {}), "momentum": ("SGD", {"momentum": 0.9}), "adam": ("Adam", {"eps": 0.01})}
LENGTHS = torch.tensor([[4, 2], [3, 4], [1, 4]])  # of the episodes: N = 3 tasks, M = 2 trajectories, T = 4


class Problem(NamedTuple):
    """A meta-batch by hand with the objects that work on it."""

    adaptation: Adaptation
    theta: Parameters
    batch: MetaBatch
    function: MetaFunction
    oracle: "Oracle"


class Oracle:
    """Losses, adaptation and KL of one task after the other, as differentiable functions of a flat θ [P]."""

    def __init__(
        self,
        theta: Parameters,
        batch: MetaBatch,
        activation,
        optimizer: str,
        lr: float,
        settings: dict,
        fast: set[str],
        granularity: str | None,
    ):
        self.theta, self.like, self.batch, self.activation = flatten(theta), theta, batch, activation
        self.optimizer, self.lr, self.settings = optimizer, lr, settings
        self.num_tasks, self.fast, self.granularity = len(batch.tasks), fast, granularity

    def distribution(self, parameters: Parameters, x: Tensor) -> td.Distribution:
        """The policy at observations [steps, S]."""
        if "context" in parameters:
            x = torch.cat([x, parameters["context"].repeat(len(x), 1)], dim=1)
        depth = sum(name.endswith("weight") for name in parameters)
        for i in range(depth):
            x = x @ parameters[f"layers.{i}.weight"].T + parameters[f"layers.{i}.bias"]
            x = self.activation(x) if i + 1 < depth else x
        if "log_std" in parameters:
            return td.Independent(td.Normal(x, parameters["log_std"].exp()), 1)
        return td.Categorical(logits=x)

    def steps(self, task: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Observations, actions and advantages of the steps that happened, in the k-th batch of a task."""
        experience = self.batch.experiences[k]
        return tuple(x[task][experience.mask[task]] for x in experience[:3])

    def inner_loss(self, parameters: Parameters, task: int, k: int) -> Tensor:
        observations, actions, advantages = self.steps(task, k)
        return -(self.distribution(parameters, observations).log_prob(actions) * advantages).mean()

    def adapt(self, theta: Tensor, task: int) -> Parameters:
        """φ_K of one task, with all its derivatives."""
        given, state = unflatten(theta, self.like), dict.fromkeys(self.like, (0.0, 0.0))
        parameters = {name: p for name, p in given.items() if not name.startswith("inner_lr.")}
        if "context" in parameters:
            parameters["context"] = torch.zeros_like(parameters["context"], requires_grad=True)
        for k in range(len(self.batch.experiences) - 1):
            loss = self.inner_loss(parameters, task, k)
            gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
            parameters = {
                name: p - self.step_size(given, name, k) * self.direction(state, name, k + 1, g)
                if name in self.fast
                else p
                for (name, p), g in zip(parameters.items(), gradients, strict=True)
            }
        return parameters

    def step_size(self, theta: Parameters, name: str, k: int) -> float | Tensor:
        """α of one tensor at the k-th step: of its shape, one number, or one for each step."""
        if self.granularity is None:
            return self.lr
        learned = theta[f"inner_lr.{name}"]
        return learned[min(k, len(learned) - 1)] if self.granularity == "step" else learned

    def direction(self, state: dict, name: str, t: int, g: Tensor) -> Tensor:
        """What the t-th step of the rule goes along, for one tensor."""
        if self.optimizer == "SGD":
            state[name] = (self.settings.get("momentum", 0.0) * state[name][0] + g, 0.0)
            return state[name][0]
        m, v = 0.9 * state[name][0] + 0.1 * g, 0.999 * state[name][1] + 0.001 * g**2
        state[name] = m, v
        return m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + self.settings["eps"])

    def outer_loss(self, theta: Tensor) -> Tensor:
        """F(θ)."""
        tasks = range(self.num_tasks)
        return torch.stack([self.loss_after(self.adapt(theta, t), self.adapted(t), t) for t in tasks]).mean()

    def loss_after(self, parameters: Parameters, acted: Parameters, task: int) -> Tensor:
        """−mean π/π_old Â of one task on its last batch, which the parameters `acted` sampled."""
        observations, actions, advantages = self.steps(task, -1)
        new, old = (self.distribution(p, observations).log_prob(actions) for p in (parameters, acted))
        return -(torch.exp(new - old) * advantages).mean()

    def kl(self, theta: Tensor) -> Tensor:
        """Mean over tasks of the mean over steps of KL(π_φ_K(θ_old) ‖ π_φ_K(θ))."""
        divergences = []
        for task in range(self.num_tasks):
            observations = self.steps(task, -1)[0]
            old, new = (self.distribution(p, observations) for p in (self.adapted(task), self.adapt(theta, task)))
            divergences.append(td.kl_divergence(old, new).mean())
        return torch.stack(divergences).mean()

    def adapted(self, task: int) -> Parameters:
        """φ_K(θ_old) of one task, as constants."""
        leaf = self.theta.clone().requires_grad_()
        return {name: p.detach() for name, p in self.adapt(leaf, task).items()}

    def gradient(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """∇f(θ_old), [P]."""
        leaf = self.theta.clone().requires_grad_()
        return torch.autograd.grad(f(leaf), leaf)[0]

    def hessian(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """∇²f(θ_old), [P, P], by double backward."""
        leaf = self.theta.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(f(leaf), leaf, create_graph=True)
        return torch.stack([torch.autograd.grad(g, leaf, retain_graph=True)[0] for g in gradient])


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def make_problem(
    optimizer: str = "sgd",
    inner_steps: int = 1,
    *,
    lr: float = 0.1,
    order: str = "second",
    discrete: bool = False,
    activation: str = "tanh",
    hidden: tuple[int, ...] = (5, 4),
    dead: bool = False,
    repeat: int = 1,
    fast_weights=All,
    context: int = 0,
    granularity: str | None = None,
    settings: dict | None = None,
    objective=None,
) -> Problem:
    """K + 1 random batches of three tasks with episodes of unequal length; S = 3, A = 2.

    `dead` switches one ReLU unit off for every input; `repeat` repeats the trajectories, for larger batches;
    `fast_weights` is a class of them; `context` the number of context parameters; with a `granularity`, step sizes are
    learned, and differ.
    """
    generator, paid = torch.Generator().manual_seed(7), torch.Generator().manual_seed(8)
    spec = Spec(observation_size=3, action_size=2, discrete=discrete, horizon=4)
    head = CategoricalHead(spec) if discrete else GaussianHead(1.0, 1e-6, 1e3, spec)
    made = head, generator, torch.float64
    policy = ContextMLP(hidden, activation, context, *made) if context else MLP(hidden, activation, *made)
    theta = {name: p.detach() + 0.2 * normal(generator, *p.shape) for name, p in policy.named_parameters()}
    if dead:
        theta["layers.0.bias"][2] = -100.0
    lengths = LENGTHS.repeat(1, repeat)
    num_tasks, trajectories = lengths.shape
    shape = num_tasks, trajectories, 4
    mask = torch.arange(4) < lengths.unsqueeze(-1)

    def experience() -> Experience:
        actions = torch.randint(2, shape, generator=generator) if discrete else normal(generator, *shape, 2)
        fields = normal(generator, *shape, 3), actions, normal(generator, *shape)
        zeroed = (x.masked_fill(~mask.view(*shape, *[1] * (x.dim() - 3)), 0) for x in fields)
        rewards = normal(paid, *shape).masked_fill(~mask, 0)
        return Experience(*zeroed, mask, {}, rewards)

    name, chosen = OPTIMIZERS[optimizer]
    settings = chosen if settings is None else settings
    objective = MAML() if objective is None else objective
    learned = [] if granularity is None else [granularity]
    rule = (LearnedStepSizes if learned else InnerOptimizer)(name, lr, settings, *learned)
    fast = fast_weights(policy) if "policy" in inspect.signature(fast_weights).parameters else fast_weights()
    adaptation = Adaptation(inner_steps, order, policy, rule, fast, objective.inner_loss)
    spread = torch.Generator().manual_seed(9)
    theta |= {name: x * (1 + 0.3 * normal(spread, *x.shape)) for name, x in adaptation.step_sizes.items()}
    experiences = [experience() for _ in range(inner_steps + 1)]
    path = adaptation.start(theta, num_tasks, order)
    for k, e in enumerate(experiences):
        experiences[k] = e._replace(parameters=detach(path.parameters))
        if k < inner_steps:
            path.step(experiences[k])
    batch = MetaBatch(torch.zeros(num_tasks, 1), tuple(experiences), torch.zeros(num_tasks, inner_steps + 1), path)
    oracle = Oracle(
        theta,
        batch,
        {"tanh": torch.tanh, "relu": torch.relu}[activation],
        name,
        lr,
        settings,
        set(path.fast),
        granularity,
    )
    return Problem(adaptation, theta, batch, MetaFunction(objective, batch, theta, adaptation, Mean()), oracle)


def central_differences(f: Callable[[Tensor], Tensor], x: Tensor, h: float = 3e-5) -> Tensor:
    """Columns ∂f/∂x_j of f: [P] → any shape, stacked on the last axis; five points, an error of order h⁴."""
    columns = []
    for direction in torch.eye(len(x), dtype=x.dtype):
        near, far = (f(x + s * direction) - f(x - s * direction) for s in (h, 2 * h))
        columns.append((8 * near - far) / (12 * h))
    return torch.stack(columns, dim=-1)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """|actual − expected| ≤ tolerance · (1 + |expected|) entry by entry; NaN is not close to anything."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.fixture
def problem() -> Callable[..., Problem]:
    return make_problem


@pytest.fixture
def differences() -> Callable[..., Tensor]:
    return central_differences


@pytest.fixture
def close() -> Callable[[Tensor, Tensor, float], None]:
    return assert_close


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture(params=list(OPTIMIZERS))
def optimizer(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[1, 2, 3])
def inner_steps(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def tiny() -> list[str]:
    """Overrides that make a job as short as it can be."""
    return [
        "experiment=smoke", "tracker=none", "policy.hidden_sizes=[6]", "tasks.horizon=8", "iterations=3", "threads=1",
    ]  # fmt: skip


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Runs in this process draw no figures, which take most of the time of a tiny one."""
    for name in ("learning_curve", "gradient_steps", "paths"):
        monkeypatch.setattr(figures, name, lambda *_: None)


@pytest.fixture
def launch(tmp_path, monkeypatch, capfd, tiny, undrawn) -> Callable[..., tuple[int, str]]:
    """Run a sweep of tiny jobs from this process; its exit status and what it printed."""

    def sweep(*overrides: str, root: Path = tmp_path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["metarl-train", "-m", *tiny, f"output_root={root}", *overrides])
        capfd.readouterr()
        try:
            code = train.main() or 0
        except SystemExit as error:
            code = error.code
        return (code if isinstance(code, int) else 1), f"{code}\n{capfd.readouterr().out}"

    return sweep


def deterministic_part(folder: Path) -> tuple[bytes, list[dict]]:
    """What two runs with the same seed have in common: the evaluation, and the metrics but those of time."""
    records = RunFolder(folder).read_metrics()
    metrics = [{k: v for k, v in record.items() if not k.startswith("perf/")} for record in records]
    return (folder / "evaluation.json").read_bytes(), metrics


@pytest.fixture
def deterministic() -> Callable[[Path], tuple[bytes, list[dict]]]:
    return deterministic_part
