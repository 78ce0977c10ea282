"""Episodes whose actions are fixed beforehand: what the checker and an environment's identity compare.

With no policy in between, two records differ only if the environments, their tasks or their randomness do. So a few of
them are played before any training (`require_repeatable`): environments that answer otherwise the second time make
results that nobody can repeat.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl_exp.process.streams import stream
from metarl_exp.tasks.base import Divisible, TaskDistribution
from metarl_exp.tasks.guard import close, guarded
from metarl_exp.types import BatchedEnv, Spec

TASKS, STEPS = 3, 5  # of the rehearsal before a training; ours. A memory shows at once, and some steps take 10 ms
CPU = torch.device("cpu")


class Record(NamedTuple):
    """Answers of N × M environments in T steps; zero from the step after an episode's end."""

    start: Tensor  # [N, M, S]
    observations: Tensor  # [N, M, T, S] what followed each action
    rewards: Tensor  # [N, M, T]
    terminal: Tensor  # [N, M, T] bool
    truncated: Tensor  # [N, M, T] bool
    success: Tensor  # [N, M, T] bool; false where the environment says nothing of it
    alive: Tensor  # [N, M, T] bool: this step happened

    def lengths(self) -> Tensor:
        """Steps of each episode, [N, M]."""
        return self.alive.sum(-1)


def random_actions(spec: Spec, shape: tuple[int, int, int], seed: int) -> Tensor:
    """Uniform actions for `shape` = (N, M, T): in [−1, 1], [N, M, T, A]; one of the choices, [N, M, T], if discrete."""
    generator = torch.Generator().manual_seed(seed)
    if spec.discrete:
        return torch.randint(spec.action_size, shape, generator=generator)
    return 2 * torch.rand(*shape, spec.action_size, generator=generator) - 1


def extreme_actions(spec: Spec, shape: tuple[int, int], scale: float = 1.0) -> Tensor:
    """Two actions, the same at every step, [N, 2, T, …] for `shape` = (N, T): −scale and scale; first and last."""
    if spec.discrete:
        return torch.tensor([0, spec.action_size - 1])[:, None].expand(shape[0], 2, shape[1])
    return torch.tensor([-scale, scale])[:, None, None].expand(shape[0], 2, shape[1], spec.action_size)


def play_actions(env: BatchedEnv, actions: Tensor) -> Record:
    """Reset, then step with actions [N, M, T, …] until every episode is over."""
    return interleave([env], [actions])[0]


@torch.no_grad()
def interleave(envs: Sequence[BatchedEnv], actions: Sequence[Tensor]) -> list[Record]:
    """One record of each batch of environments, which take turns: all reset, all make their first step, and so on."""
    starts = [env.reset().clone() for env in envs]
    histories: list[list[tuple[Tensor, ...]]] = [[] for _ in envs]
    alive = [torch.ones(a.shape[:2], dtype=torch.bool) for a in actions]
    for t in range(max(a.shape[2] for a in actions)):
        for i, (env, planned) in enumerate(zip(envs, actions, strict=True)):
            if t >= planned.shape[2] or not alive[i].any():
                continue
            step = env.step(planned[:, :, t].clone())
            success = torch.zeros_like(step.terminal) if step.success is None else step.success
            # Copies, since what becomes of an answer later is a question of its own.
            answer = (step.observation, step.reward, step.terminal, step.truncated, success, alive[i])
            histories[i].append(tuple(x.clone() for x in answer))
            alive[i] = alive[i] & ~(step.terminal | step.truncated)
    return [_record(start, played, a.shape[2]) for start, played, a in zip(starts, histories, actions, strict=True)]


def _record(start: Tensor, history: list[tuple[Tensor, ...]], steps: int) -> Record:
    """Steps stacked and padded to `steps`, with zeros wherever an episode was over."""
    stacked = [torch.stack(x, dim=2) for x in zip(*history, strict=True)]
    alive = stacked[-1]
    masked = [x.masked_fill(~alive.view(*alive.shape, *[1] * (x.dim() - 3)), 0) for x in stacked]
    missing = steps - alive.shape[2]
    return Record(start, *(torch.cat([x, x.new_zeros(*x.shape[:2], missing, *x.shape[3:])], dim=2) for x in masked))


def difference(one: Record, other: Record, episodes: Tensor | None = None) -> str | None:
    """Where two records first differ, in words, looking at `episodes` [N, M] bool only; None if they are equal."""
    found = []
    for name in Record._fields:
        a, b = (getattr(record, name) for record in (one, other))
        if name == "start":
            a, b = a.unsqueeze(2), b.unsqueeze(2)
        unequal = (a != b) & ~(a.isnan() & b.isnan())
        if episodes is not None:
            unequal = unequal & episodes.view(*episodes.shape, *[1] * (unequal.dim() - 2))
        places = unequal.nonzero()
        if len(places):
            task, episode, step, *rest = place = places[places[:, 2].argmin()].tolist()
            what = f"{name}{rest or ''}" + ("" if name == "start" else f" of step {step}")
            values = " and ".join(f"{x[tuple(place)].item():.6g}" for x in (a, b))
            found.append((step - (name == "start"), f"{what}, task {task}, episode {episode}: {values}"))
    return min(found, key=lambda pair: pair[0])[1] if found else None


