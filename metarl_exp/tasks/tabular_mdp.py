"""Random MDPs with finitely many states and actions.  [duan2016rl2, Sec. 3.2]

For every state and action, the next state's distribution is uniform on the simplex (Dirichlet(1)) and the mean reward
is normal around 1 with deviation 1; a reward is its mean plus unit normal noise. Every episode starts in state 0, and
a policy sees the state as a one-hot vector.
"""

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from metarl_exp.maths.keyed_uniforms import keyed_uniforms
from metarl_exp.maths.planning import MDPs, optimal_action_values
from metarl_exp.process.streams import draw
from metarl_exp.tasks.base import Episode
from metarl_exp.types import Spec, Step
from metarl_exp.validation import require_integer, require_memory

MEAN_REWARD = 1.0  # the mean of the mean rewards; deviation and noise are 1 [duan2016rl2, Sec. 3.2]
KEYS = 2**53  # as many as float64 counts without a gap


class TabularMDP:
    """A task is a key, of which its tables are a fixed function.

    The tables themselves are S · A · (S + 1) numbers, 550 for ten states and five actions: too many for a row that
    results store and people type. They are made on the CPU, so that a key means the same MDP on every device.
    """

    version = 1
    discrete = True
    parameter_names: tuple[str, ...] = ("key",)

    def __init__(self, states: int, actions: int, horizon: int) -> None:
        for name, value in (("states", states), ("actions", actions), ("horizon", horizon)):
            require_integer(f"tasks.{name}", value, low=1)
        numbers = states * actions * (states + 1)
        require_memory(f"tasks.states={states}, tasks.actions={actions}", 8 * numbers)
        self.states, self.actions = states, actions
        self.spec = Spec(observation_size=states, action_size=actions, discrete=self.discrete, horizon=horizon)
        self._known: tuple[Tensor, MDPs] | None = None

    def sample(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return torch.randint(KEYS, (num_tasks, 1), generator=generator).double()

    def test_tasks(self, num_tasks: int, generator: torch.Generator) -> Tensor:
        return self.sample(num_tasks, generator)

    def make_env(
        self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device
    ) -> "TabularEnv":
        mdps = MDPs(*(table.to(device) for table in self.mdps(tasks)))
        return TabularEnv(mdps, trajectories, self.spec.horizon, generator)

    def mdps(self, tasks: Tensor) -> MDPs:
        """The tables of tasks [N, 1], float64; of the tasks asked for last they are kept, as episodes follow episodes.

        Raises ValueError if a key is not a whole number from 0 to 2⁵³ − 1.
        """
        if self._known is None or not torch.equal(self._known[0], tasks):
            self._known = tasks.clone(), self._tables(tasks[:, 0])
        return self._known[1]

    def _tables(self, keys: Tensor) -> MDPs:
        wrong = keys[(keys != keys.floor()) | (keys < 0) | (keys >= KEYS)]
        if len(wrong):
            raise ValueError(f"task key={wrong[0].item()!r}: must be a whole number from 0 to 2**53 - 1")
        shape = len(keys), self.states, self.actions, self.states + 1
        uniforms = keyed_uniforms(keys, self.states * self.actions * (self.states + 1)).view(shape)
        exponentials = -uniforms[..., :-1].log()  # independent exponentials, normalised, are Dirichlet(1)
        return MDPs(
            rewards=MEAN_REWARD + torch.special.ndtri(uniforms[..., -1]),
            transitions=exponentials / exponentials.sum(-1, keepdim=True),
        )

    def description(self, tasks: Tensor) -> Tensor:
        """Tables of each task, as an oracle sees them, [N, S · A · (S + 1)]."""
        rewards, transitions = self.mdps(tasks)
        return torch.cat([rewards.flatten(1), transitions.flatten(1)], dim=1)

    def optimal_returns(self, tasks: Tensor, discount: float = 1.0) -> Tensor:
        """Expected discounted return of one episode under the best policy, which knows the MDP: [N], float64."""
        return optimal_action_values(self.mdps(tasks), self.spec.horizon, discount)[:, 0, 0].amax(-1)

    def draw(self, axes: Any, task: Tensor, episode: Episode, step: int) -> None:
        """The states in a circle; an arrow for each transition so far, the thicker the more often, the last one red."""
        turns = torch.linspace(0, 2 * math.pi, self.states + 1)[:-1]
        places = torch.stack([turns.sin(), turns.cos()], dim=1).tolist()
        visited = episode.observations[: step + 1].argmax(-1).tolist()
        moves = list(pairwise(visited))
        for (start, end), times in Counter(moves).items():
            colour = "C3" if (start, end) == moves[-1] else "0.65"
            self._arrow(axes, places[start], places[end], color=colour, linewidth=min(0.6 + 0.6 * times, 4))
        size = min(16, 300 / self.states)
        for state, (x, y) in enumerate(places):
            colour = "C3" if state == visited[-1] else "C0" if state in visited else "lightsteelblue"
            axes.plot(x, y, "o", color=colour, markersize=size)
            axes.text(x, y, str(state), color="white", size=size / 2, ha="center", va="center_baseline")
        best = self.optimal_returns(task[None]).item()
        axes.text(-1.45, -1.45, f"best policy: {best:.1f} on average", size=7, color="0.4")
        axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal", xticks=[], yticks=[])

    @staticmethod
    def _arrow(axes: Any, start: list[float], end: list[float], **style: Any) -> None:
        """A bent arrow from one place on the unit circle to another, or a loop outside of it."""
        if start == end:
            turns = torch.linspace(0, 2 * math.pi, 25)
            axes.plot(1.17 * start[0] + 0.17 * turns.cos(), 1.17 * start[1] + 0.17 * turns.sin(), zorder=1, **style)
        else:
            shape = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=0.2", "shrinkA": 8, "shrinkB": 8}
            axes.annotate("", xy=end, xytext=start, arrowprops=shape | style)


class TabularEnv:
    """N MDPs × M episodes at once; all luck of an episode is drawn when it starts, whatever its actions will be.

    An episode has `horizon` steps; it can be stepped no further.
    """

    def __init__(self, mdps: MDPs, trajectories: int, horizon: int, generator: torch.Generator) -> None:
        self.rewards = mdps.rewards
        self.cumulative = mdps.transitions.cumsum(-1)[..., :-1]  # [N, S, A, S − 1]; the last is 1
        self.shape = horizon, len(mdps.rewards), trajectories
        self.generator = generator
        self.task = torch.arange(len(mdps.rewards), device=mdps.rewards.device).unsqueeze(-1)  # [N, 1]

    def reset(self) -> Tensor:
        device = self.rewards.device
        self.luck = draw(torch.rand, self.shape, self.generator, axis=1, dtype=torch.float64).to(device)
        self.noise = draw(torch.randn, self.shape, self.generator, axis=1, dtype=torch.float64).to(device)
        self.t, self.state = 0, torch.zeros(self.shape[1:], dtype=torch.long, device=device)  # [N, M]
        return self._observation()

    def step(self, action: Tensor) -> Step:
        chosen = self.task, self.state, action
        reward = self.rewards[chosen] + self.noise[self.t]
        self.state = (self.luck[self.t].unsqueeze(-1) >= self.cumulative[chosen]).sum(-1)
        self.t += 1
        on = torch.zeros_like(self.state, dtype=torch.bool)
        return Step(self._observation(), reward.float(), terminal=on, truncated=on)

    def _observation(self) -> Tensor:
        return torch.nn.functional.one_hot(self.state, self.rewards.shape[1]).float()
