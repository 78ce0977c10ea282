"""Independence: the task, the actions and the generator decide the numbers, all three, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from metarl_exp.checker.finding import Seen, Subject, fault, note, passed
from metarl_exp.checker.rehearsal import (
    Record,
    difference,
    extreme_actions,
    global_generators,
    interleave,
    overwritten,
    random_actions,
    repeat,
)
from metarl_exp.tasks.base import Rebuildable, Traits
from metarl_exp.tasks.guard import close

SHORT, LONG = 15, 400  # steps that do for most comparisons, and those in which an effect of the task must be seen
COLUMNS = 8  # of a task, that are varied one at a time


def the_same_again_is_the_same(subject: Subject) -> Iterator[Seen]:
    """Equal tasks, actions and generators give equal numbers, bit for bit.

    In environments that were used before as in new ones, and whatever the global generators do.
    """
    tasks, actions = subject.tasks[:2], _shared_actions(subject)
    found = repeat(subject.distribution, tasks, subject.tasks[2:4], actions).second_time
    if found:
        yield fault(f"other numbers the second time: {found}")
    else:
        yield passed(f"{actions.shape[2]} steps of {len(tasks)} tasks, in used and in new environments")


def randomness_comes_from_the_generator(subject: Subject) -> Iterator[Seen]:
    """Another generator gives other noise, no seed is built in, and the global generators are left as they are."""
    with global_generators(1) as moved:
        actions = _shared_actions(subject)
        one, other = (subject.play(subject.tasks[:2], actions, seed) for seed in (0, 1))
    if moved:
        yield fault(f"draws from or seeds the global random generator of {' and '.join(moved)}")
    yield _seeded(one, other)


def _seeded(one: Record, other: Record) -> Seen:
    """Compare two generators. Episodes of one task had equal actions: what differs between them is random."""
    names = ("start", "observations", "rewards", "terminal", "truncated")
    random_ones = [n for n in names if (getattr(one, n) != getattr(one, n)[:, :1]).any()]
    follow = [n for n in names if not torch.equal(getattr(one, n), getattr(other, n))]
    fixed = [n for n in random_ones if n not in follow]
    if fixed:
        return fault(
            f"{', '.join(fixed)} differ between episodes of one task with equal actions, yet are the same with "
            "another generator: a seed is built in"
        )
    if not follow:
        return note("no randomness seen: the same numbers for every episode and generator")
    if not random_ones:
        return note(f"{', '.join(follow)} follow the generator, and are the same for all episodes of a task")
    return passed(f"{', '.join(follow)} follow the generator")


def _shared_actions(subject: Subject) -> Tensor:
    """One series of random actions for two tasks × three episodes, [2, 3, T, …]."""
    actions = random_actions(subject.distribution.spec, (1, 1, subject.steps(SHORT)), 0)
    return actions.expand(2, 3, *actions.shape[2:])


def tasks_are_applied(subject: Subject) -> Iterator[Seen]:
    """Another task gives other numbers under the same actions and randomness, and so does each of its columns."""
    names, tasks = subject.distribution.parameter_names, subject.tasks
    others = tasks[1:][(tasks[1:] != tasks[0]).any(1)].unique(dim=0)[:2]
    if not len(others):
        yield note("the sampled tasks are all the same: nothing to compare")
        return
    if not any(_has_effect(subject, others)):
        seen = (
            f"tasks {_short(tasks[0])} and {' and '.join(_short(row) for row in others)} gave the same observations, "
            f"rewards and ends in {subject.steps(LONG)} steps of random and constant actions"
        )
        declared = Traits.of(subject.distribution).sparse_reward
        if declared:
            yield note(f"{seen}: {declared}")
        else:
            yield fault(f"{seen}: not applied; where only better actions tell them apart, say so in sparse_reward")
        return
    varied = _one_column_each(tasks)
    try:
        effect = _has_effect(subject, torch.stack(list(varied.values())))
    except Exception as error:
        yield note(f"applied; its columns cannot be varied one at a time: {type(error).__name__}: {error}")
        return
    without = [names[column] for column, seen in zip(varied, effect, strict=True) if not seen]
    tried = f"{len(varied)} of {len(names)} columns"
    if without:
        yield note(f"applied, but no effect of {', '.join(without)} was seen ({tried} tried)")
    else:
        yield passed(f"{len(others)} other tasks and {tried} changed the numbers")


def _one_column_each(tasks: Tensor) -> dict[int, Tensor]:
    """The first task with one entry replaced by the farthest that was sampled, for up to COLUMNS columns that vary."""
    varying = (tasks != tasks[0]).any(0).nonzero().flatten()
    chosen = varying[torch.linspace(0, len(varying) - 1, min(COLUMNS, len(varying))).round().long()].tolist()
    rows = {}
    for column in chosen:
        rows[column] = tasks[0].clone()
        rows[column][column] = tasks[(tasks[:, column] - tasks[0, column]).abs().argmax(), column]
    return rows


def _has_effect(subject: Subject, rows: Tensor) -> list[bool]:
    """Which of these tasks [N, …] gave other numbers than the first sampled one in its place in a batch.

    Two batches of one shape and one generator, so that everything but the task is the same in corresponding rows. What
    showed no effect in a short play gets a long one.
    """
    spec, seen = subject.distribution.spec, [False] * len(rows)
    for steps in sorted({subject.steps(SHORT), subject.steps(LONG)}):
        left = [row for row, effect in enumerate(seen) if not effect]
        actions = torch.cat([random_actions(spec, (1, 4, steps), 0), extreme_actions(spec, (1, steps))], dim=1)
        actions = actions.expand(len(left), *actions.shape[1:])
        base, varied = (subject.play(x, actions) for x in (subject.tasks[:1].expand(len(left), -1), rows[left]))
        for place, row in enumerate(left):
            here = torch.arange(len(left)).unsqueeze(1).expand(base.start.shape[:2]) == place
            seen[row] = difference(base, varied, here) is not None
        if all(seen):
            break
    return seen


def _short(row: Tensor) -> str:
    shown = [f"{x:.4g}" for x in row[:4].tolist()]
    return f"[{', '.join(shown)}{', …' if len(row) > 4 else ''}]"


def attributes_are_as_if_built_in(subject: Subject) -> Iterator[Seen]:
    """Environments that are given a task's attributes later answer as environments that are made with them."""
    if not isinstance(subject.distribution, Rebuildable):
        yield passed("no attributes are set in environments that were made before")
        return
    rebuilt = subject.distribution.rebuilt()
    if rebuilt is None:
        yield note("not compared: no environments can be made that have these tasks' attributes from the beginning")
        return
    found = difference(subject.episodes, Subject(rebuilt).whole_episodes(0))
    close(rebuilt)
    if found:
        yield fault(
            f"an attribute that is set is not as one that the environment is made with: {found}; what its constructor "
            "computes from the attribute stays behind: vary an argument of the constructor, or call a method"
        )
    else:
        yield passed("set attributes gave the numbers of environments that were made with them")


