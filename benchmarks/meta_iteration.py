"""Time and memory of one TRPO meta-iteration, against the straightforward version of the same computation.

    python benchmarks/meta_iteration.py [--iterations 3] [--threads 2] [--output FILE.json]
    python benchmarks/meta_iteration.py --check              # both versions compute the same numbers
    python benchmarks/meta_iteration.py --render FILE.json   # only the tables of stored results

Every variant (a version in first or second order) lives in a process of its own, whose peak memory is then its own.
The processes take turns, one meta-iteration each, so that a drift of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import straightforward
import torch
from measuring import (
    Record,
    gemm_ceiling,
    machine,
    others_seconds,
    peak_memory,
    quiet,
    start,
    store,
    three_digits,
    wait_for_quiet,
)
from operations import Network, needed
from torch import Tensor

from metarl_exp.algorithm.adaptation import Adaptation
from metarl_exp.algorithm.advantage import GAE
from metarl_exp.algorithm.aggregator import Mean
from metarl_exp.algorithm.fast_weights import All
from metarl_exp.algorithm.inner_optimizer import InnerOptimizer
from metarl_exp.algorithm.meta_learner import MetaLearner
from metarl_exp.algorithm.objective import MAML, MetaBatch, MetaFunction
from metarl_exp.algorithm.outer_optimizer import TRPO
from metarl_exp.maths.parameters import flatten, unflatten
from metarl_exp.policy import GaussianMLP
from metarl_exp.process.allocator import keep_freed_memory
from metarl_exp.process.streams import Streams, streams
from metarl_exp.tasks import Navigation2D
from metarl_exp.types import Experience, Trajectories

PHASES = ("sampling", "advantages", "adaptation", "outer")
ORDERS = ("second", "first")
PER_SECOND = "per second"


class Setting(NamedTuple):
    """2D navigation as published [finn2017maml, Sec. 5.3, App. A.2, and its code]; inner lr 0.5 is ours."""

    tasks: int = 20
    trajectories: int = 20
    horizon: int = 100
    hidden_sizes: tuple[int, ...] = (100, 100)
    inner_lr: float = 0.5
    inner_steps: int = 1
    seed: int = 0


# --- The two versions, with one interface: collect → function, improve(function) ------------------------------------


class PackageLearner:
    """`MetaLearner`, with the calls of its `inner_update` and `outer_update` made one by one from here."""

    def __init__(self, setting: Setting, order: str, dtype: torch.dtype = torch.float32) -> None:
        random = streams(setting.seed)
        tasks = task_distribution(setting)
        policy = GaussianMLP(
            setting.hidden_sizes, "relu", 1.0, 1e-6, 10.0, tasks.spec, random.initialisation, dtype=dtype
        )
        objective, inner_optimizer = MAML(), InnerOptimizer("SGD", setting.inner_lr, {})
        self.learner = MetaLearner.compose(
            task_distribution=tasks,
            policy=policy,
            advantage=advantage(),
            adaptation=Adaptation(setting.inner_steps, order, policy, inner_optimizer, All(), objective.inner_loss),
            objective=objective,
            aggregator=Mean(),
            outer_optimizer=trust_region(order),
            meta_batch_size=setting.tasks,
            trajectories=setting.trajectories,
            streams=random,
        )

    @property
    def streams(self) -> Streams:
        return self.learner.streams

    def collect(self, tasks: Tensor, lap: Callable[[str], None]) -> tuple[MetaFunction, list[Trajectories]]:
        learner = self.learner
        theta = learner.theta
        path = learner.adaptation.start(theta, len(tasks), learner.adaptation.order)
        sampled, experiences = [], []
        for k in range(learner.adaptation.inner_steps + 1):
            if k > 0:
                path.step(experiences[-1])
            lap("adaptation")
            sampled.append(learner.sampler(path.parameters, tasks, self.streams.actions, self.streams.environment))
            lap("sampling")
            experiences.append(learner.advantage(sampled[-1], path.parameters))
            lap("advantages")
        returns = torch.stack([trajectories.returns().mean(1) for trajectories in sampled], dim=1)
        batch = MetaBatch(tasks, tuple(experiences), returns, path)
        return MetaFunction(learner.objective, batch, theta, learner.adaptation, learner.aggregator), sampled

    def improve(self, function: MetaFunction) -> dict[str, float]:
        vector, report = self.learner.outer_optimizer.step(function)
        self.learner.theta = unflatten(vector, function.like)
        return report


class StraightforwardLearner(straightforward.Learner):
    """Straightforward versions of the same parts, from the same initial θ."""

    def __init__(self, setting: Setting, order: str) -> None:
        package = PackageLearner(setting, order).learner
        policy = straightforward.Policy(2, setting.hidden_sizes, 2)
        torch.nn.utils.vector_to_parameters(flatten(package.theta), policy.parameters())
        super().__init__(
            policy,
            inner_lr=setting.inner_lr,
            inner_steps=setting.inner_steps,
            order=order,
            trajectories=setting.trajectories,
            horizon=setting.horizon,
            advantage=package.advantage,
            objective=package.objective,
            outer_optimizer=package.outer_optimizer,
            streams=package.streams,
        )

    def collect(self, tasks: Tensor, lap: Callable[[str], None]) -> tuple[Any, list[Trajectories]]:
        """With the trajectories of all tasks in one batch, as the package returns them."""
        function, sampled = super().collect(tasks, lap)
        return function, [joined(list(episodes)) for episodes in zip(*sampled, strict=True)]


class Version(NamedTuple):
    """A learner, and whether its process keeps freed memory (`metarl_exp/process/allocator.py`)."""

    learner: Callable[[Setting, str], Any]
    keeps_memory: bool


# The package's entry points set up the allocator. The third version says how much of the difference is due to that.
VERSIONS = {
    "package": Version(PackageLearner, True),
    "straightforward": Version(StraightforwardLearner, False),
    "straightforward, memory kept": Version(StraightforwardLearner, True),
}


def task_distribution(setting: Setting) -> Navigation2D:
    return Navigation2D(setting.horizon, action_map="scaled", varying_start=False)


def advantage() -> GAE:
    return GAE(discount=0.99, gae_lambda=1.0, ridge=1e-5, standardise=True, bootstrap_time_limit=False)


def trust_region(order: str) -> TRPO:
    return TRPO(
        max_kl=0.01,
        cg_iterations=10,
        cg_damping=1e-5,
        cg_tolerance=1e-10,
        backtrack_ratio=0.8,
        max_backtracks=15,
        curvature=order,
    )


def joined(episodes: list[Trajectories]) -> Trajectories:
    """Trajectories of one task each as a batch of tasks, padded to the longest."""
    longest = max(e.mask.shape[2] for e in episodes)

    def padded(x: Tensor) -> Tensor:
        return torch.cat([x, x.new_zeros(*x.shape[:2], longest - x.shape[2], *x.shape[3:])], dim=2)

    names = ("observations", "actions", "rewards", "terminal", "mask")
    fields = {name: torch.cat([padded(getattr(episode, name)) for episode in episodes]) for name in names}
    return Trajectories(**fields, final_observations=torch.cat([episode.final_observations for episode in episodes]))


# --- Measuring, inside the process of a variant ----------------------------------------------------------------------


class Laps:
    """Seconds by phase: calling it books the time since the last call."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.last = perf_counter()

    def __call__(self, phase: str) -> None:
        now = perf_counter()
        self.seconds[phase] += now - self.last
        self.last = now


