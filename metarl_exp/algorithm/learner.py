"""The algorithm.

for each meta-iteration:                                       `iterations`
    draw N tasks                                               `task_distribution.sample`
    φ_0 = θ for each task                                      `inner_update`
    for k in 0 … K−1:
        sample D_k with φ_k;  φ_{k+1} = U(φ_k, ∇L_k(φ_k))
    sample D_K with φ_K
    θ ← outer optimizer on F(θ), the meta-objective of D_0…D_K `outer_update`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.adapted_policy import AdaptedPolicy, adapt_to
from metarl_exp.algorithm.advantage import GAE, GeneralisedAdvantages
from metarl_exp.algorithm.aggregator import Aggregator
from metarl_exp.algorithm.derivatives.agreement import require_one_network
from metarl_exp.algorithm.episodes import episodes_of, mean_returns, success_rates
from metarl_exp.algorithm.objective import MetaBatch, MetaFunction, MetaObjective
from metarl_exp.algorithm.outer_optimizer import PPO, TRPO, TorchOptimizer
from metarl_exp.algorithm.sampler import Sampler
from metarl_exp.checker.rehearsal import require_repeatable
from metarl_exp.maths.parameters import Parameters, unflatten
from metarl_exp.process.ranks import ALONE, Ranks
from metarl_exp.process.streams import Streams
from metarl_exp.statistics import t_interval
from metarl_exp.tasks import TaskDistribution
from metarl_exp.tasks.base import Divisible
from metarl_exp.tasks.guard import close
from metarl_exp.types import Critic, Iteration, Policy
from metarl_exp.validation import require_flag, require_integer, require_timeout


class Learner:
    """Gradient-based meta-learning of any composition: `inner_update` adapts, `outer_update` learns to adapt.

    θ are the parameters of `policy`, which training changes in place, and step sizes if they are learned. A few steps
    of a few tasks are rehearsed: ValueError if they cannot be repeated, unless `allow_stateful`; then environments may
    remember earlier episodes, and no number can be had twice.

    meta_batch_size: N, tasks of a meta-iteration. trajectories: M, episodes of each task and step. streams: the
    generators of tasks, actions and environments. environment_timeout: s, of one call into the environments; None
    waits for ever. ranks: the processes that share the tasks. rehearsed: these tasks were rehearsed before.

    Raises ValueError for a number out of range, and for parts that do not go together.
    """

    def __init__(
        self,
        *,
        task_distribution: TaskDistribution,
        policy: Policy,
        advantage: GeneralisedAdvantages,
        adaptation: Adaptation,
        objective: MetaObjective,
        outer_optimizer: TRPO | TorchOptimizer,
        aggregator: Aggregator,
        meta_batch_size: int,
        trajectories: int,
        streams: Streams,
        environment_timeout: float | None = None,
        ranks: Ranks = ALONE,
        allow_stateful: bool = False,
        rehearsed: bool = False,
    ) -> None:
        require_integer("meta_batch_size", meta_batch_size, low=1)
        ranks.require_shares(
            "meta_batch_size", meta_batch_size, outer_optimizer.minibatches if isinstance(outer_optimizer, PPO) else 1
        )
        require_integer("trajectories", trajectories, low=1)
        require_one_network(policy)
        objective.check_compatible(adaptation, outer_optimizer)
        if isinstance(policy, Critic) and isinstance(advantage, GAE):
            raise ValueError(
                f"advantage=gae with policy={type(policy).__name__}: the linear baseline would replace the policy's "
                "critic, which nothing would use; take advantage=critic, or a policy without a critic"
            )
        if isinstance(task_distribution, Divisible) and adaptation.inner_steps > 0:
            raise ValueError(
                f"adaptation.inner_steps={adaptation.inner_steps} with trials of several episodes: within a trial a "
                "policy adapts by its memory, without gradient steps; take adaptation=none, or trial_episodes=null"
            )
        if environment_timeout is not None:
            require_timeout("environment_timeout", environment_timeout)
        require_flag("allow_stateful", allow_stateful)
        if not rehearsed:
            require_repeatable(task_distribution, allow_stateful, environment_timeout)
        self.task_distribution, self.policy, self.advantage = task_distribution, policy, advantage
        self.adaptation, self.objective, self.outer_optimizer = adaptation, objective, outer_optimizer
        self.aggregator, self.ranks = aggregator, ranks
        self.meta_batch_size, self.streams = meta_batch_size, streams
        device = next(policy.parameters()).device
        self.sampler = Sampler(policy, task_distribution, trajectories, device, environment_timeout, ranks)
        self.iteration = 0  # meta-iterations done
        self.env_steps = 0  # environment steps taken in them

    @property
    def theta(self) -> Parameters:
        """The meta-parameters as they are now, as a value of its own."""
        return {name: p.detach().clone() for name, p in self.adaptation.meta_parameters().items()}

    @theta.setter
    def theta(self, parameters: Parameters) -> None:
        with torch.no_grad():
            for name, p in self.adaptation.meta_parameters().items():
                p.copy_(parameters[name])

    def close(self) -> None:
        """Let the tasks give back all that they hold. Raises EnvironmentFailure if they don't."""
        close(self.task_distribution, self.sampler.limit)

    def train(self, epochs: int) -> list[Iteration]:
        """Run `epochs` meta-iterations and return their records."""
        return list(self.iterations(epochs))

    def iterations(self, epochs: int) -> Iterator[Iteration]:
        """Run `epochs` meta-iterations lazily, one for each record that is asked for."""
        require_integer("epochs", epochs, low=0)
        for _ in range(epochs):
            yield self.outer_update(self.task_distribution.sample(self.meta_batch_size, self.streams.tasks))

    def inner_update(self, task: Tensor) -> MetaBatch:
        """Adapt to one task (a row) or to N: K + 1 batches of experience and the path θ → φ_K. θ stays.

        Of several ranks each adapts to its share, which is then the N here.
        """
        tasks = task.reshape(-1, len(self.task_distribution.parameter_names))
        path = self.adaptation.start(self.theta, len(tasks), self.adaptation.order)
        experiences, sampled = [], []
        for k in range(self.adaptation.inner_steps + 1):
            if k > 0:
                path.step(experiences[-1])
            trajectories = self.sampler(path.parameters, tasks, self.streams.actions, self.streams.environment)
            experiences.append(self.advantage(trajectories, path.parameters))
            sampled.append(trajectories)
        measured = [episode for t in sampled for episode in episodes_of(self.task_distribution, t)]
        return MetaBatch(tasks, tuple(experiences), mean_returns(measured), path, success_rates(measured))

    def outer_update(self, tasks: Tensor) -> Iteration:
        """One meta-iteration on N given tasks: adapt to each, then step θ. Several ranks share them, and have one θ."""
        theta = self.theta
        started = perf_counter()
        batch = self.inner_update(self.ranks.share(tasks))
        adapted = perf_counter()
        function = MetaFunction(self.objective, batch, theta, self.adaptation, self.aggregator, ranks=self.ranks)
        vector, report = self.outer_optimizer.step(function)
        self.theta = unflatten(self.ranks.broadcast(vector), theta)  # machines may round differently
        finished = perf_counter()
        number, self.iteration = self.iteration, self.iteration + 1
        taken = torch.tensor([sum(int(experience.mask.sum()) for experience in batch.experiences)])
        steps = int(self.ranks.gather(taken).sum())
        self.env_steps += steps
        returns = self.ranks.gather(batch.returns)
        success = [] if batch.success is None else self.ranks.gather(batch.success).mean(0).tolist()
        metrics = {
            **{f"return/step_{k}": value for k, value in enumerate(returns.mean(0).tolist())},
            **{f"success/step_{k}": value for k, value in enumerate(success)},
            **gained(returns[:, -1] - returns[:, 0]),
            "return/tasks_made_worse": (returns[:, -1] < returns[:, 0]).double().mean().item(),
            **report,
            **function.interference(),
            **function.critic(),
            "env_steps": float(self.env_steps),
            "perf/inner_s": adapted - started,
            "perf/outer_s": finished - adapted,
            "perf/env_steps_per_s": steps / (finished - started),
        }
        return Iteration(number, self.ranks.gather(batch.tasks), returns, theta, metrics)

    def state(self) -> dict[str, Any]:
        """All that continuing bit for bit takes, as tensors, numbers and plain containers."""
        return {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "theta": self.theta,
            "outer_optimizer": self.outer_optimizer.state_dict(),
            "streams": self.streams.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state()` was taken."""
        self.iteration, self.env_steps, self.theta = state["iteration"], state["env_steps"], state["theta"]
        self.outer_optimizer.load_state_dict(state["outer_optimizer"])
        self.streams.restore(state["streams"])

    def adapt(
        self, env, episodes: int, steps: int | None = None, step_size_schedule: Sequence[float] = (1.0,), seed: int = 0
    ) -> AdaptedPolicy:
        """Adapt to one live Gymnasium environment: `steps` (default K) gradient steps, `episodes` episodes each.

        θ and the training generators stay as they are. Raises ValueError if the spaces do not fit the policy.
        """
        require_integer("episodes", episodes, low=1)
        steps = self.adaptation.inner_steps if steps is None else steps
        return adapt_to(env, self.theta, self.adaptation, self.advantage, episodes, steps, step_size_schedule, seed)


def gained(gains: Tensor) -> dict[str, float]:
    """Metrics of what adaptation was worth to each task, [N]: the mean with its 95 % t-interval, and the extremes."""
    found = t_interval(gains.double().numpy())
    ends = {"return/gain_low": found.low, "return/gain_high": found.high} if found.n > 1 else {}
    extremes = {"return/gain_worst": gains.min().item(), "return/gain_best": gains.max().item()}
    return {"return/gain": gains.mean().item(), **ends, **extremes}
