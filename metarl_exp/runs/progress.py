"""The live display of a run: one line that says how far it is and how well it does. Silent without a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metarl_exp.types import Iteration


class Display:
    """Shows records as they come."""

    def __init__(self, progress: Progress, total: int, done: int) -> None:
        self.progress = progress
        self.task = progress.add_task("training", total=total, completed=done, news="")

    def show(self, record: Iteration) -> None:
        """One more iteration is done."""
        m, last = record.metrics, record.returns.shape[1] - 1
        news = [f"return {m['return/step_0']:.1f}"]
        if last:
            news[0] += f" → {m[f'return/step_{last}']:.1f}"
        news += [f"KL {m['outer/kl']:.4f}", f"{m['perf/env_steps_per_s'] / 1000:.1f}k steps/s"]
        self.progress.update(self.task, advance=1, news=" · ".join(news))


@contextmanager
def display(console: Console, total: int, done: int) -> Iterator[Display]:
    """A live display of `total` iterations, `done` of which were done before."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[news]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Display(progress, total, done)