def neighbours_do_not_matter(subject: Subject) -> Iterator[Seen]:
    """An episode stays as it was when other tasks and other actions stand beside it in the batch."""
    spec, tasks = subject.distribution.spec, subject.tasks
    # 5 × 3: numbers without a common divisor, so that no mix-up of rows and episodes maps what is kept onto itself.
    actions, changed = (random_actions(spec, (5, 3, subject.steps(SHORT)), seed) for seed in (0, 1))
    changed[1::2, 0] = actions[1::2, 0]
    crowd = tasks[:5].clone()
    crowd[::2] = tasks[5:]
    same = torch.zeros(5, 3, dtype=torch.bool)
    same[1::2, 0] = True
    found = difference(subject.play(tasks[:5], actions), subject.play(crowd, changed), same)
    if found:
        yield fault(f"changed by what others in its batch are or do: {found}")
    else:
        yield passed("2 episodes unchanged beside 13 that were changed")


def batches_share_nothing(subject: Subject) -> Iterator[Seen]:
    """A batch is unchanged after another one, and two that take turns do what each does alone."""
    actions = [random_actions(subject.distribution.spec, (2, 2, subject.steps(SHORT)), seed) for seed in (0, 1)]
    tasks = subject.tasks[:2], subject.tasks[2:4]
    alone = [subject.play(rows, planned, seed) for rows, planned, seed in zip(tasks, actions, (0, 1), strict=True)]
    after = difference(alone[0], subject.play(tasks[0], actions[0], 0))
    if after:
        yield fault(f"a batch is not what it was before another one was played: {after}")
        return
    try:
        together = interleave([subject.make(rows, 2, seed) for seed, rows in enumerate(tasks)], actions)
    except Exception as error:
        # Sampling plays one batch after the other: to refuse aloud is no fault, to mix them up in silence is one.
        yield note(
            f"one after the other they share nothing; they refuse to take turns: {type(error).__name__}: {error}"
        )
        return
    for number, (one, other) in enumerate(zip(alone, together, strict=True)):
        found = difference(one, other)
        if found:
            yield fault(f"batch {number} of two that take turns is not what it is alone: {found}")
            return
    yield passed("one after the other and taking turns, two batches were what they are alone")


def tensors_are_left_alone(subject: Subject) -> Iterator[Seen]:
    """Tasks and actions that were given, and answers that were returned, are not written to afterwards."""
    actions = random_actions(subject.distribution.spec, (3, 2, subject.steps(SHORT)), 0)
    changed = overwritten(subject.distribution, subject.tasks[:3], actions)
    if changed:
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        yield fault(f"written to after they were handed over: {changed[0]}{more}")
    else:
        yield passed(f"tasks, actions and answers of {actions.shape[2]} steps are as they were")
