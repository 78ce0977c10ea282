"""MAML with TRPO as one writes it from the papers: what `meta_iteration.py` compares the package with.

`higher.innerloop_ctx` adapts one task after the other; the policy is a plain module of `nn.Linear`; Gymnasium's
`SyncVectorEnv` steps one small numpy environment for each trajectory; curvature products are backward passes through
the gradient of the mean KL. It is meant to be competent: the policy acts on all trajectories of a task at once, one
replay of the inner loop serves the meta-gradient and the KL, and line search keeps no graph.

What is not compared is shared with the package: distributions, losses, advantages, and TRPO itself, which asks
`MetaFunction` below for a gradient, for curvature products and for values. So both compute the same numbers, which
`meta_iteration.py --check` verifies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import gymnasium
import higher
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from metarl_exp.algorithm.advantage import GAE
from metarl_exp.algorithm.objective import MAML, Evaluated
from metarl_exp.algorithm.outer_optimizer import TRPO
from metarl_exp.maths.distributions import DiagonalGaussian, constant
from metarl_exp.maths.reductions import masked_mean
from metarl_exp.maths.surrogate import ratio_loss
from metarl_exp.process.streams import Streams
from metarl_exp.types import Experience, Trajectories, zero_where


class Navigation(gymnasium.Env[np.ndarray, np.ndarray]):
    """2D navigation, one point and one goal, which `reset(options={"goal": …})` sets until further notice."""

    def __init__(self, horizon: int) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.horizon = horizon

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if options is not None:
            self.goal = options["goal"]
        self.position = np.zeros(2, np.float32)
        self.steps = 0
        return self.position, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.position = self.position + np.clip(0.1 * action, -0.1, 0.1)
        self.steps += 1
        x, y = self.position - self.goal
        terminated = abs(x) < 0.01 and abs(y) < 0.01
        truncated = self.steps >= self.horizon and not terminated
        return self.position, -math.hypot(x, y), terminated, truncated, {}


class Policy(nn.Module):
    """A Gaussian policy; its parameters have the order of the package's, so that flat vectors mean the same."""

    def __init__(self, observation_size: int, hidden_sizes: Sequence[int], action_size: int) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(action_size))
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise((observation_size, *hidden_sizes)):
            layers += [nn.Linear(size_in, size_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden_sizes[-1], action_size))

    def forward(self, observations: Tensor) -> DiagonalGaussian:
        mean = self.layers(observations)
        return DiagonalGaussian(mean, self.log_std.clamp(min=math.log(1e-6)).expand_as(mean))


@torch.no_grad()
def sample(envs: SyncVectorEnv, policy: nn.Module, goal: np.ndarray, noise: Tensor) -> Trajectories:
    """The first episode of each environment with the given goal; noise [T, M, A] → Trajectories [1, M, T, …]."""
    observation, _ = envs.reset(options={"goal": goal})
    final, alive = observation, np.ones(envs.num_envs, dtype=bool)
    history = []
    for step_noise in noise:
        seen = torch.from_numpy(observation)
        action = policy(seen).sample(step_noise)
        observation, reward, terminated, truncated, _ = envs.step(action.numpy())
        history.append((seen, action, *map(torch.from_numpy, (reward, terminated, alive))))
        # An environment that is done answers with its true last observation, and with the first of another episode
        # one step later. That episode is not wanted: what comes after the end is masked.
        final = np.where(alive[:, None], observation, final)
        alive = alive & ~(terminated | truncated)
        if not alive.any():
            break
    observations, actions, rewards, terminal, mask = (
        torch.stack(x, dim=1).unsqueeze(0) for x in zip(*history, strict=True)
    )
    observations, actions, rewards = (zero_where(~mask, x) for x in (observations, actions, rewards.float()))
    return Trajectories(observations, actions, rewards, terminal & mask, mask, torch.from_numpy(final).unsqueeze(0))


class InnerLoop:
    """K steps of SGD on one task through `higher.innerloop_ctx`."""

    def __init__(self, policy: Policy, lr: float, objective: MAML) -> None:
        self.policy, self.objective = policy, objective
        self.optimizer = torch.optim.SGD(policy.parameters(), lr=lr)

    def start(self, order: str | None) -> tuple[nn.Module, Callable[[Experience], None]]:
        """A copy of the policy that adapts, and the step that adapts it; `order` None keeps no path back to θ.

        In first order the inner gradients are detached, since without `track_higher_grads` no gradient reaches θ.
        """
        context = higher.innerloop_ctx(
            self.policy, self.optimizer, copy_initial_weights=False, track_higher_grads=order is not None
        )
        detach = (lambda gradients: [g.detach() for g in gradients]) if order == "first" else None
        with context as (adapted, differentiable):

            def step(experience: Experience) -> None:
                distribution = adapted(experience.observations)
                loss = self.objective.inner_loss(distribution, constant(distribution), experience)
                differentiable.step(loss.sum(), grad_callback=detach)

            return adapted, step

    def adapt(self, experiences: Sequence[Experience], order: str | None) -> nn.Module:
        """The policy after a step on each experience."""
        adapted, step = self.start(order)
        for experience in experiences:
            step(experience)
        return adapted


