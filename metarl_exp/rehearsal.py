"""Episodes whose actions are fixed beforehand: what the checker and an environment's identity compare.

With no policy in between, two records differ only if the environments, their tasks or their randomness do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_exp.types import BatchedEnv, Spec


class Record(NamedTuple):
    """What N × M environments answered in T steps; zero from the step after an episode's end."""

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
    """The same two actions all the time, [N, 2, T, …] for `shape` = (N, T): −scale and scale; first and last choice."""
    if spec.discrete:
        return torch.tensor([0, spec.action_size - 1])[:, None].expand(shape[0], 2, shape[1])
    return torch.tensor([-scale, scale])[:, None, None].expand(shape[0], 2, shape[1], spec.action_size)


def rehearse(env: BatchedEnv, actions: Tensor) -> Record:
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
