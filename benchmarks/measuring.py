"""Needs of every benchmark: a process that is ready to measure, a quiet machine, its description and its ceiling."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import torch

QUIET = 0.1  # cores: an iteration counts if other processes used less
PATIENCE = 60  # seconds to wait for that before each
Record = dict[str, Any]


def start(body: Callable[..., None], *arguments: Any) -> Connection:
    """The pipe to a new process that is ready to measure: `body` with the arguments and its own end of the pipe."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit the memory of this process
    ours, theirs = context.Pipe()
    context.Process(target=body, args=(*arguments, theirs), daemon=True).start()
    theirs.close()  # or the death of the process would go unnoticed here
    ours.recv()
    return ours


def peak_memory() -> float:
    """Most memory that this process has held, MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Of this program alone; ru_maxrss begins with what the process held that started it.
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes


def others_seconds() -> float:
    """CPU seconds that everything but this process has used so far; on a system that does not tell, always 0."""
    if not Path("/proc/stat").exists():
        return 0.0
    total = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
    user, nice, system, _idle, _waiting, *rest = map(int, total.split()[1:])
    busy = user + nice + system + sum(rest[:3])  # interrupts, and what a hypervisor gave to other machines
    return busy / os.sysconf("SC_CLK_TCK") - process_time()


def wait_for_quiet() -> None:
    """Return when nothing else has used the machine for a second, or when patience ends."""
    for _ in range(PATIENCE):
        before, started = others_seconds(), perf_counter()
        sleep(1)
        if others_seconds() - before < QUIET * (perf_counter() - started):
            return


def quiet(rounds: Iterable[Sequence[Record]]) -> list[Sequence[Record]]:
    """The rounds in none of whose records anything else used the machine.

    Two threads that wait for each other on one core, because a third has the other core, take many times as long.
    """
    return [records for records in rounds if all(r["others_cores"] < QUIET for r in records)]


def machine(threads: int) -> Record:
    """Where the numbers come from."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mujoco": mujoco_version(),
    }


def mujoco_version() -> str | None:
    """None if it is not installed."""
    try:
        return version("mujoco")
    except PackageNotFoundError:
        return None


def beside(path: Path | None, measured: Sequence[str], here: Record) -> Record:
    """Results to begin with: those of a file, if it has any that are not measured anew.

    Raises ValueError if they are of another machine than `here`.
    """
    stored = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {"results": {}}
    kept = [name for name in stored["results"] if name not in measured]
    if kept and stored["machine"] != here:
        raise ValueError(f"{path} has {', '.join(kept)} of another machine: {stored['machine']}, and not {here}")
    return {"machine": here, "results": stored["results"] if kept else {}}


def store(results: Record, path: Path | None) -> None:
    """Write them, if asked: after each setting, or an interruption would cost all."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def command(doc: str | None) -> argparse.ArgumentParser:
    """The command line of a benchmark: where its results are written, and whether stored ones are only shown."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="where the measurements are written")
    parser.add_argument("--render", type=Path, metavar="FILE.json", help="only show stored results")
    return parser


def parsed(parser: argparse.ArgumentParser, table: Callable[[Record], str]) -> argparse.Namespace:
    """The arguments of a benchmark that is to measure; with `--render`, prints the table of stored results and ends."""
    arguments = parser.parse_args()
    if arguments.render:
        print(table(json.loads(arguments.render.read_text(encoding="utf-8"))))
        raise SystemExit(0)
    return arguments


def gemm_ceiling(tasks: int, rows: int, size_in: int, size_out: int) -> float:
    """GFLOP/s of [tasks, rows, in] × [tasks, in, out], a layer on a batch: at best, into memory already there.

    Fifty products or half a second, whichever is less.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(tasks, *size, generator=generator) for size in ((rows, size_in), (size_in, size_out)))
    out = torch.empty(tasks, rows, size_out)
    best, begun = float("inf"), perf_counter()
    for _ in range(50):
        started = perf_counter()
        torch.bmm(a, b, out=out)
        best = min(best, perf_counter() - started)
        if perf_counter() - begun > 0.5:
            break
    return 2 * tasks * rows * size_in * size_out / best / 1e9


def three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"