class Repetition(NamedTuple):
    """Where the same episodes were not the same, in words; None where they were."""

    second_time: str | None  # in environments that were used before, and in new ones
    in_company: str | None  # beside some tasks, and beside others


def repeat(distribution: TaskDistribution, tasks: Tensor, others: Tensor, actions: Tensor) -> Repetition:
    """Play tasks [N, …] with actions [N, M, T, …] again and again, with one seed.

    First other tasks come in their places; then they, in the same environments; then they once more in new ones, with
    the global generators elsewhere. What environments remember, or each has of its own, shows between the last two
    plays; what they share, where one of the others is the same task.
    """

    def play(rows: Tensor) -> Record:
        env = distribution.make_env(rows.clone(), actions.shape[1], torch.Generator().manual_seed(0), CPU)
        return play_actions(env, actions)

    with global_generators(1):
        before, used = play(others), play(tasks)
    close(distribution)
    with global_generators(2) as moved:
        new = play(tasks)
    close(distribution)
    found = difference(used, new)
    if found and moved:
        found += f"; the global random generator of {' and '.join(moved)} was drawn from"
    same = (others == tasks).all(1, keepdim=True).expand(actions.shape[:2])
    return Repetition(found, difference(before, used, same))


@torch.no_grad()
def overwritten(distribution: TaskDistribution, tasks: Tensor, actions: Tensor) -> list[str]:
    """Tensors that were written to after they were handed over: the tasks, the actions, and what came back.

    Actions [N, M, T, …] are taken tenfold if they are continuous, so that clipping in place shows.
    """
    actions = 10 * actions if actions.is_floating_point() else actions
    handed: list[tuple[str, Tensor, Tensor]] = []  # what, the tensor itself, and how it was

    def hand(what: str, tensor: Tensor) -> Tensor:
        handed.append((what, tensor, tensor.clone()))
        return tensor

    rows, generator = hand("the tasks", tasks.clone()), torch.Generator().manual_seed(0)
    env = distribution.make_env(rows, actions.shape[1], generator, CPU)
    hand("the observation of the reset", env.reset())
    for t in range(actions.shape[2]):
        step = env.step(hand(f"the actions of step {t}", actions[:, :, t].clone()))
        for name, value in step._asdict().items():
            if value is not None:
                hand(f"{name} of step {t}", value)
        if (step.terminal | step.truncated).all():
            break
    return [what for what, now, then in handed if ((now != then) & (now == now)).any()]


def require_repeatable(distribution: TaskDistribution, allow_stateful: bool, limit: float | None = None) -> None:
    """Raise ValueError unless a few steps of a few tasks can be repeated, and leave alone what they are given.

    `allow_stateful` asks for the latter only. Raises EnvironmentFailure if the environments raise, or take more than
    `limit` seconds.
    """
    drawn = distribution.sample(TASKS + 2, stream(0, "rehearsal/tasks"))
    tasks, others = drawn[:TASKS], drawn[[TASKS, 1, TASKS + 1]]
    actions = random_actions(distribution.spec, (TASKS, 1, min(STEPS, distribution.spec.horizon)), 0)
    with guarded("the rehearsal", limit):
        written = overwritten(distribution, others, actions)
        repetition = Repetition(None, None) if allow_stateful else repeat(distribution, tasks, others, actions)
    if written:
        raise ValueError(f"tasks: environments write to {written[0]} after returning it: return a copy")
    if repetition.second_time:
        raise ValueError(
            f"tasks: the same episodes, played twice, differ: {repetition.second_time}. An environment or wrapper "
            "remembers earlier episodes, draws from an unseeded generator or reads the clock: no run would continue "
            "bit for bit, and an evaluation would depend on earlier ones; allow_stateful=true trains anyway"
        )
    if repetition.in_company and not isinstance(distribution, Divisible):  # a trial waits for those beside it
        raise ValueError(
            f"tasks: the same episodes differ when played beside other tasks: {repetition.in_company}. Environments "
            "share state, such as an attribute of their class; allow_stateful=true trains anyway"
        )


@contextmanager
def global_generators(seed: int) -> Iterator[list[str]]:
    """The global generators seeded within the block and put back after it; the list names those that moved in it."""

    def states() -> dict[str, list[int]]:
        key = np.random.get_state(legacy=True)
        return {
            "torch": torch.get_rng_state().tolist(),
            "numpy": [*np.asarray(key[1]).tolist(), key[2]],  # type: ignore[index]
            "Python": [*random.getstate()[1]],
        }

    moved: list[str] = []
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = states()
        yield moved
        moved += [name for name, state in states().items() if state != before[name]]
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])