def meta_iteration(learner: Any, tasks: Tensor) -> Record:
    """One meta-iteration: seconds by phase, and what shows that two versions did the same work."""
    laps = Laps()
    function, sampled = learner.collect(tasks, laps)
    watched = Watched(function)
    report = learner.improve(watched)
    laps("outer")
    return {
        "seconds": laps.seconds | {"total": sum(laps.seconds.values()), "product": median(watched.product_seconds)},
        "env_steps": sum(int(trajectories.mask.sum()) for trajectories in sampled),
        "returns": [trajectories.returns().mean().item() for trajectories in sampled],
        "searched": report["line_search/backtracks"] + report["line_search/accepted"],
    }


class Watched:
    """A function as the outer optimizer sees it, whose curvature products are timed.

    Around the function and not inside it: a method that it held itself would keep its graph alive in a cycle.
    """

    def __init__(self, function: Any) -> None:
        self.function = function
        self.product_seconds: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.function, name)

    def curvature(self, order: str) -> Callable[[Tensor], Tensor]:
        product = self.function.curvature(order)

        def timed(vector: Tensor) -> Tensor:
            started = perf_counter()
            result = product(vector)
            self.product_seconds.append(perf_counter() - started)
            return result

        return timed


def work(version: str, order: str, setting: Setting, threads: int, pipe: Connection) -> None:
    """Body of a variant's process: one meta-iteration for each message received, until an empty one."""
    torch.set_num_threads(threads)
    make_learner, keeps_memory = VERSIONS[version]
    if keeps_memory:
        keep_freed_memory()
    tasks, generator = task_distribution(setting), streams(setting.seed).tasks
    imports = peak_memory()
    small = setting._replace(tasks=2, trajectories=2, horizon=5)
    meta_iteration(make_learner(small, order), tasks.sample(small.tasks, streams(1).tasks))  # loads what is lazy
    learner = make_learner(setting, order)
    pipe.send("ready")
    while pipe.recv():
        started, others = perf_counter(), others_seconds()
        record = meta_iteration(learner, tasks.sample(setting.tasks, generator))
        record["gemm_gflops"] = gemm_ceiling(20, 2000, 100, 100)
        record["others_cores"] = (others_seconds() - others) / (perf_counter() - started)
        pipe.send(record)
    pipe.send({"peak_mib": peak_memory(), "imports_mib": imports})


