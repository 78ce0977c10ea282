"""Sampling: the only place where raw data enters. It is checked here, once, and never changed afterwards."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event, Lock

import torch
from torch import Tensor

from metarl_exp.maths.parameters import Parameters
from metarl_exp.process.ranks import ALONE, Ranks
from metarl_exp.process.streams import RankGenerator
from metarl_exp.tasks.base import Divisible, TaskDistribution
from metarl_exp.tasks.guard import guarded, limited
from metarl_exp.types import BatchedEnv, Policy, Separable, Trajectories, after_last, require_finite, zero_where

# Steps between two looks at whether all episodes are over, on a GPU: each look makes the CPU wait for it. ours
LOOK_EVERY = 16


@torch.no_grad()
def rollout(
    env: BatchedEnv,
    policy: Policy,
    parameters: Parameters,
    shape: tuple[int, int],
    generator: torch.Generator,
    deterministic: bool = False,
    limit: float | None = None,
    watch: Callable[[BatchedEnv], None] | None = None,
    ranks: Ranks = ALONE,
) -> Trajectories:
    """One episode in each of the `shape` = (N, M) environments, at most `horizon` steps: Trajectories [N, M, T, …].

    The noise of all T steps is drawn ahead, so that the generator moves on by the same amount however the episodes
    go; it is that of the tasks of all `ranks`. `watch` is shown the environments after the reset and after every step.
    Raises NonFiniteError if an observation, a reward or the policy's output is not finite, and EnvironmentFailure if
    the environments raise, exit or take more than `limit` seconds for one step. Steps in which an episode waits for the
    others are left out.

    Where torch has several threads, `Separable` environments of four tasks or more are stepped in two halves, each in
    a thread: one half's actions are chosen while the other's physics goes on. The numbers are the same, and Python's
    part of a step is never in both threads at once, where each would wait for Python's lock at every operator.
    """
    for name, parameter in parameters.items():
        # Asked here, since the argmax of logits that are not numbers is a perfectly good action.
        require_finite(f"parameter {name} of the acting policy (indices: task, …)", parameter, parameters)
    turn = Lock()
    parts = [(slice(None), env)]
    # A stack of one task is multiplied by other kernels, whose last bits may differ from those of many.
    if isinstance(env, Separable) and watch is None and shape[0] >= 4 and torch.get_num_threads() > 1:
        middle = shape[0] // 2
        parts = list(zip((slice(middle), slice(middle, None)), env.halves(turn), strict=True))
    with guarded("reset", limit):
        first = [part.reset() for _, part in parts]
    everyone = policy.spec.horizon, ranks.size * shape[0], shape[1]
    noise = ranks.share(policy.distribution.noise(everyone, policy.spec.action_size, generator), axis=1)

    def play(index: int, stop: Event) -> Trajectories:
        tasks, part = parts[index]
        own = {name: parameter[tasks] for name, parameter in parameters.items()} if len(parts) > 1 else parameters
        turn.acquire()
        try:
            return _play(part, policy, own, first[index], noise[:, tasks], deterministic, limit, watch, stop)
        finally:
            with suppress(RuntimeError):  # an interrupt may come while it is given up
                turn.release()

    trajectories = _side_by_side(play) if len(parts) > 1 else play(0, Event())
    for name in ("observations", "actions", "rewards", "final_observations"):
        value = getattr(trajectories, name)
        if value.is_floating_point():
            require_finite(f"{name} (indices: task, trajectory, step, …)", value, trajectories)
    return trajectories


def _side_by_side(play: Callable[[int, Event], Trajectories]) -> Trajectories:
    """Both halves, the second in a thread of its own; if both fail, the first one's failure is raised."""
    threads, stop = torch.get_num_threads(), Event()
    torch.set_num_threads(1)  # to wake another for one small product takes longer than the product
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="half") as other:
            second = other.submit(play, 1, stop)
            try:
                return join_episodes([play(0, stop), second.result()], dim=0)
            except BaseException:
                stop.set()
                raise
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _play(
    env: BatchedEnv,
    policy: Policy,
    parameters: Parameters,
    observation: Tensor,
    noise: Tensor,
    deterministic: bool,
    limit: float | None,
    watch: Callable[[BatchedEnv], None] | None,
    stop: Event,
) -> Trajectories:
    """`rollout` from the first observations [N, M, S] on, with given noise [T, N, M, …], or until `stop` is set.

    Without graphs of its own accord: whether there are any is a thread's own affair.
    """
    device, dtype, shape = observation.device, parameters[next(iter(parameters))].dtype, observation.shape[:2]
    noise = noise.to(device, dtype)
    alive = torch.ones(shape, dtype=torch.bool, device=device)
    observation = observation.to(dtype)
    act = policy.acting(parameters)
    look_every = 1 if device.type == "cpu" else LOOK_EVERY
    history: list[tuple[Tensor, ...]] = []
    reached: list[Tensor] = []
    waiting, waited = None, False
    if watch:
        with limited("watching the start", limit):
            watch(env)
    for t in range(len(noise)):
        distribution = act(observation) if waiting is None else act(observation, waiting)
        action = distribution.mode() if deterministic else distribution.sample(noise[t])
        with guarded(f"step {t}", limit):
            step = env.step(action)
        counts = alive if waiting is None else alive & ~waiting
        history.append((observation, action, step.reward.to(dtype), step.terminal, counts))
        if step.success is not None:
            reached.append(step.success & counts)
        waiting = step.waiting
        waited = waited or waiting is not None
        if watch:
            with limited(f"watching step {t}", limit):
                watch(env)
        observation = step.observation.to(dtype)
        ended = step.terminal | step.truncated
        if look_every > 1 or ended.any():
            alive = alive & ~ended
            if (t + 1) % look_every == 0 and not alive.any():
                break
        if stop.is_set():
            break
    observations, actions, rewards, terminal, mask = (torch.stack(x, dim=2) for x in zip(*history, strict=True))
    seen = torch.cat([observations, observation.unsqueeze(2)], dim=2)
    final = seen.gather(2, after_last(mask, seen)).squeeze(2)
    trajectories = Trajectories(
        zero_where(~mask, observations),
        zero_where(~mask, actions),
        zero_where(~mask, rewards),
        terminal & mask,
        mask,
        final,
        torch.stack(reached, dim=2) if reached else None,
    )
    # Where one waited, or looked seldom, there may be steps after the end.
    return trajectories.only(mask) if waited or look_every > 1 else trajectories


