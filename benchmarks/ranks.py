"""One meta-iteration in two ranks, of one thread each, against one process of one thread.

    python benchmarks/ranks.py [--iterations 5] [--output FILE.json]
    python benchmarks/ranks.py --render FILE.json   # stored results → the table in Markdown

2D navigation as published: 20 tasks × 20 trajectories × 100 steps, two hidden layers of 100, second order, TRPO. One
process by itself and two that share the tasks are alive at the same time and take turns, one meta-iteration each, so
that a drift of the machine meets both. They start from one θ with the same noise; metrics are compared at the first
meta-iteration, since rounding grows from then on.
"""

from __future__ import annotations

import metarl_exp  # noqa: F401  before torch, whose threads it tells how to wait

# isort: split
import multiprocessing
import os
import socket
import sys
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch
from measuring import QUIET, command, machine, others_seconds, parsed, store, three_digits, wait_for_quiet
from meta_iteration import PackageLearner, Setting

from metarl_exp.algorithm.learner import Learner
from metarl_exp.algorithm.sampler import Sampler
from metarl_exp.process.allocator import keep_freed_memory
from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.ranks import Ranks, joined

SIZES = (1, 2)
Record = dict[str, Any]


def learner_of(setting: Setting, ranks: Ranks) -> Learner:
    """Learner of the other benchmark, for one of some ranks."""
    learner = PackageLearner(setting, "second").learner
    sampler = learner.sampler
    learner.ranks = ranks
    learner.sampler = Sampler(
        sampler.policy, sampler.task_distribution, sampler.trajectories, sampler.device, ranks=ranks
    )
    return learner


def work(place: ProcessInfo, port: int, setting: Setting, pipe: Connection) -> None:
    """A meta-iteration whenever the pipe says so; answers with its seconds, those of the CPU, and its metrics."""
    names = {"RANK": place.rank, "WORLD_SIZE": place.size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()}
    keep_freed_memory()
    torch.set_num_threads(1)
    with joined(place, timeout=600.0, device="cpu") as ranks:
        learner = learner_of(setting, ranks)
        while pipe.recv():
            started, used = perf_counter(), process_time()
            (record,) = learner.train(1)
            metrics = {k: v for k, v in record.metrics.items() if not k.startswith("perf/")}
            pipe.send((perf_counter() - started, process_time() - used, metrics))


def measure(setting: Setting, iterations: int, patient: bool) -> Record:
    """{"seconds": {size: [of each meta-iteration]}, "differences": {metric: relative}, …}"""
    context = multiprocessing.get_context("spawn")
    pipes: dict[int, list[Connection]] = {}
    for size in SIZES:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        pipes[size] = []
        for rank in range(size):
            ours, theirs = context.Pipe()
            arguments = ProcessInfo(rank, size, rank, size), port, setting, theirs
            context.Process(target=work, args=arguments, daemon=True).start()
            theirs.close()  # or the death of the process would go unnoticed here
            pipes[size].append(ours)
    seconds: dict[str, list[float]] = {str(size): [] for size in SIZES}
    busiest, first = 0.0, {}
    for iteration in range(iterations + 1):
        for size in SIZES:
            if patient:
                wait_for_quiet()
            others, started = others_seconds(), perf_counter()
            for pipe in pipes[size]:
                pipe.send(True)
            answers = [pipe.recv() for pipe in pipes[size]]
            taken = perf_counter() - started
            if iteration == 0:  # which warms up
                first[size] = answers[0][2]
                continue
            seconds[str(size)].append(max(answer[0] for answer in answers))
            busiest = max(busiest, (others_seconds() - others - sum(answer[1] for answer in answers)) / taken)
            print(f"{size} ranks: {seconds[str(size)][-1]:.3f} s", file=sys.stderr, flush=True)
    for pipe in (pipe for each in pipes.values() for pipe in each):
        pipe.send(False)
    differences = {k: abs(first[2][k] - v) / max(abs(v), 1e-12) for k, v in first[1].items()}
    return {
        "setting": setting._asdict(),
        "machine": machine(1),
        "others_cores": busiest,
        "seconds": seconds,
        "differences": differences,
    }


def table(results: Record) -> str:
    """Medians, the ratio of turns, and what the numbers differ by, in Markdown."""
    one, two = (results["seconds"][str(size)] for size in SIZES)
    ratio = median(a / b for a, b in zip(one, two, strict=True))
    where, differences = results["machine"], results["differences"]
    worst = max(differences, key=lambda name: differences[name])
    lines = [
        "| | one process | two ranks | ratio |",
        "|---|--:|--:|--:|",
        f"| meta-iteration, s | {three_digits(median(one))} | {three_digits(median(two))} | {ratio:.2f} × |",
        "",
        f"Medians of {len(one)} meta-iterations of each, one thread a process. {where['cpu']}, {where['cores']} cores, "
        f"torch {where['torch']}; other processes used at most {results['others_cores']:.2f} cores"
        + ("." if results["others_cores"] < QUIET else ": not an idle machine, so that only the ratio tells something.")
        + f" The metrics of the first meta-iteration differ by {differences[worst]:.0e} of their value at most "
        f"(`{worst}`).",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--iterations", type=int, default=5, help="meta-iterations of each, beside the first")
    parser.add_argument("--impatient", action="store_true", help="do not wait until the machine is idle")
    arguments = parsed(parser, table)
    results = measure(Setting(), arguments.iterations, not arguments.impatient)
    print(table(results))
    store(results, arguments.output)


if __name__ == "__main__":
    main()