# --- Taking turns, and the report -------------------------------------------------------------------------------------


def measure(setting: Setting, iterations: int, threads: int) -> Record:
    """All variants, one meta-iteration each in turn: {"variants": {"package/second": {"iterations": […], …}, …}, …}."""
    pipes = {
        f"{version}/{order}": start(work, version, order, setting, threads) for order in ORDERS for version in VERSIONS
    }
    variants: dict[str, Record] = {name: {"iterations": []} for name in pipes}
    for i in range(iterations):
        for name, pipe in pipes.items():
            wait_for_quiet()
            pipe.send(True)
            record = pipe.recv()
            variants[name]["iterations"].append(record)
            seconds, others = record["seconds"]["total"], record["others_cores"]
            print(f"round {i}  {name:<35} {seconds:6.2f} s, others {others:.2f} cores", file=sys.stderr, flush=True)
    for name, pipe in pipes.items():
        pipe.send(False)
        variants[name] |= pipe.recv()
    return {"setting": setting._asdict(), "machine": machine(threads), "variants": variants}


def undisturbed(variants: Record) -> Record:
    """The variants without the rounds (of one order) in which anything else used the machine, if any are left."""
    chosen = dict(variants)
    for names in ([f"{version}/{order}" for version in VERSIONS] for order in ORDERS):
        rounds = list(zip(*(variants[name]["iterations"] for name in names), strict=True))
        for name, records in zip(names, zip(*(quiet(rounds) or rounds), strict=True), strict=True):
            chosen[name] = variants[name] | {"iterations": records}
    return chosen


def by_iteration(variant: Record) -> dict[str, list[float]]:
    """The rows of the table: {name: a value for each iteration}. Names say the unit."""
    records = variant["iterations"]
    rows = {f"{phase}, s": [r["seconds"][phase] for r in records] for phase in PHASES}
    rows["**meta-iteration, s**"] = [r["seconds"]["total"] for r in records]
    rows[f"environment steps, {PER_SECOND} of sampling"] = [r["env_steps"] / r["seconds"]["sampling"] for r in records]
    rows["one curvature product, s"] = [r["seconds"]["product"] for r in records]
    rows["peak memory above imports, MiB"] = [variant["peak_mib"] - variant["imports_mib"]] * len(records)
    return rows


def table(results: Record) -> str:
    """Medians over iterations, in Markdown; a ratio is the median of those of iterations of the same round."""
    variants = undisturbed(results["variants"])
    package, *others = VERSIONS
    lines = [f"| order | | {package} | {' | '.join(f'{other} | ratio' for other in others)} |"]
    lines.append("|---|---|--:|" + "--:|--:|" * len(others))
    for order in ORDERS:
        rows = {version: by_iteration(variants[f"{version}/{order}"]) for version in VERSIONS}
        for name, ours in rows[package].items():
            cells = [three_digits(median(ours))]
            for theirs in (rows[other][name] for other in others):
                pairs = zip(ours, theirs, strict=True)
                # Above 1 is in favour of the package: more of what counts per second, less of everything else.
                ratio = median(a / b if PER_SECOND in name else b / a for a, b in pairs)
                cells += [three_digits(median(theirs)), f"{ratio:.2f} ×"]
            lines.append(f"| {order} | {name} | {' | '.join(cells)} |")
    sections = lines, arithmetic(variants, Setting(**results["setting"])), same_work(variants), conditions(results)
    return "\n\n".join("\n".join(section) for section in sections)


def arithmetic(variants: Record, setting: Setting) -> list[str]:
    """How close curvature products come to the fastest matrix product of the same process and iteration."""
    lines = ["| curvature product | GFLOP needed | GFLOP/s | of the GEMM ceiling |", "|---|--:|--:|--:|"]
    network = Network((2, *setting.hidden_sizes, 2))
    steps = [setting.tasks * setting.trajectories * setting.horizon] * (setting.inner_steps + 1)
    for name, variant in variants.items():
        gflop = needed(network, steps, name.split("/")[1])["product"] / 1e9
        rates = [gflop / r["seconds"]["product"] for r in variant["iterations"]]
        shares = [rate / r["gemm_gflops"] for rate, r in zip(rates, variant["iterations"], strict=True)]
        lines.append(f"| {name} | {gflop:.1f} | {median(rates):.0f} | {median(shares):.0%} |")
    return lines


