"""The declarations of a distribution, and the tasks that it draws."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from metarl_exp.checker.finding import Seen, Subject, fault, note, passed
from metarl_exp.process.streams import stream
from metarl_exp.tasks.base import Traits

TRAINING, TEST = 256, 40  # tasks that are compared; 40 as evaluation has them
SHOWN = 6  # columns


def declarations_are_complete(subject: Subject) -> Iterator[Seen]:
    """`spec` has sizes, `parameter_names` are distinct names, `version` is a whole number; no trait is mistyped."""
    distribution = subject.distribution
    spec, names, version = (getattr(distribution, name, None) for name in ("spec", "parameter_names", "version"))
    sizes = ("observation_size", "action_size", "horizon")
    wrong = [f"spec.{n}={getattr(spec, n, None)!r}: must be an integer ≥ 1" for n in sizes if not _count(spec, n)]
    if not isinstance(getattr(spec, "discrete", None), bool):
        wrong.append(f"spec.discrete={getattr(spec, 'discrete', None)!r}: must be true or false")
    if not isinstance(names, tuple) or not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
        wrong.append(f"parameter_names={names!r}: must be a tuple of distinct names")
    if not isinstance(version, int) or isinstance(version, bool):
        wrong.append(f"version={version!r}: must be an integer")
    wrong += [f"{n}: nothing reads it; it is {trait!r}" for n, trait in Traits.mistyped(distribution).items()]
    yield from map(fault, wrong)
    if not wrong:
        yield passed(f"{spec}, version {version}, {len(distribution.parameter_names)} task parameters")


def _count(spec: object, name: str) -> bool:
    value = getattr(spec, name, None)
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def tasks_are_rows_of_the_generator(subject: Subject) -> Iterator[Seen]:
    """`sample` and `test_tasks` give [N, task parameters] in float64, and their generator alone decides which."""
    methods = ("sample", "test_tasks")
    wrong = [text for method in methods for text in _malformed(subject, method)]
    if not wrong:
        draws = {method: [_drawn(subject, method, 16, seed) for seed in (0, 0, 1)] for method in methods}
        wrong = [
            f"{method} gives other tasks when its generator starts again: {_short(one[0])} and {_short(again[0])} first"
            for method, (one, again, _) in draws.items()
            if not torch.equal(one, again)
        ]
        one, _, other = draws["sample"]
        varied = len(one.unique(dim=0)) > 1
        if varied and torch.equal(one, other):
            wrong.append("sample gives the same 16 tasks whatever its generator")
        if not varied:
            yield note(f"all of 16 tasks are the same: {_short(one[0])}")
        if len(draws["test_tasks"][0]) != 16:
            yield note(f"test_tasks gives {len(draws['test_tasks'][0])} of 16 tasks that were asked for")
    yield from map(fault, wrong)
    if not wrong:
        yield passed(", ".join(_ranges(subject)))


def _ranges(subject: Subject) -> Iterator[str]:
    """Ranges of the columns of some tasks, the first few of them."""
    names, tasks = subject.distribution.parameter_names, subject.tasks
    for name, low, high in list(zip(names, tasks.amin(0).tolist(), tasks.amax(0).tolist(), strict=True))[:SHOWN]:
        yield f"{name} {low:.3g} … {high:.3g}"
    if len(names) > SHOWN:
        yield f"{len(names) - SHOWN} more"


def _malformed(subject: Subject, method: str) -> Iterator[str]:
    """Faults in the form of some tasks."""
    columns = len(subject.distribution.parameter_names)
    for number in (1, 3):
        rows = _drawn(subject, method, number, 0)
        fixed_list = method == "test_tasks" and isinstance(rows, Tensor) and rows.dim() == 2 and len(rows)
        wanted = (len(rows) if fixed_list else number, columns)
        if not isinstance(rows, Tensor):
            yield f"{method}({number}) is a {type(rows).__name__}: must be a tensor"
        elif rows.shape != wanted:
            yield f"{method}({number}) has shape {list(rows.shape)}: must be {list(wanted)}, as parameter_names says"
        elif rows.dtype != torch.float64 or rows.device.type != "cpu":
            yield f"{method}({number}) is {rows.dtype} on {rows.device}: must be float64 on the CPU"
        elif not rows.isfinite().all():
            yield f"{method}({number}) has entries that are not finite: {rows.tolist()}"


def train_and_test_tasks_are_apart(subject: Subject) -> Iterator[Seen]:
    """No test task is drawn for training, or the distribution says in `train_test_overlap` why it may be."""
    training = {tuple(row) for row in _drawn(subject, "sample", TRAINING, 0).tolist()}
    test = [tuple(row) for row in _drawn(subject, "test_tasks", TEST, 0).tolist()]
    shared = [row for row in test if row in training]
    seen = f"{len(shared)} of {len(test)} test tasks are among {TRAINING} drawn for training"
    declared = Traits.of(subject.distribution).train_test_overlap
    if not shared:
        yield passed(seen)
    elif declared:
        yield note(f"{seen}; declared: {declared}")
    else:
        such = _short(torch.tensor(shared[0]))
        yield fault(
            f"{seen}, such as {such}; where it must be so, a sentence in the attribute train_test_overlap says why"
        )


def _drawn(subject: Subject, method: str, number: int, seed: int) -> Tensor:
    """Tasks as training or evaluation draws them: each from a stream of its own."""
    return getattr(subject.distribution, method)(number, stream(seed, f"checker/{method}"))


def _short(row: Tensor) -> str:
    return f"[{', '.join(f'{x:.4g}' for x in row[:SHOWN].tolist())}{', …' if len(row) > SHOWN else ''}]"
