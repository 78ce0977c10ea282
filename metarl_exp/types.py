"""The data that flows: immutable tuples of tensors, the contracts of those who pass it on, and that it is finite.

Legend of every shape in this package: **N** tasks · **M** trajectories a task · **T** time steps (padded) ·
**S** observation size · **A** action size · **K** inner steps · **P** number of parameters.
θ are the meta-parameters, φ those adapted to a task; φ_k is φ after k inner steps, φ_0 = θ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from metarl_exp.maths.distributions import Distribution
from metarl_exp.maths.parameters import Parameters
from metarl_exp.process.failures import EnvironmentFailure as EnvironmentFailure  # its former place
from metarl_exp.process.failures import NonFiniteError
from metarl_exp.process.side_by_side import GilTurn


class Spec(NamedTuple):
    """Sizes and kinds of observations and actions of a task distribution."""

    observation_size: int  # S
    action_size: int  # A: dimensions if continuous, choices if discrete
    discrete: bool
    horizon: int  # most steps of an episode: the time limit


class Step(NamedTuple):
    """Answer of a batch of environments to a batch of actions."""

    observation: Tensor  # [N, M, S] what follows the action
    reward: Tensor  # [N, M] environment reward of this step
    terminal: Tensor  # [N, M] bool: the MDP ended with this step
    truncated: Tensor  # [N, M] bool: the environment's own limit ended the episode, the MDP did not
    success: Tensor | None = None  # [N, M] bool: the task's goal is reached, where the environment says so
    idle: Tensor | None = None  # [N, M] bool: the next step is not this episode's, which idles until the others end


class Trajectories(NamedTuple):
    """Raw data of N × M episodes, zero wherever `mask` is false; T is the longest episode's length."""

    observations: Tensor  # [N, M, T, S] what the policy saw
    actions: Tensor  # [N, M, T, A], or [N, M, T] if discrete
    rewards: Tensor  # [N, M, T] environment reward
    terminal: Tensor  # [N, M, T] bool: the MDP ended with this step (never set by a time limit)
    mask: Tensor  # [N, M, T] bool: this step happened
    final_observations: Tensor  # [N, M, S] what followed the last step
    success: Tensor | None = None  # [N, M, T] bool: the goal was reached with this step, where the environment says so

    def returns(self) -> Tensor:
        """Undiscounted sum of rewards of each episode, [N, M]."""
        return self.rewards.sum(-1)

    def seen(self) -> Tensor:
        """All observations, with what followed the last step of each episode: [N, M, T + 1, S]."""
        seen = torch.cat([self.observations, torch.zeros_like(self.observations[:, :, :1])], dim=2)
        return seen.scatter(2, after_last(self.mask, seen), self.final_observations.unsqueeze(2))

    def only(self, kept: Tensor) -> Trajectories:
        """The steps where `kept` [N, M, T] is true, one of each episode at least, in their order and without gaps.

        What followed the last of them is what was observed next, whether or not that step is kept.
        """
        order = (~kept).int().argsort(dim=2, stable=True)[..., : int(kept.sum(2).max())]
        mask = kept.gather(2, order)

        def moved(x: Tensor) -> Tensor:
            index = order.view(*order.shape, *[1] * (x.dim() - 3)).expand(*order.shape, *x.shape[3:])
            return zero_where(~mask, x.gather(2, index))

        seen = self.seen()
        return Trajectories(
            *map(moved, (self.observations, self.actions, self.rewards, self.terminal)),
            mask=mask,
            final_observations=seen.gather(2, after_last(kept, seen)).squeeze(2),
            success=None if self.success is None else moved(self.success),
        )


def zero_where(condition: Tensor, x: Tensor) -> Tensor:
    """x [N, M, T, …] with zeros where the condition [N, M, T] holds."""
    return x.masked_fill(condition.view(*condition.shape, *[1] * (x.dim() - 3)), 0)


def after_last(mask: Tensor, seen: Tensor) -> Tensor:
    """Index into `seen` [N, M, T + 1, S] of what came after the last step of a mask [N, M, T]: [N, M, 1, S]."""
    steps = torch.arange(1, mask.shape[2] + 1, device=mask.device)
    return (mask * steps).amax(2).view(*mask.shape[:2], 1, 1).expand(-1, -1, 1, seen.shape[-1])


