"""How the time of a meta-iteration, and of a curvature product, grows with the size of the problem.

    python benchmarks/scaling.py [--only AXIS …] [--iterations 2] [--threads 2] [--output FILE.json]   # and its figure
    python benchmarks/scaling.py --render FILE.json     # only the figure and the table of stored results

Around 2D navigation as published, one number at a time, as settings.yaml says. An axis in one order has a process of
its own, which builds a learner for each value.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
import torch
from iterations import among, conditions, declared, over_iterations, total
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from measuring import Record, beside, machine, start, store, three_digits, wait_for_quiet
from phases import PRODUCT
from subject import Subject

from metarl_exp.algorithm.adaptation import ORDERS
from metarl_exp.figures.style import MARKS, STYLE, look, save
from metarl_exp.markdown import pipes
from metarl_exp.process.allocator import keep_freed_memory
from metarl_exp.runs import provenance
from metarl_exp.validation import require_integer

# --- Measuring --------------------------------------------------------------------------------------------------------


def work(threads: int, pipe: Connection) -> None:
    """Body of a process: for each list of overrides received a learner, then a meta-iteration for each True."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    pipe.send("ready")
    subject = None
    while message := pipe.recv():
        if message is True:
            assert subject is not None
            pipe.send(subject.timed(threads))
        else:
            subject = None  # its memory is free before the next is built
            subject = Subject(message)
            pipe.send("ready")


def measure(axis: str, override: str, values: Sequence[int], iterations: int, threads: int) -> Record:
    """Record of one axis: {"values": …, "first": [of each value], "second": …}."""
    found: Record = {"override": override, "values": list(values), "code": provenance.commit()}
    for order in ORDERS:
        pipe, found[order] = start(work, threads), []
        for value in values:
            pipe.send([override.format(value), f"adaptation.order={order}"])
            pipe.recv()
            records = []
            for _ in range(iterations):
                wait_for_quiet()
                pipe.send(True)
                records.append(pipe.recv())
            found[order].append({"iterations": records})
            print(f"{axis} {value}, {order}: {total(records[-1]):.3f} s", file=sys.stderr, flush=True)
        pipe.send(False)
    return found


# --- The report -------------------------------------------------------------------------------------------------------


def seconds(axis: Record, order: str) -> dict[str, list[float]]:
    """{"meta-iteration": [at each value], "curvature product": …}, medians."""
    return {
        "meta-iteration": [over_iterations(point, total) for point in axis[order]],
        "curvature product": [
            over_iterations(point, lambda record: median(record["phases"][PRODUCT])) for point in axis[order]
        ],
    }


def table(results: Record) -> str:
    """Seconds at each value of each axis, in Markdown."""
    header = ["", "", *(f"{what}, {order} order, s" for order in ORDERS for what in ("meta-iteration", "product"))]
    rows = []
    for name, axis in results["results"].items():
        columns = [column for order in ORDERS for column in seconds(axis, order).values()]
        for value, *numbers in zip(axis["values"], *columns, strict=True):
            rows.append([name, f"{value}", *map(three_digits, numbers)])
    axes_of = results["results"].values()
    points = [point | {"code": axis["code"]} for axis in axes_of for order in ORDERS for point in axis[order]]
    return f"{pipes(header, rows)}\n\n{conditions(results['machine'], points)}"


@matplotlib.rc_context(STYLE)
def draw(results: Record, folder: Path) -> Path:
    """A panel for each axis, on logarithmic scales; the thin line is proportional to the axis."""
    axes_of = results["results"]
    columns = math.ceil((len(axes_of) + 1) / 2)  # the last place is the legend's
    figure = Figure(figsize=(2.4 * columns, 4.2), layout="constrained")
    board = list(figure.subplots(2, columns, squeeze=False, sharey=True).flat)
    for panel, (name, axis) in zip(board, axes_of.items(), strict=False):
        values = np.array(axis["values"])
        lines = [(order, what, found) for order in ORDERS for what, found in seconds(axis, order).items()]
        for number, (order, what, found) in enumerate(lines):
            panel.plot(values, found, **look(number)._asdict(), **MARKS, label=f"{what}, {order} order")
        slowest = max((found for _, _, found in lines), key=lambda found: found[0])
        panel.plot(values, slowest[0] * values / values[0], color="0.6", linewidth=0.8, label="proportional", zorder=0)
        panel.set(xscale="log", yscale="log", xlabel=name)
        panel.set_xticks(values, [f"{value}" for value in values])
        panel.xaxis.set_minor_locator(NullLocator())
    for panel in board[::columns]:
        panel.set_ylabel("seconds")
    for panel in board[len(axes_of) :]:
        panel.axis("off")
    board[-1].legend(*board[0].get_legend_handles_labels(), loc="center", fontsize=8)
    return save(figure, folder, "scaling")


# --- Command line -----------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="AXIS", help="of these axes")
    parser.add_argument("--iterations", type=int, default=2, help="meta-iterations of each point")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument(
        "--output", type=Path, metavar="FILE.json", help="where measurements, and beside them scaling.png, are written"
    )
    parser.add_argument("--render", type=Path, metavar="FILE.json", help="only draw and show stored results")
    arguments = parser.parse_args()
    output = arguments.render or arguments.output
    if arguments.render:
        results = json.loads(arguments.render.read_text(encoding="utf-8"))
    else:
        try:
            require_integer("--iterations", arguments.iterations, low=1)
            require_integer("--threads", arguments.threads, low=1)
            chosen = among(declared()["scaling"], arguments.only)
            results = beside(output, list(chosen), machine(arguments.threads))
        except ValueError as error:
            parser.error(str(error))
        for name, axis in chosen.items():
            results["results"][name] = measure(name, **axis, iterations=arguments.iterations, threads=arguments.threads)
            store(results, output)
    print(table(results))
    if output:
        print(draw(results, output.parent))


if __name__ == "__main__":
    main()
