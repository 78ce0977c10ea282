"""Effect of a change to the package on the meta-iterations of settings.yaml: two checkouts, in turns.

    python benchmarks/before_after.py OTHER_CHECKOUT [--only NAME …] [--rounds 2] [--output FILE.json]
    python benchmarks/before_after.py --render FILE.json           # only the table of stored results

For each setting and round, `iterations.py` of the other checkout is run (*before*), then that of this one (*after*),
each in a process of its own that imports the package from its own checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from iterations import among, ceiling_seconds, conditions, declared, over_iterations, part, total
from measuring import Record, beside, command, machine, parsed, store, three_digits

from metarl_exp.markdown import pipes

HERE = Path(__file__).parent.parent


def measure(checkout: Path, name: str, iterations: int, threads: int) -> Record:
    """Record that `iterations.py` of a checkout makes of a setting."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "results.json"
        command = [sys.executable, "benchmarks/iterations.py", "--only", name, "--iterations", str(iterations)]
        command += ["--threads", str(threads), "--output", str(output)]
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        # What importing the package set here is not what the other would have set.
        environment.pop("GOMP_SPINCOUNT", None)
        subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)
        return json.loads(output.read_text(encoding="utf-8"))["results"][name]


def joined(rounds: list[Record]) -> Record:
    """The rounds of one side as one."""
    return rounds[0] | {"iterations": [record for each in rounds for record in each["iterations"]]}


def table(results: Record) -> str:
    """Seconds, curvature, sampling, memory and the share of the ceiling before → after, in Markdown."""

    def pair(sides: Record, number: Callable[[Record], float | None], shown: Callable[[float], str]) -> str:
        values = [number(sides[side]) for side in ("before", "after")]
        return " → ".join(shown(value) for value in values if value) or "—"

    def median(number: Callable[[Record], float]) -> Callable[[Record], float]:
        return lambda setting: over_iterations(setting, number)

    def share(setting: Record) -> float | None:
        return over_iterations(setting, lambda r: sum(ceiling_seconds(setting, r).values()) / total(r))

    rows = [
        [
            name,
            pair(sides, median(total), three_digits),
            f"**{median(total)(sides['before']) / median(total)(sides['after']):.2f} ×**",
            pair(sides, median(lambda r: part(r, "curvature")), three_digits),
            pair(sides, median(lambda r: sum(r["steps"]) / part(r, "sampling")), lambda x: f"{x:,.0f}"),
            pair(sides, lambda s: s["iterations"][0]["peak_mib"] - s["before_mib"], lambda x: f"{x:,.0f}"),
            pair(sides, share, lambda x: f"{x:.0%}"),
        ]
        for name, sides in results["results"].items()
    ]
    header = ["before → after", "meta-iteration, s", "", "curvature, s", "steps a second of sampling",
              "peak memory, MiB", "of the ceiling"]  # fmt: skip
    every = [sides[side] for sides in results["results"].values() for side in ("before", "after")]
    return "\n\n".join([pipes(header, rows), conditions(results["machine"], every)])


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("before", nargs="?", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="of these settings")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each side")
    parser.add_argument("--iterations", type=int, default=2, help="meta-iterations of a turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch and MuJoCo")
    arguments = parsed(parser, table)
    if arguments.before is None:
        parser.error("which checkout to compare with?")
    try:
        names = among(declared()["settings"], arguments.only)
        results = beside(arguments.output, list(names), machine(arguments.threads))
    except ValueError as error:
        parser.error(str(error))
    for name in names:
        turns: dict[str, list[Record]] = {"before": [], "after": []}
        for _ in range(arguments.rounds):
            for side, checkout in (("before", arguments.before.resolve()), ("after", HERE)):
                turns[side].append(measure(checkout, name, arguments.iterations, arguments.threads))
        results["results"][name] = {side: joined(rounds) for side, rounds in turns.items()}
        store(results, arguments.output)
    print(table(results))


if __name__ == "__main__":
    main()
