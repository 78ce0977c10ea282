"""Multi-armed bandits: each arm pays at random around a mean of its own, and nothing is observed but the payments.

An episode is `horizon` pulls, so a whole trial of n pulls is one episode of horizon n [duan2016rl2, Sec. 3.1], or
several shorter ones of the same task, as gradient steps between them need it.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from metarl_exp.process.streams import draw
from metarl_exp.tasks.base import Episode, uniform
from metarl_exp.types import Spec, Step
from metarl_exp.validation import require_choice, require_integer, require_memory


class Payment(Protocol):
    """How arms differ, and how one pays. Draws are float64 on the CPU and do not depend on which arm is pulled."""

    def means(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw the mean payment of arms."""
        ...

    def luck(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw all that is random about one payment each."""
        ...

    def rewards(self, means: Tensor, luck: Tensor) -> Tensor:
        """One payment of an arm with each of these means, of the same shape."""
        ...


class Bernoulli:
    """1 with a probability that is uniform in [0, 1] over arms, else 0.  [duan2016rl2, Sec. 3.1]"""

    def means(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return uniform(shape, 0, 1, generator)

    def luck(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return uniform(shape, 0, 1, generator)

    def rewards(self, means: Tensor, luck: Tensor) -> Tensor:
        return (luck < means).to(means.dtype)


class Gaussian:
    """Normal with unit variance around a mean that is standard normal over arms.  [sutton2018, Sec. 2.3]"""

    def means(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def luck(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return draw(torch.randn, shape, generator, dtype=torch.float64)

    def rewards(self, means: Tensor, luck: Tensor) -> Tensor:
        return means + luck


PAYMENTS: dict[str, Payment] = {"bernoulli": Bernoulli(), "gaussian": Gaussian()}


class Bandit:
    """A task is the mean payment of each arm; S = 1, a constant; A = `arms`, discrete; the reward is the payment."""

    version = 1
    discrete = True

    def __init__(self, arms: int, horizon: int, payment: str) -> None:
        require_integer("tasks.arms", arms, low=1)
        require_integer("tasks.horizon", horizon, low=1)
        require_choice("tasks.payment", payment, PAYMENTS)
        require_memory(f"tasks.arms={arms}", 100 * arms)  # as their names alone take
        self.payment = PAYMENTS[payment]
        self.spec = Spec(observation_size=1, action_size=arms, discrete=self.discrete, horizon=horizon)
        self.parameter_names = tuple(f"mean_{arm}" for arm in range(arms))

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.payment.means((num_tasks, self.spec.action_size), generator)

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.sample(num_tasks, generator)

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> "BanditEnv":
        means = tasks.to(device).unsqueeze(1).expand(-1, trajectories, -1)
        return BanditEnv(means, self.payment, self.spec.horizon, generator)

    def optimal_returns(self, tasks: Tensor) -> Tensor:
        """Expected return of an episode of the best arm: [N], float64."""
        return self.spec.horizon * tasks.amax(1)

    def draw(self, axes: Any, task: Tensor, episode: Episode, step: int) -> None:
        """A bar for each arm's mean, the best one dark; a dot for each payment, the last one red; pulls so far."""
        arms = range(len(task))
        pulls = episode.actions[:step].bincount(minlength=len(task)).tolist()
        axes.bar(arms, task.tolist(), color=["C0" if arm == task.argmax() else "lightsteelblue" for arm in arms])
        places = episode.actions[:step] + 0.6 * torch.linspace(-0.5, 0.5, len(episode.actions))[:step]
        axes.plot(places, episode.rewards[:step], ".", color="0.3", markersize=5)
        axes.plot(places[-1:], episode.rewards[:step][-1:], "o", color="C3", markersize=7)
        for arm in arms:
            below = axes.get_xaxis_transform()  # x in arms, y in heights of the axes
            axes.text(arm, 0.03, f"×{pulls[arm]}", transform=below, ha="center", size=min(9, 90 / len(task)))
        low, high = (
            bound(torch.cat([task, episode.rewards, torch.zeros(1)])).item() for bound in (torch.min, torch.max)
        )
        room = 0.15 * (high - low)
        axes.set(xlim=(-0.7, len(task) - 0.3), ylim=(low - room, high + room / 2), xticks=[], yticks=[])


class BanditEnv:
    """N × M bandits with means [N, M, A]; the luck of every pull is drawn from `generator` when an episode starts.

    An episode has `horizon` pulls; it can be stepped no further.
    """

    def __init__(self, means: Tensor, payment: Payment, horizon: int, generator: torch.Generator) -> None:
        self.means, self.payment, self.horizon, self.generator = means, payment, horizon, generator
        self.observation = torch.ones(*means.shape[:2], 1, device=means.device)
        self.never = torch.zeros(means.shape[:2], dtype=torch.bool, device=means.device)

    def reset(self) -> Tensor:
        # One draw a pull, since torch's normal draws depend on how many are made at once; one transfer for all.
        drawn = [self.payment.luck(self.means.shape[:2], self.generator) for _ in range(self.horizon)]
        self.t, self.luck = 0, torch.stack(drawn).to(self.means.device)  # [T, N, M]
        return self.observation

    def step(self, action: Tensor) -> Step:
        pulled = self.means.gather(2, action.unsqueeze(2)).squeeze(2)
        reward = self.payment.rewards(pulled, self.luck[self.t])
        self.t += 1
        return Step(self.observation, reward.float(), self.never, self.never)
