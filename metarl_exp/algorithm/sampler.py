"""Sampling: the only place where raw data enters. It is checked here, once, and never changed afterwards."""

from functools import partial

import torch
from torch import Tensor

from metarl_exp.algorithm.episodes import join_episodes
from metarl_exp.algorithm.recording import Recording
from metarl_exp.maths.parameters import Parameters
from metarl_exp.process.ranks import ALONE, Ranks
from metarl_exp.process.side_by_side import GilTurn, side_by_side
from metarl_exp.process.streams import RankGenerator
from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.tasks.guard import GuardedEnv, guarded
from metarl_exp.tasks.watched import WatchedEnv, Watcher
from metarl_exp.types import BatchedEnv, Policy, Separable, Trajectories, require_finite


@torch.no_grad()  # in each thread, which has a gradient mode of its own
def rollout(
    env: BatchedEnv, policy: Policy, parameters: Parameters, noise: Tensor, deterministic: bool = False
) -> Trajectories:
    """One episode of φ [N, …] in each of N × M environments, of at most T steps: Trajectories [N, M, T, …].

    `noise` [T, N, M, …] makes actions of the policy's distribution; `deterministic` takes the most likely ones.
    """
    dtype = next(iter(parameters.values())).dtype
    recording = Recording(env.reset().to(dtype))
    noise = noise.to(recording.observation.device, dtype)
    act = policy.acting(parameters)
    for noise_t in noise:
        observation, idle = recording.observation, recording.idle
        distribution = act(observation) if idle is None else act(observation, idle)
        action = distribution.mode() if deterministic else distribution.sample(noise_t)
        recording.add(action, env.step(action))
        if recording.over:
            break
    return recording.trajectories()


def sample_episodes(
    env: BatchedEnv,
    policy: Policy,
    parameters: Parameters,
    noise: Tensor,
    deterministic: bool = False,
    limit: float | None = None,
    watch: Watcher | None = None,
) -> Trajectories:
    """The episodes of a `rollout`, of parameters, environments and data that are checked.

    `watch` is shown the environments after the reset and after every step. Raises NonFiniteError if a parameter, an
    observation, an action or a reward is not finite, and EnvironmentFailure if the environments raise, exit or take
    more than `limit` seconds for one step.
    """
    for name, parameter in parameters.items():
        # Checked here, since the argmax over logits that are not numbers is a valid action.
        require_finite(f"parameter {name} of the acting policy (indices: task, …)", parameter, parameters)
    if watch:
        trajectories = rollout(WatchedEnv(env, limit, watch), policy, parameters, noise, deterministic)
    # A stack of one task is multiplied by other kernels, whose last bits may differ from those of many.
    elif isinstance(env, Separable) and noise.shape[1] >= 4 and torch.get_num_threads() > 1:
        trajectories = _in_halves(env, policy, parameters, noise, deterministic, limit)
    else:
        trajectories = rollout(GuardedEnv(env, limit), policy, parameters, noise, deterministic)
    for name in ("observations", "actions", "rewards", "final_observations"):
        value = getattr(trajectories, name)
        if value.is_floating_point():
            require_finite(f"{name} (indices: task, trajectory, step, …)", value, trajectories)
    return trajectories


def _in_halves(
    env: Separable, policy: Policy, parameters: Parameters, noise: Tensor, deterministic: bool, limit: float | None
) -> Trajectories:
    """A `rollout` of each half of the tasks, in a thread: one half's actions are chosen during the other's physics."""
    middle, gil_turn = noise.shape[1] // 2, GilTurn()

    def play(half: BatchedEnv, tasks: slice) -> Trajectories:
        own = {name: parameter[tasks] for name, parameter in parameters.items()}
        return rollout(GuardedEnv(half, limit), policy, own, noise[:, tasks], deterministic)

    first, second = env.halves(gil_turn)
    play_first, play_second = partial(play, first, slice(middle)), partial(play, second, slice(middle, None))
    return join_episodes([*side_by_side(gil_turn, play_first, play_second)], dim=0)


def action_noise(policy: Policy, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Noise of all T steps of N × M episodes, `shape` = (N, M): [T, N, M, …].

    It is drawn ahead, so that the generator moves on by the same amount however the episodes go.
    """
    spec = policy.spec
    return policy.distribution.noise((spec.horizon, *shape), spec.action_size, generator)


class Sampler:
    """Samples M episodes of each of N tasks at once, the policy on the whole batch at every step.

    With `shared_noise` the m-th episodes of all tasks have the same action noise, and differ by task and φ alone.
    With several `ranks`, the N tasks are this one's share, and the generators go on as if all were stepped here.
    """

    def __init__(
        self,
        policy: Policy,
        task_distribution: TaskDistribution,
        trajectories: int,
        device: torch.device,
        limit: float | None = None,
        ranks: Ranks = ALONE,
        shared_noise: bool = False,
    ) -> None:
        self.policy, self.task_distribution = policy, task_distribution
        self.trajectories, self.device, self.limit = trajectories, device, limit
        self.ranks, self.shared_noise = ranks, shared_noise

    def of(self, trajectories: int, shared_noise: bool = False) -> "Sampler":
        """A sampler with another number of trajectories a task, all of them in this process."""
        settings = self.policy, self.task_distribution, trajectories, self.device, self.limit
        return Sampler(*settings, shared_noise=shared_noise)

    def __call__(
        self,
        parameters: Parameters,
        tasks: Tensor,
        actions: torch.Generator,
        environment: torch.Generator,
        deterministic: bool = False,
        watch: Watcher | None = None,
    ) -> Trajectories:
        """Sample episodes of φ [N, …] on its tasks [N, …]: Trajectories [N, M, T, …].

        `actions` and `environment` generate the policy's and the environments' randomness; `deterministic` and `watch`
        are those of `sample_episodes`.
        """
        draws = self._shared(environment, actions, len(tasks)) if self.ranks.size > 1 else environment
        with guarded("making the environments", self.limit):
            env = self.task_distribution.make_env(tasks, self.trajectories, draws, self.device)
        everyone = self.ranks.size * len(tasks)
        drawn = action_noise(self.policy, (1 if self.shared_noise else everyone, self.trajectories), actions)
        noise = self.ranks.share(drawn.expand(-1, everyone, *drawn.shape[2:]), axis=1)
        sampled = sample_episodes(env, self.policy, parameters, noise, deterministic, self.limit, watch)
        if isinstance(draws, RankGenerator):
            self._catch_up(draws)
        return sampled

    def _shared(self, environment: torch.Generator, actions: torch.Generator, num_tasks: int) -> RankGenerator:
        """The generator of this rank's environments, seeded by the state of `actions`, which every batch moves on."""
        return RankGenerator(environment, self.ranks, num_tasks, actions.get_state().numpy().tobytes())

    def _catch_up(self, draws: RankGenerator) -> None:
        """Let the environments' generator go on where the rank left it whose episodes drew most, as all at once do."""
        made = self.ranks.gather(torch.tensor([draws.draws]))
        if (made != made[0]).any():
            draws.whole.set_state(self.ranks.broadcast(draws.whole.get_state(), int(made.argmax())))
