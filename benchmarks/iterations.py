"""Cost of a meta-iteration in each of a list of settings, and its share of the machine's ceiling.

    python benchmarks/iterations.py [--only NAME …] [--iterations 4] [--threads 2] [--output FILE.json]
    python benchmarks/iterations.py --overrides KEY=VALUE …      # of a setting of one's own
    python benchmarks/iterations.py --render FILE.json           # only the tables of stored results

The settings are those of settings.yaml. Each has a process of its own, one after the other, in which ceilings are
measured after each meta-iteration, and operations are counted in a last one that is not timed. `--output` replaces the
settings that are measured and keeps the others that FILE.json has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import torch
import yaml
from measuring import Record, beside, command, machine, parsed, quiet, start, store, three_digits, wait_for_quiet
from operations import Network, needed
from phases import PRODUCT, REST
from subject import Subject, facts

from metarl_exp import wiring
from metarl_exp.markdown import pipes
from metarl_exp.process.allocator import keep_freed_memory
from metarl_exp.runs import provenance
from metarl_exp.validation import require_choice, require_integer

SETTINGS = Path(__file__).with_name("settings.yaml")
# What is told of a meta-iteration: phases that are one piece of work.
PARTS = {
    "sampling": ("sampling",),
    "advantages": ("advantages",),
    "adaptation": ("adaptation",),
    "gradient": ("loss", "gradient", "again"),
    "curvature": ("curvature", PRODUCT),
    "search": ("search",),
    "rest": (REST,),
}


# --- Measuring --------------------------------------------------------------------------------------------------------


def work(overrides: Sequence[str], threads: int, pipe: Connection) -> None:
    """Body of a setting's process: one meta-iteration for each message received, until an empty one."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    subject = Subject(overrides)
    pipe.send("ready")
    while pipe.recv():
        pipe.send(subject.timed(threads))
    pipe.send({**facts(subject.learner), "before_mib": subject.before_mib, "counted": subject.counted()})


def measure(name: str, overrides: Sequence[str], iterations: int, threads: int) -> Record:
    """Record of one setting."""
    pipe, records = start(work, overrides, threads), []
    for i in range(iterations):
        wait_for_quiet()
        pipe.send(True)
        records.append(pipe.recv())
        took, others = total(records[-1]), records[-1]["others_cores"]
        print(f"{name:<26} {i}  {took:7.3f} s, others {others:.2f} cores", file=sys.stderr, flush=True)
    pipe.send(False)
    return {"overrides": list(overrides), "code": provenance.commit(), **pipe.recv(), "iterations": records}


# --- From records to numbers ------------------------------------------------------------------------------------------


def total(record: Record) -> float:
    return sum(map(sum, record["phases"].values()))


def part(record: Record, name: str) -> float:
    """Costs of a part of a meta-iteration."""
    return sum(sum(record["phases"].get(phase, ())) for phase in PARTS[name])


def work_needed(setting: Record, record: Record) -> dict[str, float]:
    """The least operations of a meta-iteration, by part; none where there is no formula for the policy."""
    if setting["sizes"] is None:
        return {}
    once, curved = (
        needed(Network(tuple(setting["sizes"])), record["steps"], setting[order])
        for order in ("order", "curvature_order")
    )
    calls = {phase: len(amounts) for phase, amounts in record["phases"].items()}
    return {
        "sampling": once["sampling"],
        "adaptation": once["adaptation"],
        "gradient": once["gradient"] + once["again"] * calls.get("again", 0) / setting["minibatches"],
        "curvature": curved["product"] * calls.get(PRODUCT, 0),
        "search": once["search"] * calls.get("search", 0),
    }


def ceiling_seconds(setting: Record, record: Record) -> dict[str, float]:
    """How long each part would take at the machine's ceilings: those operations, and for robots the physics."""
    gflops = {"sampling": record["step_gflops"]}
    found = {
        name: operations / gflops.get(name, record["batch_gflops"]) / 1e9
        for name, operations in work_needed(setting, record).items()
    }
    if found and "physics" in record:
        found["sampling"] += sum(record["steps"]) / record["physics"]
    return found


def over_iterations(setting: Record, number: Callable[[Record], float]) -> float:
    """The median over the meta-iterations that nothing disturbed, if there are any."""
    rounds = [[record] for record in setting["iterations"]]
    return median(number(record) for (record,) in quiet(rounds) or rounds)


# --- The report -------------------------------------------------------------------------------------------------------


def table(results: Record) -> str:
    """Times, shares of the ceilings, and robots beside their physics, in Markdown."""
    settings = results["results"]
    return "\n\n".join(
        [
            times(settings),
            operations(settings),
            *robots(settings),
            conditions(results["machine"], list(settings.values())),
        ]
    )