class Experience(NamedTuple):
    """Batch of trajectories as losses take it: advantages are numbers here, nothing is fitted later."""

    observations: Tensor  # [N, M, T, S]
    actions: Tensor  # [N, M, T, A], or [N, M, T] if discrete
    advantages: Tensor  # [N, M, T]
    mask: Tensor  # [N, M, T] bool
    parameters: Parameters  # the φ_k [N, ...] that acted
    discounted_rewards: Tensor  # [N, M, T] γ^t r_t, t counted from the start of the episode
    targets: Tensor | None = None  # [N, M, T] what a critic's values should have been, if there is a critic

    def of(self, tasks: Tensor) -> Experience:
        """Experience of some tasks (indices)."""
        parts = {n: x[tasks] for n, x in self._asdict().items() if isinstance(x, Tensor)}
        return Experience(**parts, parameters={name: p[tasks] for name, p in self.parameters.items()})

    def first(self, trajectories: int) -> Experience:
        """Experience of the first so many trajectories of each task."""
        parts = {n: x[:, :trajectories] for n, x in self._asdict().items() if isinstance(x, Tensor)}
        return self._replace(**parts)


class Iteration(NamedTuple):
    """Record of one meta-iteration; the only thing that loggers, files and progress displays consume."""

    number: int  # of the meta-iteration, from 0
    tasks: Tensor  # [N, task parameters]
    returns: Tensor  # [N, K + 1], or [N, E] of trials, as in MetaBatch
    parameters: Parameters  # the θ which that data was sampled with, before the outer step
    metrics: dict[str, float]  # glossary: metrics.py


class BatchedEnv(Protocol):
    """Dynamics of N × M episodes at once. Steps of episodes that ended, or are idle, are ignored."""

    def reset(self) -> Tensor: ...
    def step(self, action: Tensor) -> Step: ...


@runtime_checkable
class Separable(Protocol):
    """A batch of environments whose tasks can be stepped apart, without Python's lock most of the time."""

    def halves(self, gil_turn: GilTurn) -> tuple[BatchedEnv, BatchedEnv]:
        """Its first N // 2 tasks and the others, with states of their own, each to be stepped in a thread of its own.

        The thread that steps one holds `gil_turn`, and a step releases it while it needs no Python.
        """
        ...


@runtime_checkable
class RendersFrames(Protocol):
    """A batch of environments that can be photographed."""

    def frame(self, task: int, trajectory: int) -> np.ndarray:
        """The present state of one episode as a picture: [height, width, 3], uint8."""
        ...


class Policy(Protocol):
    """An `nn.Module` whose parameters are θ; acting and learning pass parameters as a value.

    `distribution` is the class that calling the policy gives, `spec` the one of the tasks it was made for.
    `head_names` are the parameters of the output layer, and log-std; `context_names` those that are zero at the start
    of every adaptation and not learned.
    A policy may have memory: called with observations [N, M, T, S] it remembers, at each step, those before.
    """

    spec: Spec

    @property
    def distribution(self) -> type[Distribution]: ...
    @property
    def head_names(self) -> frozenset[str]: ...
    @property
    def context_names(self) -> frozenset[str]: ...
    def parameters(self) -> Iterator[Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...
    def __call__(self, parameters: Parameters, observations: Tensor) -> Distribution: ...
    def acting(self, parameters: Parameters) -> Acting:
        """The policy of these parameters alone, which has computed once what does not depend on observations.

        It starts without memory, so each episode asks for one of its own.
        """
        ...


@runtime_checkable
class Critic(Protocol):
    """A policy that also estimates values of its observations.

    `critic_names` are the parameters that its values depend on and its actions do not.
    """

    @property
    def critic_names(self) -> frozenset[str]: ...
    def values(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Discounted reward to come after observations [N, M, T, S]: [N, M, T], in units of reward."""
        ...


class Acting(Protocol):
    """A policy at work: called once a time step, with observations [N, M, S]."""

    def __call__(self, observations: Tensor, idle: Tensor | None = None, /) -> Distribution:
        """The policy after these observations, of which episodes that are `idle` [N, M] remember nothing.

        It is called with observations alone where all episodes go on.
        """
        ...


def require_finite(quantity: str, value: Tensor, batch: Any) -> None:
    """Raise `NonFiniteError` naming the first offending index of `value`."""
    # One reduction for the usual case: a sum is finite unless an entry is not (or it overflows, then look again).
    if value.sum().isfinite():
        return
    bad = (~value.isfinite()).nonzero()
    if len(bad):
        raise NonFiniteError(quantity, f"{len(bad)} of {value.numel()} entries, first at {bad[0].tolist()}", batch)