def same_work(variants: dict[str, Record]) -> list[str]:
    """Evidence that the versions were given the same trajectories and searched as far."""
    lines = ["| sums and means | environment steps | return before → after | points searched |", "|---|--:|--:|--:|"]
    for name, variant in variants.items():
        records = variant["iterations"]
        returns = " → ".join(f"{sum(x) / len(x):.2f}" for x in zip(*(r["returns"] for r in records), strict=True))
        steps, searched = (sum(r[key] for r in records) for key in ("env_steps", "searched"))
        lines.append(f"| {name} | {steps:,} | {returns} | {searched:.0f} |")
    return lines


def conditions(results: Record) -> list[str]:
    """The sentences below the tables."""
    where, variants = results["machine"], undisturbed(results["variants"])
    records = [record for variant in variants.values() for record in variant["iterations"]]
    measured = len(results["variants"]["package/second"]["iterations"])
    used = ", ".join(f"{len(variants[f'package/{order}']['iterations'])} in {order} order" for order in ORDERS)
    ceilings = sorted(record["gemm_gflops"] for record in records)
    busiest = max(record["others_cores"] for record in records)
    return [
        f"Medians of {measured} meta-iterations of each variant, without those that other processes disturbed: {used} "
        f"are left, during which those used at most {busiest:.2f} cores. {where['cpu']}, {where['threads']} threads on "
        f"{where['cores']} cores, torch {where['torch']}; GEMM ceiling {median(ceilings):.0f} GFLOP/s (from "
        f"{ceilings[0]:.0f} to {ceilings[-1]:.0f}); imports alone take "
        f"{variants['package/second']['imports_mib']:,.0f} MiB."
    ]


# --- Do both compute the same? ----------------------------------------------------------------------------------------


def check(setting: Setting) -> bool:
    """Same noise → same trajectories; same samples, in float64 → same gradient, curvature, loss and KL."""
    tasks = task_distribution(setting).sample(setting.tasks, streams(setting.seed).tasks)
    _, sampled = PackageLearner(setting, "first").collect(tasks, Laps())
    _, others = StraightforwardLearner(setting, "first").collect(tasks, Laps())
    assert not sampled[0].mask.all(), "an episode has to end early, otherwise masks are not checked"
    ok = True
    for name in ("mask", "terminal", "observations", "actions", "rewards", "final_observations"):
        found, expected = (getattr(x[0], name).double() for x in (others, sampled))
        ok &= agree(f"sampling: {name}", found, expected, 1e-5)  # in float32, which numpy and torch round differently
    for order in ORDERS:
        for name, (found, expected) in both_functions(setting, order, tasks).items():
            ok &= agree(f"{order} order: {name}", found, expected, 1e-8)
    return ok


def agree(name: str, found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Print the relative error and whether it is small enough."""
    error = ((found - expected).norm() / expected.norm()).item()
    print(f"{'ok ' if error <= tolerance else 'BAD'}  {name:<36} {error:.1e}")
    return error <= tolerance


def both_functions(setting: Setting, order: str, tasks: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Values of the straightforward function and of the package's, in float64, on the samples of the package."""
    ours, _ = PackageLearner(setting, order, torch.float64).collect(tasks, Laps())
    policy = straightforward.Policy(2, setting.hidden_sizes, 2).double()
    torch.nn.utils.vector_to_parameters(ours.theta.clone(), policy.parameters())
    by_task = [[one_task(batch, i) for batch in ours.batch.experiences] for i in range(setting.tasks)]
    inner_loop = straightforward.InnerLoop(policy, setting.inner_lr, ours.objective)
    functions = straightforward.MetaFunction(inner_loop, by_task, order), ours

    vector = torch.randn(ours.theta.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    elsewhere = ours.theta + 1e-3 * vector
    found = [
        {
            "meta-gradient": function.gradient(),
            "curvature product": function.curvature(order)(vector),
            "losses and KL elsewhere": torch.cat([after.losses, torch.tensor([after.kl], dtype=torch.float64)]),
        }
        for function in functions
        for after in [function.evaluate(elsewhere)]
    ]
    return {name: (found[0][name], found[1][name]) for name in found[0]}


def one_task(batch: Experience, i: int) -> Experience:
    """The experience of task i as a batch of one."""
    return batch.of(torch.tensor([i]))


# --- Command line -----------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=3, help="meta-iterations of each variant")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch in each process")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="where the measurements are written")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--check", action="store_true", help="only check that both versions compute the same")
    other.add_argument("--render", type=Path, metavar="FILE.json", help="only show the tables of stored results")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit(0 if check(Setting()) else 1)
    elif arguments.render:
        print(table(json.loads(arguments.render.read_text(encoding="utf-8"))))
    else:
        results = measure(Setting(), arguments.iterations, arguments.threads)
        print(table(results))
        store(results, arguments.output)


if __name__ == "__main__":
    main()