class Sampler:
    """Rolls a policy out in N tasks × M trajectories at once, the policy on the whole batch at every step.

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
    ) -> None:
        self.policy, self.task_distribution = policy, task_distribution
        self.trajectories, self.device, self.limit = trajectories, device, limit
        self.ranks = ranks

    def of(self, trajectories: int) -> "Sampler":
        """The same sampler for another number of trajectories a task, all of them in this process."""
        return Sampler(self.policy, self.task_distribution, trajectories, self.device, self.limit)

    def __call__(
        self,
        parameters: Parameters,
        tasks: Tensor,
        actions: torch.Generator,
        environment: torch.Generator,
        deterministic: bool = False,
        watch: Callable[[BatchedEnv], None] | None = None,
    ) -> Trajectories:
        """Trajectories [N, M, T, …] of tasks [N, …] with parameters φ [N, …] acting.

        `actions` and `environment` generate the policy's and the environments' randomness; `deterministic` takes the
        most likely action; `watch` is as in `rollout`.
        """
        shape = len(tasks), self.trajectories
        draws = self._shared(environment, actions, len(tasks)) if self.ranks.size > 1 else environment
        with guarded("making the environments", self.limit):
            env = self.task_distribution.make_env(tasks, self.trajectories, draws, self.device)
        sampled = rollout(env, self.policy, parameters, shape, actions, deterministic, self.limit, watch, self.ranks)
        if isinstance(draws, RankGenerator):
            self._catch_up(draws)
        return sampled

    def _shared(self, environment: torch.Generator, actions: torch.Generator, num_tasks: int) -> RankGenerator:
        """What this rank's environments draw from; the actions' generator moves on with every batch, and so seeds."""
        return RankGenerator(environment, self.ranks, num_tasks, actions.get_state().numpy().tobytes())

    def _catch_up(self, draws: RankGenerator) -> None:
        """Let the environments' generator go on where the rank left it whose episodes drew most, as all at once do."""
        made = self.ranks.gather(torch.tensor([draws.draws]))
        if (made != made[0]).any():
            draws.whole.set_state(self.ranks.broadcast(draws.whole.get_state(), int(made.argmax())))


def join_episodes(episodes: list[Trajectories], dim: int = 1) -> Trajectories:
    """Batches of episodes as one: of the same tasks (dim 1), [N, ΣM, T, …], or of others (dim 0), [ΣN, M, T, …]."""
    longest = max(episode.mask.shape[2] for episode in episodes)

    def padded(x: Tensor) -> Tensor:
        missing = longest - x.shape[2]
        return torch.cat([x, x.new_zeros(*x.shape[:2], missing, *x.shape[3:])], dim=2) if missing else x

    fields = {
        name: torch.cat([padded(getattr(episode, name)) for episode in episodes], dim=dim)
        for name in Trajectories._fields
        if name != "final_observations" and getattr(episodes[0], name) is not None
    }
    return Trajectories(**fields, final_observations=torch.cat([e.final_observations for e in episodes], dim=dim))


def episodes_of(distribution: TaskDistribution, trajectories: Trajectories) -> list[Trajectories]:
    """What returns are of: the E episodes of trials, one after the other; else the trajectories as they are."""
    return distribution.episodes(trajectories) if isinstance(distribution, Divisible) else [trajectories]


def mean_returns(measured: list[Trajectories]) -> Tensor:
    """Mean undiscounted return of each task in each of some batches of episodes: [N, len(measured)]."""
    return torch.stack([trajectories.returns().mean(1) for trajectories in measured], dim=1).cpu()


def success_rates(measured: list[Trajectories]) -> Tensor | None:
    """Share of each task's episodes that reached its goal, [N, len(measured)]; None if the tasks have no such thing."""
    rates = [t.success.any(-1).double().mean(1) for t in measured if t.success is not None]
    return torch.stack(rates, dim=1).cpu() if rates else None
