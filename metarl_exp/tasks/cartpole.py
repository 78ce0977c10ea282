"""CartPole over a distribution of its physics, equal to Gymnasium's CartPole-v1 at the nominal parameters.

Dynamics [barto1983; Gymnasium's `classic_control/cartpole.py`]: explicit Euler at 0.02 s in float64, observation
(x, ẋ, ϑ, ϑ̇) rounded to float32, start uniform in ±0.05, and the end when |x| > 2.4 or |ϑ| > 12°. Actions 0 and 1
push left and right.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metarl_exp.tasks.base import Episode, uniform
from metarl_exp.types import Spec, Step
from metarl_exp.validation import require_choice, require_integer, require_number, require_range

TIME_STEP = 0.02  # s
MAX_POSITION = 2.4  # m
MAX_ANGLE = 12 * 2 * math.pi / 360  # rad
START = 0.05
TARGET_REACH = 1.0  # m: targets are uniform in ± this; ours

# The one physics of CartPole-v1, as ranges that hold nothing else.
NOMINAL: dict[str, list[float]] = {
    "length": [0.5, 0.5],
    "pole_mass": [0.1, 0.1],
    "cart_mass": [1.0, 1.0],
    "gravity": [9.8, 9.8],
    "force": [10.0, 10.0],
}


class CartPole:
    """Each task has its own half pole length (m), pole and cart mass (kg), gravity (m/s²) and force (N).

    Every quantity is uniform in its [low, high]. `hidden` adds one that the observation does not show, so that no
    fixed policy can solve all tasks and adaptation is necessary: `force_sign` (with probability one half a push goes
    the other way), `target` (reward 1 − |x − target| / 2.4 a step, at least 0, instead of 1), or `none`.
    """

    version = 1
    discrete = True

    def __init__(
        self,
        horizon: int,
        hidden: str,
        length: Sequence[float],
        pole_mass: Sequence[float],
        cart_mass: Sequence[float],
        gravity: Sequence[float],
        force: Sequence[float],
    ) -> None:
        require_integer("tasks.horizon", horizon, low=1)
        require_choice("tasks.hidden", hidden, ["none", "force_sign", "target"])
        ranges = {"length": length, "pole_mass": pole_mass, "cart_mass": cart_mass, "gravity": gravity, "force": force}
        for name, pair in ranges.items():
            require_number(f"tasks.{name}", require_range(f"tasks.{name}", pair)[0], above=0)
        self.low, self.high = torch.tensor([list(pair) for pair in ranges.values()], dtype=torch.float64).T
        self.hidden = hidden
        self.parameter_names: tuple[str, ...] = (*ranges, *(() if hidden == "none" else (hidden,)))
        self.spec = Spec(observation_size=4, action_size=2, discrete=self.discrete, horizon=horizon)

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        physics = uniform((num_tasks, 5), self.low, self.high, generator)
        # Drawn for every variant, so that the physics of the tasks is the same in all three.
        secret = uniform((num_tasks, 1), -TARGET_REACH, TARGET_REACH, generator)
        if self.hidden == "force_sign":
            return torch.cat([physics, torch.where(secret < 0, -1.0, 1.0)], dim=1)
        return torch.cat([physics, secret], dim=1) if self.hidden == "target" else physics

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.sample(num_tasks, generator)

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> "CartPoleEnv":
        length, pole_mass, cart_mass, gravity, force = tasks[:, :5].to(device).T.unsqueeze(-1)
        secret = tasks[:, 5:6].to(device)
        if self.hidden == "force_sign":
            force = force * secret
        target = secret if self.hidden == "target" else None
        start = uniform((len(tasks), trajectories, 4), -START, START, generator).to(device)
        return CartPoleEnv(start, length, pole_mass, cart_mass, gravity, force, target)

    def draw(self, axes: Any, task: Tensor, episode: Episode, step: int) -> None:
        """Track, cart and pole in metres; the arrow is the force that acts next, the star an unseen target."""
        x, _, angle, _ = episode.observations[step].tolist()
        length, _, _, _, force, *secret = task.tolist()
        axes.plot([-MAX_POSITION, MAX_POSITION], [0, 0], color="0.6", linewidth=1.5, marker="|", markersize=12)
        if self.hidden == "target":
            axes.plot(secret, [0], marker="*", markersize=13, color="black", zorder=3)
        axes.fill([x - 0.25, x + 0.25, x + 0.25, x - 0.25], [0.05, 0.05, 0.3, 0.3], color="C0")
        tip = x + 2 * length * math.sin(angle), 0.3 + 2 * length * math.cos(angle)
        axes.plot([x, tip[0]], [0.3, tip[1]], color="C1", linewidth=5, solid_capstyle="round")
        axes.plot(x, 0.3, marker="o", markersize=4, color="black")
        if step < len(episode.actions):
            sign = secret[0] if self.hidden == "force_sign" else 1.0
            push = math.copysign(1.0, episode.actions[step].item() - 0.5) * sign * force / NOMINAL["force"][0]
            edge = x + math.copysign(0.25, push)
            style = {"arrowstyle": "-|>", "color": "C3", "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", xy=(edge + 0.6 * push, 0.175), xytext=(edge, 0.175), arrowprops=style)
        reach, top = MAX_POSITION + 0.3, 0.5 + 2 * self.high[0].item()
        axes.set(xlim=(-reach, reach), ylim=(-0.2, top), aspect="equal", xticks=[], yticks=[])


class CartPoleEnv:
    """N × M poles at once; physics [N, 1] each, state [N, M, 4] in float64."""

    def __init__(
        self,
        start: Tensor,
        length: Tensor,
        pole_mass: Tensor,
        cart_mass: Tensor,
        gravity: Tensor,
        force: Tensor,
        target: Tensor | None,
    ) -> None:
        self.start, self.length, self.pole_mass, self.gravity, self.force = start, length, pole_mass, gravity, force
        self.total_mass = pole_mass + cart_mass
        self.target = target

    def reset(self) -> Tensor:
        self.state = self.start
        return self.state.float()

    def step(self, action: Tensor) -> Step:
        x, speed, angle, spin = self.state.unbind(-1)
        force = torch.where(action == 1, self.force, -self.force)
        cosine, sine = angle.cos(), angle.sin()
        pole_moment = self.pole_mass * self.length
        push = (force + pole_moment * spin.square() * sine) / self.total_mass
        inertia = self.length * (4.0 / 3.0 - self.pole_mass * cosine.square() / self.total_mass)
        spin_rate = (self.gravity * sine - cosine * push) / inertia
        acceleration = push - pole_moment * spin_rate * cosine / self.total_mass
        derivative = torch.stack([speed, acceleration, spin, spin_rate], dim=-1)
        self.state = self.state + TIME_STEP * derivative
        x, angle = self.state[..., 0], self.state[..., 2]
        terminal = (x.abs() > MAX_POSITION) | (angle.abs() > MAX_ANGLE)
        reward = torch.ones_like(x) if self.target is None else self.closeness(x, self.target)
        return Step(self.state.float(), reward.float(), terminal, torch.zeros_like(terminal))

    @staticmethod
    def closeness(x: Tensor, target: Tensor) -> Tensor:
        """1 at the target, falling linearly to 0 at a distance of 2.4 m."""
        return (1 - (x - target).abs() / MAX_POSITION).clamp_min(0)