def times(settings: dict[str, Record]) -> str:
    """Seconds of a meta-iteration and its parts, and the share that the machine's ceilings would take of them."""

    def row(name: str, setting: Record) -> list[str]:
        rate = over_iterations(setting, lambda r: sum(r["steps"]) / part(r, "sampling"))
        share = over_iterations(setting, lambda r: sum(ceiling_seconds(setting, r).values()) / total(r))
        parts = [over_iterations(setting, lambda r, each=each: part(r, each)) for each in PARTS]
        return [
            name,
            f"**{three_digits(over_iterations(setting, total))}**",
            *(three_digits(amount) if amount else "—" for amount in parts),
            f"{rate:,.0f}",
            # Of the first: later ones come after the ceilings, which take memory too.
            f"{setting['iterations'][0]['peak_mib'] - setting['before_mib']:,.0f}",
            f"{share:.0%}" if setting["sizes"] else "—",
        ]

    header = ["seconds", "meta-iteration", *PARTS, "steps a second of sampling", "peak memory, MiB", "of the ceiling"]
    return pipes(header, [row(*item) for item in settings.items()])


def operations(settings: dict[str, Record]) -> str:
    """GFLOP needed and counted in each part, and the share of the rate of one matrix product."""

    def cell(setting: Record, name: str) -> str:
        counted = setting["counted"]
        least = work_needed(setting, counted)[name]
        if not least:
            return "—"
        done = part(counted, name)
        share = over_iterations(setting, lambda r: work_needed(setting, r)[name] / part(r, name) / 1e9 / rate(name, r))
        # Fewer than needed: something is computed where the counter does not see it.
        return f"{gflop(least)} / {gflop(done) if done > 0.999 * least else '?'}, {share:.0%}"

    def rate(name: str, record: Record) -> float:
        return record["step_gflops" if name == "sampling" else "batch_gflops"]

    names = ["sampling", "adaptation", "gradient", "curvature", "search"]
    header = ["GFLOP needed / counted, of the ceiling", *names, "batch, GFLOP/s", "step, GFLOP/s"]
    rows = [
        [
            name,
            *(cell(setting, each) for each in names),
            f"{over_iterations(setting, lambda r: r['batch_gflops']):.0f}",
            f"{over_iterations(setting, lambda r: r['step_gflops']):.0f}",
        ]
        for name, setting in settings.items()
        if setting["sizes"]
    ]
    return pipes(header, rows)


def gflop(operations: float) -> str:
    return f"{operations / 1e9:.3g}"


def robots(settings: dict[str, Record]) -> list[str]:
    """Sampling beside `mujoco.rollout`, where there are robots."""

    def sampled(record: Record) -> float:
        return sum(record["steps"]) / part(record, "sampling")

    rows = [
        [
            name,
            f"{over_iterations(setting, sampled):,.0f}",
            f"{over_iterations(setting, lambda r: r['physics']):,.0f}",
            f"{over_iterations(setting, lambda r: sampled(r) / r['physics']):.0%}",
        ]
        for name, setting in settings.items()
        if "physics" in setting["iterations"][0]
    ]
    return [pipes(["steps a second", "sampling", "mujoco.rollout", "share"], rows)] if rows else []


def conditions(here: Record, settings: Sequence[Record]) -> str:
    """The sentences below the tables: of a machine, and what was measured on it."""
    measured = [len(setting["iterations"]) for setting in settings]
    left = [len(quiet([[record] for record in setting["iterations"]])) for setting in settings]
    commits = sorted({(setting["code"]["commit"] or "unknown")[:7] for setting in settings})
    return (
        f"Medians of {spread(measured)} meta-iterations, of which other processes left {spread(left)} undisturbed. "
        f"{here['cpu']}, {here['threads']} threads on {here['cores']} cores, torch {here['torch']}, "
        f"MuJoCo {here['mujoco'] or 'none'}; commit {', '.join(commits)}."
    )


def spread(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


# --- Command line -----------------------------------------------------------------------------------------------------


def declared() -> Record:
    """Content of settings.yaml."""
    return yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))


def chosen(only: Sequence[str], overrides: Sequence[str]) -> dict[str, list[str]]:
    """The settings to measure. Raises ValueError for a name or an override that does not exist."""
    if overrides:
        wiring.check_overrides(overrides)
        return {"own": list(overrides)}
    return among(declared()["settings"], only)


def among(named: Record, only: Sequence[str]) -> Record:
    """Settings that are asked for, or all if none is. Raises ValueError for a name that does not exist."""
    for name in only:
        require_choice("--only", name, named)
    return {name: each for name, each in named.items() if not only or name in only}


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="of these settings")
    parser.add_argument("--overrides", nargs="+", default=[], metavar="KEY=VALUE", help="of this one instead")
    parser.add_argument("--iterations", type=int, default=4, help="meta-iterations of each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch and MuJoCo")
    arguments = parsed(parser, table)
    try:
        require_integer("--iterations", arguments.iterations, low=1)
        require_integer("--threads", arguments.threads, low=1)
        settings = chosen(arguments.only, arguments.overrides)
        results = beside(arguments.output, list(settings), machine(arguments.threads))
    except ValueError as error:
        parser.error(str(error))
    for name, overrides in settings.items():
        results["results"][name] = measure(name, overrides, arguments.iterations, arguments.threads)
        store(results, arguments.output)
    print(table(results))


if __name__ == "__main__":
    main()
