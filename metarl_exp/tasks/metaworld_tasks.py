"""Meta-World's meta-learning benchmarks with their own training and test tasks.  [yu2019metaworld]

The benchmark's API draws the tasks and its environments step them; a row is a task as numbers (`metaworld_env.py`).
"""

import math
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarl_exp.tasks.metaworld_env import ID, VECTOR, environments, library, row_of
from metarl_exp.tasks.vector.batch import VectorBatch
from metarl_exp.tasks.vector.fleet import Fleet
from metarl_exp.tasks.vector.recipe import Recipe
from metarl_exp.tasks.vector.variation import Variation
from metarl_exp.types import Spec
from metarl_exp.validation import require_choice, require_integer

SETS = ("ML10", "ML25", "ML45")  # of several environments
LONGEST = 500  # steps: where Meta-World ends an episode  [yu2019metaworld]


class Split(NamedTuple):
    """A benchmark's tasks as rows: G goals in each of E environments."""

    train: Tensor  # [E, G, task parameters]
    test: Tensor  # [E, G, task parameters]


class MetaWorld:
    """ML1 of one environment, ML10, ML25 or ML45; the observation hides the goal.

    benchmark: `reach-v3` or any other of the 50 environments is ML1, 50 training and 50 test goals; ML10, ML25 and
    ML45 have as many training environments, 5 others to test, and 50 goals in each. goal_seed: of these goals, as the
    benchmark takes it. reward: Meta-World's reward functions, `v1` or `v2`. horizon: at most 500 steps. workers and
    start_method: as in `Fleet`.

    Success is what the environment says. A row is the place of the environment among Meta-World's 50, the same in
    every benchmark, and the random vector that sets its objects and its goal. The benchmark is made when tasks are
    first asked for, since it resets every environment 50 times. Raises ModuleNotFoundError without Meta-World.
    """

    version = 1
    discrete = False
    libraries = ("metaworld", "mujoco")
    without_effect = ("workers", "start_method")  # on any number

    def __init__(
        self, benchmark: str, goal_seed: int, reward: str, horizon: int, workers: int, start_method: str
    ) -> None:
        require_choice("tasks.benchmark", benchmark, [*SETS, *environments()])
        require_integer("tasks.goal_seed", goal_seed, low=0)
        require_choice("tasks.reward", reward, ["v1", "v2"])
        require_integer("tasks.horizon", horizon, low=1)
        if horizon > LONGEST:
            raise ValueError(f"tasks.horizon={horizon}: must be at most {LONGEST}, where Meta-World ends an episode")
        self.benchmark, self.goal_seed = benchmark, goal_seed
        columns = [Variation("environment", "argument", "environment", Number())]
        columns += [Variation(f"random_{i}", "argument", f"random.{i}", Number()) for i in range(VECTOR)]
        self.parameter_names: tuple[str, ...] = tuple(column.name for column in columns)
        self.spec = Spec(observation_size=39, action_size=4, discrete=self.discrete, horizon=horizon)
        self.fleet = Fleet(Recipe(ID, {"reward": reward}, [], columns, "success"), self.spec, workers, start_method)

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        """Training tasks: environments take turns, and no task comes twice before all have come once."""
        tasks = split(self.benchmark, self.goal_seed).train
        rounds = -(-num_tasks // (tasks.shape[0] * tasks.shape[1]))
        return torch.cat([turns(shuffled(tasks, generator)) for _ in range(rounds)])[:num_tasks]

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        """The benchmark's test tasks in its order: the first goal of every environment, then the second of each."""
        tasks = turns(split(self.benchmark, self.goal_seed).test)
        if num_tasks > len(tasks):
            raise ValueError(f"evaluation.test_tasks={num_tasks}: {self.benchmark} has {len(tasks)} test tasks")
        return tasks[:num_tasks]

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> VectorBatch:
        return self.fleet.batch(tasks, trajectories, generator, device)

    def close(self) -> None:
        self.fleet.close()


class Number:
    """A column that is given to the environment as it is; only the benchmark draws it."""

    size = math.inf

    def value(self, entry: float) -> float:
        return entry

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        raise NotImplementedError("the columns of Meta-World's tasks cannot vary one by one")


@cache
def split(benchmark: str, goal_seed: int) -> Split:
    """The tasks of a benchmark, as rows."""
    made = getattr(library(), benchmark)(seed=goal_seed) if benchmark in SETS else library().ML1(benchmark, goal_seed)
    return Split(*(table(tasks) for tasks in (made.train_tasks, made.test_tasks)))


def table(tasks: list[Any]) -> Tensor:
    """Rows of `metaworld.Task`s, those of each environment together: [E, G, task parameters]."""
    rows: dict[str, list[list[float]]] = {}
    for task in tasks:
        rows.setdefault(task.env_name, []).append(row_of(task))
    return torch.tensor(list(rows.values()), dtype=torch.float64)


def shuffled(tasks: Tensor, generator: torch.Generator) -> Tensor:
    """Tasks [E, G, …] in another order: first the goals of each environment, then the environments of each turn."""
    environments, goals = tasks.shape[:2]
    goal = torch.rand(environments, goals, generator=generator).argsort(1)
    environment = torch.rand(environments, goals, generator=generator).argsort(0)
    return tasks[environment, goal.gather(0, environment)]


def turns(tasks: Tensor) -> Tensor:
    """One task of every environment, then another one of each: [E, G, …] → [G · E, …]."""
    return tasks.transpose(0, 1).flatten(0, 1)
