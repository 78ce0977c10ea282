"""Returns of random policies in rllab's physics, beside the published ones: a check of environments without learning.

    python benchmarks/random_policies.py [--initialisations 20] [--trajectories 5] [--output FILE.json]
    python benchmarks/random_policies.py --render FILE.json

Every initialisation of the published network (100 × 100 ReLU, unit deviation) acts in all 40 recovered evaluation
tasks. A published value is the mean over those tasks of one such network, so it should lie in or near the range.
"""

from __future__ import annotations

import json
from statistics import mean, stdev
from typing import Any

from measuring import command, store

from metarl_exp import wiring
from metarl_exp.maths.parameters import stack
from metarl_exp.process import allocator
from metarl_exp.process.streams import streams
from metarl_exp.runs import provenance

# Before any gradient step, [finn2017maml, raw results]: mean over 40 tasks, of one network.
PUBLISHED = {
    "half_cheetah_direction_rllab": -35.73,
    "half_cheetah_velocity_rllab": -254.83,
    "ant_direction_rllab": 3.11,
    "ant_velocity_rllab": -78.64,
}


def measure(tasks: str, initialisations: int, trajectories: int) -> dict[str, Any]:
    """Mean return over the evaluation tasks of each initialisation, and what it was measured in."""
    returns = []
    for seed in range(initialisations):
        config = wiring.compose([f"tasks={tasks}", f"seed={seed}", "tracker=none"])
        parts = wiring.assemble(config)
        rows = parts.evaluation.tasks(parts.learner, "test")
        draws = streams(seed, "random_policies/")
        sampler = parts.learner.sampler.of(trajectories)
        sampled = sampler(stack(parts.learner.theta, len(rows)), rows, draws.actions, draws.environment)
        returns.append(sampled.returns().mean().item())
        parts.learner.task_distribution.close()
        print(f"{tasks} {seed}: {returns[-1]:.2f}", flush=True)
    return {
        "returns": [round(x, 3) for x in returns],
        "tasks": len(rows),
        "environment": wiring.environment_identity(config),
    }


def table(results: dict[str, Any]) -> str:
    """Range and mean over initialisations, the published value, and how far outside the range it is."""
    lines = [
        "| tasks | published | lowest | mean ± sd | highest | published value is |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for name, found in results["tasks"].items():
        values, published = found["returns"], PUBLISHED[name]
        low, high = min(values), max(values)
        gap = max(low - published, published - high, 0.0)
        where = "in the range" if gap == 0 else f"{gap:.2f} outside"
        found = f"{low:.2f} | {mean(values):.2f} ± {stdev(values):.2f} | {high:.2f}"
        lines.append(f"| {name} | {published:.2f} | {found} | {where} |")
    said = results["tasks"][name]
    footnote = f"{len(values)} initialisations, {said['tasks']} tasks × {results['trajectories']} episodes each."
    return "\n".join([*lines, "", footnote])


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--initialisations", type=int, default=20)
    parser.add_argument("--trajectories", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.render:
        results = json.loads(arguments.render.read_text(encoding="utf-8"))
    else:
        allocator.keep_freed_memory()
        found = {name: measure(name, arguments.initialisations, arguments.trajectories) for name in PUBLISHED}
        results = {"trajectories": arguments.trajectories, "tasks": found, "code": provenance.commit()}
    store(results, arguments.output)
    print(table(results))


if __name__ == "__main__":
    main()
