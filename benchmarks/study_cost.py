"""Seconds and peak memory of one meta-iteration of every row of a study, on an otherwise idle machine.

    python benchmarks/study_cost.py STUDY.yaml [--iterations 10] [--threads 2] --output FILE.json

A row is measured with the overrides of its first column, and what it chose. Each row lives in a process of its own,
whose peak memory is then its own; the processes take turns, one meta-iteration each, so that a drift of the machine
meets all of them. Rounds that other processes disturbed are left out if any are left. The study's file names the
output as its `costs`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from measuring import Record, machine, others_seconds, peak_memory, quiet, start, store, wait_for_quiet

from metarl_exp import wiring
from metarl_exp.process.allocator import keep_freed_memory
from metarl_exp.study import declaration, runs


def work(overrides: Sequence[str], threads: int, pipe: Connection) -> None:
    """Body of a row's process: one meta-iteration for each message received, until an empty one."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    imports = peak_memory()
    iterations = wiring.assemble(wiring.compose([*overrides, "seed=0"])).learner.iterations(10**6)
    next(iterations)  # loads what is lazy
    pipe.send("ready")
    while pipe.recv():
        started, others = perf_counter(), others_seconds()
        next(iterations)
        seconds = perf_counter() - started
        pipe.send({"seconds": seconds, "others_cores": (others_seconds() - others) / seconds})
    pipe.send(peak_memory() - imports)


def measure(rows: dict[str, Sequence[str]], iterations: int, threads: int) -> Record:
    """All rows, one meta-iteration each in turn."""
    pipes = {name: start(work, overrides, threads) for name, overrides in rows.items()}
    rounds: list[list[Record]] = []
    for number in range(iterations):
        rounds.append([])
        for name, pipe in pipes.items():
            wait_for_quiet()
            pipe.send(True)
            rounds[-1].append(pipe.recv())
            print(f"round {number}  {name:<30} {rounds[-1][-1]}", file=sys.stderr, flush=True)
    undisturbed = quiet(rounds)
    found = {}
    for (name, pipe), records in zip(pipes.items(), zip(*(undisturbed or rounds), strict=True), strict=True):
        pipe.send(False)
        seconds = median(record["seconds"] for record in records)
        found[name] = {"seconds": round(seconds, 4), "peak_mib": round(pipe.recv(), 1)}
    return {
        "rows": found,
        "rounds": {"measured": len(rounds), "undisturbed": len(undisturbed)},
        "machine": machine(threads),
        "overrides": {name: list(overrides) for name, overrides in rows.items()},
    }


def rows_of(path: Path) -> dict[str, Sequence[str]]:
    """The overrides of every row of a study, with its choice. Raises ValueError if a row has not chosen yet."""
    study = declaration.load(path)
    found = {}
    for row in study.rows:
        cell = runs.cell(study, row, study.columns[0], runs.stored(study))
        if cell is None:
            raise ValueError(
                f"{path}: {row.name!r} has not chosen yet; metarl-table {path} says which runs are missing"
            )
        found[row.name] = cell[0].overrides
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds and memory of a meta-iteration of every row of a study.")
    parser.add_argument("study", type=Path)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    results = measure(rows_of(arguments.study), arguments.iterations, arguments.threads)
    store(results, arguments.output)


if __name__ == "__main__":
    main()