class MetaFunction:
    """F(θ) and the KL on fixed samples, one task after the other: what `TRPO.step` asks for."""

    def __init__(self, inner_loop: InnerLoop, tasks: list[list[Experience]], order: str) -> None:
        self.inner_loop, self.tasks, self.order = inner_loop, tasks, order
        self.parameters = list(inner_loop.policy.parameters())
        self.theta = parameters_to_vector(self.parameters).detach()
        new = [inner_loop.adapt(pre, order)(post.observations) for *pre, post in tasks]
        self.old = [DiagonalGaussian(*(x.detach() for x in distribution)) for distribution in new]
        self.losses, self.mean_kl = self._measured(new)
        self.mean_loss = self.losses.mean()
        self.loss = self.mean_loss.item()

    def _measured(self, new: list[DiagonalGaussian]) -> tuple[Tensor, Tensor]:
        """Outer losses [N], and the mean over tasks of KL(old ‖ new)."""
        losses, divergences = [], []
        for (*_, post), old_policy, new_policy in zip(self.tasks, self.old, new, strict=True):
            new_log_prob, old_log_prob = (policy.log_prob(post.actions) for policy in (new_policy, old_policy))
            losses.append(ratio_loss(new_log_prob, old_log_prob, post.advantages, post.mask))
            divergences.append(masked_mean(old_policy.kl(new_policy), post.mask))
        return torch.cat(losses), torch.cat(divergences).mean()

    def gradient(self) -> Tensor:
        """∇F(θ), [P]."""
        return flat(torch.autograd.grad(self.mean_loss, self.parameters, retain_graph=True))

    def curvature(self, order: str) -> Callable[[Tensor], Tensor]:
        """v ↦ ∇²KL v, a backward pass through the gradient of the KL for each product."""
        assert order == self.order
        gradient = flat(torch.autograd.grad(self.mean_kl, self.parameters, create_graph=True))
        return lambda vector: flat(torch.autograd.grad(gradient, self.parameters, vector, retain_graph=True))

    def evaluate(self, theta: Tensor) -> Evaluated:
        """F and KL at another θ, which the policy is left with."""
        vector_to_parameters(theta, self.parameters)
        new = []
        for *pre, post in self.tasks:
            adapted = self.inner_loop.adapt(pre, None)
            with torch.no_grad():
                new.append(adapted(post.observations))
        with torch.no_grad():
            losses, kl = self._measured(new)
        return Evaluated(losses, kl.item())


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """[P]"""
    return torch.cat([x.reshape(-1) for x in tensors])


class Learner:
    """Owner of the policy that is trained; `collect` and `improve` are the two halves of a meta-iteration."""

    def __init__(
        self,
        policy: Policy,
        inner_lr: float,
        inner_steps: int,
        order: str,
        trajectories: int,
        horizon: int,
        advantage: GAE,
        objective: MAML,
        outer_optimizer: TRPO,
        streams: Streams,
    ) -> None:
        self.policy, self.inner_steps, self.order = policy, inner_steps, order
        self.horizon, self.advantage, self.outer_optimizer, self.streams = horizon, advantage, outer_optimizer, streams
        self.inner_loop = InnerLoop(policy, inner_lr, objective)
        # Made once: `reset` gives them another goal. Autoreset is Gymnasium's default; `sample` relies on it.
        self.envs = SyncVectorEnv([lambda: Navigation(horizon)] * trajectories, autoreset_mode=AutoresetMode.NEXT_STEP)

    def collect(self, tasks: Tensor, lap: Callable[[str], None]) -> tuple[MetaFunction, list[list[Trajectories]]]:
        """Adapt to goals [N, 2]; `lap` books the time since its last call under a phase."""
        shape = self.horizon, len(tasks), self.envs.num_envs, 2
        # As the package draws it, so that both sample the same trajectories.
        noise = [torch.randn(shape, generator=self.streams.actions) for _ in range(self.inner_steps + 1)]
        lap("sampling")
        sampled, experiences = [], []
        for i, goal in enumerate(tasks.float().numpy()):
            adapted, step = self.inner_loop.start(None)
            episodes: list[Trajectories] = []
            batches: list[Experience] = []
            for k in range(self.inner_steps + 1):
                if k > 0:
                    step(batches[-1])
                lap("adaptation")
                episodes.append(sample(self.envs, adapted, goal, noise[k][:, i]))
                lap("sampling")
                batches.append(self.advantage(episodes[-1], {}))
                lap("advantages")
            sampled.append(episodes)
            experiences.append(batches)
        return MetaFunction(self.inner_loop, experiences, self.order), sampled

    def improve(self, function: MetaFunction) -> dict[str, float]:
        """One outer step, and its report."""
        theta, report = self.outer_optimizer.step(function)
        vector_to_parameters(theta, self.policy.parameters())
        return report
