"""Answers of environments: shapes, finite numbers, every action accepted, ends that are told apart."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from metarl_exp.checker.finding import Seen, Subject, fault, note, passed
from metarl_exp.checker.rehearsal import Record, extreme_actions, random_actions
from metarl_exp.tasks.base import Traits
from metarl_exp.types import BatchedEnv, Step

BEYOND = 10.0  # a Gaussian policy's output is seldom farther from the nominal [−1, 1]


def answers_have_their_shapes(subject: Subject) -> Iterator[Seen]:
    """Observations, rewards and flags are [N, M, …] as `spec` says, of one dtype, from the reset to the horizon."""
    spec = subject.distribution.spec
    for number, trajectories, steps in ((1, 1, 1), (3, 2, spec.horizon)):
        made = subject.make(subject.tasks[:number], trajectories)
        wrong = _first_misfit(made, random_actions(spec, (number, trajectories, steps), 0), spec.observation_size)
        if wrong:
            yield fault(f"{number} × {trajectories} episodes, {wrong}")
            return
    yield passed(f"as declared, in 3 × 2 episodes of at most {spec.horizon} steps")


def _first_misfit(env: BatchedEnv, actions: Tensor, observation_size: int) -> str | None:
    """Where an answer to actions [N, M, T, …] first has another form than it should."""
    start = env.reset()
    shape = tuple(actions.shape[:2])
    if not isinstance(start, Tensor) or start.shape != (*shape, observation_size) or not start.is_floating_point():
        return f"reset: {_form(start)}, must be {[*shape, observation_size]} of floating point"
    alive, successes = torch.ones(shape, dtype=torch.bool), set()
    for t in range(actions.shape[2]):
        step = env.step(actions[:, :, t].clone())
        wrong = _misfit(step, start)
        if wrong:
            return f"step {t}: {wrong}"
        successes.add(step.success is None)
        if len(successes) > 1:
            return f"step {t}: success is {_form(step.success)}, and was not before"
        alive = alive & ~(step.terminal | step.truncated)
        if not alive.any():
            break
    return None


def _misfit(step: Step, start: Tensor) -> str | None:
    """The first field of a step that has another form than it should, beside the first observation [N, M, S]."""
    shape = start.shape[:2]
    x = step.observation
    if not isinstance(x, Tensor) or x.shape != start.shape or x.dtype != start.dtype:
        return f"observation is {_form(x)}, must be {_form(start)} as after the reset"
    if not isinstance(step.reward, Tensor) or step.reward.shape != shape or not step.reward.is_floating_point():
        return f"reward is {_form(step.reward)}, must be {list(shape)} of floating point"
    for name in ("terminal", "truncated", "success"):
        flag = getattr(step, name)
        absent = name == "success" and flag is None
        if not absent and not (isinstance(flag, Tensor) and flag.shape == shape and flag.dtype == torch.bool):
            return f"{name} is {_form(flag)}, must be {list(shape)} of bool"
    return None


def _form(x: object) -> str:
    return f"{list(x.shape)} of {str(x.dtype)[6:]}" if isinstance(x, Tensor) else f"a {type(x).__name__}"


def numbers_are_finite(subject: Subject) -> Iterator[Seen]:
    """No observation or reward is infinite or not a number while an episode lasts."""
    record = subject.episodes
    wrong = _not_finite(record)
    if wrong:
        yield fault(wrong)
    else:
        low, high = record.rewards[record.alive].min().item(), record.rewards[record.alive].max().item()
        yield passed(f"{int(record.alive.sum())} steps, rewards from {low:.4g} to {high:.4g}")


def _not_finite(record: Record) -> str | None:
    for name in ("start", "observations", "rewards"):
        value = getattr(record, name)
        places = (~value.isfinite()).nonzero().tolist()
        if places:
            task, episode, *rest = places[0]
            step = "" if name == "start" else f", step {rest[0]}"
            return f"{name}: {value[tuple(places[0])].item()} in task {task}, episode {episode}{step}"
    return None


def every_action_is_taken(subject: Subject) -> Iterator[Seen]:
    """Each choice, the bounds of the nominal range and what lies beyond give finite answers and raise nothing."""
    spec = subject.distribution.spec
    steps = subject.steps(10)
    if spec.discrete:
        tried = {f"{spec.action_size} choices": torch.arange(spec.action_size)[None, :, None].expand(1, -1, steps)}
    else:
        tried = {f"±{scale:g}": extreme_actions(spec, (1, steps), scale) for scale in (1.0, BEYOND)}
    for what, actions in tried.items():
        wrong = _not_finite(subject.play(subject.tasks[:1], actions))
        if wrong:
            yield fault(f"actions {what}: {wrong}")
            return
    yield passed(f"{' and '.join(tried)}, {steps} steps each")


def a_time_limit_is_not_terminal(subject: Subject) -> Iterator[Seen]:
    """`terminal` says that the MDP ended, and is never set because time was up.

    Both flags in one step are allowed: the MDP ended in the very step in which time ran out, and `terminal` counts.
    """
    records = [subject.episodes, subject.whole_episodes(1)]
    lengths = torch.stack([record.lengths() for record in records])
    terminal = torch.stack([record.terminal.any(-1) for record in records])
    found = [*_both_flags(records), *_less_time(subject), *_all_at_once(subject, lengths, terminal)]
    yield from found
    if not found:
        horizon = subject.distribution.spec.horizon
        ends = f"the MDP ended in {int(terminal.sum())} of {terminal.numel()} episodes"
        yield passed(f"{ends}, {int((lengths == horizon).sum())} lasted the {horizon} steps")


def _both_flags(records: list[Record]) -> Iterator[Seen]:
    """Where every episode that was cut off also ended, the two cannot be told apart from outside."""
    cut_off = sum(int(record.truncated.sum()) for record in records)
    both = sum(int((record.terminal & record.truncated).sum()) for record in records)
    if both and both == cut_off:
        yield note(f"terminal is set in all {both} episodes that were truncated; it counts as the end of the MDP")


def _all_at_once(subject: Subject, lengths: Tensor, terminal: Tensor) -> Iterator[Seen]:
    """Ends that come whatever the actions; `lengths` and `terminal` [records, N, M] of whole episodes."""
    horizon, declared = subject.distribution.spec.horizon, Traits.of(subject.distribution).ends_at_horizon
    last = lengths == horizon
    if last.sum() > 1 and terminal[last].all():
        seen = f"terminal is set with step {horizon - 1}, when time is up, in all {int(last.sum())} episodes that last"
        if declared or horizon == 1:
            yield note(f"{seen}{f'; declared: {declared}' if declared else ''}")
        else:
            yield fault(f"{seen}; where the MDP does end there, a sentence in the attribute ends_at_horizon says why")
    elif (lengths == lengths.max()).all() and lengths.max() < horizon:
        kind = "terminal" if terminal.all() else "truncated"
        yield note(f"every episode ended ({kind}) after {int(lengths.max())} of {horizon} steps, whatever the actions")


def _less_time(subject: Subject) -> Iterator[Seen]:
    """Check that with less time a terminal state stays where it was, and a time limit comes sooner."""
    whole, spec = subject.episodes, subject.distribution.spec
    less = min(int(whole.lengths().max()), spec.horizon - 1) // 2
    if less < 1 or Traits.of(subject.distribution).ends_at_horizon:
        return
    if subject.with_horizon is None:
        yield note("not tried with another horizon, there being no way to set one")
        return
    hasty = subject.with_horizon(less)
    if hasty.spec.horizon != less:
        yield note(f"not tried with another horizon: asked for {less}, it has {hasty.spec.horizon}")
        return
    actions = random_actions(spec, (2, 2, spec.horizon), 0)[:, :, :less]  # those of `whole`
    end, there = (r.terminal[:, :, less - 1] for r in (Subject(hasty).play(subject.tasks[:2], actions), whole))
    for task, episode in (end & ~there & whole.alive[:, :, less - 1]).nonzero().tolist()[:1]:
        yield fault(
            f"terminal moves with the horizon: with {less} steps instead of {spec.horizon}, "
            f"task {task}, episode {episode} ends at step {less - 1}"
        )
