"""What training holds in memory: no more after two hundred meta-iterations, and less in first order."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux what a process holds")

# A process of its own; with one thread, so that the allocator has one heap.
LEARNER = """
import gc, os, sys
import torch
from metarl_exp import wiring
from metarl_exp.algorithm import learner as algorithm
from metarl_exp.process.allocator import keep_freed_memory

torch.set_num_threads(1)
keep_freed_memory()

def learner(*overrides):
    return wiring.assemble(wiring.compose(["tracker=none", *overrides])).learner

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 2**10 for line in file if line.startswith("VmHWM"))
"""

# Also of a learner that keeps every function, and with it its graph, as a forgotten list would.
GROWTH = """
kept, leaks = [], sys.argv[1] == "leaks"
if leaks:
    class Kept(algorithm.MetaFunction):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            kept.append(self)
    algorithm.MetaFunction = Kept
small = "meta_batch_size=4", "trajectories=4", "tasks.horizon=10", "policy.hidden_sizes=[16,16]"
iterations = learner(*small, "outer_optimizer.cg_iterations=1").iterations(80 if leaks else 200)
for number, _ in enumerate(iterations):
    if number == 39:
        before = resident()
print(resident() - before)
"""

PEAK = """
small = "trajectories=10", "adaptation=three_steps", "outer_optimizer=adam"
learner = learner(f"adaptation.order={sys.argv[1]}", *small)
imported = peak()
learner.train(1)
print(peak() - imported)
"""


def mebibytes(program: str, argument: str) -> float:
    command = [sys.executable, "-c", LEARNER + program, argument]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_two_hundred_meta_iterations_hold_no_more_than_forty():
    assert mebibytes(GROWTH, "clean") < 2


def test_a_learner_that_keeps_its_graphs_would_be_noticed():
    assert mebibytes(GROWTH, "leaks") > 4


def test_first_order_holds_less_than_second():
    """2D navigation with three inner steps, half as many trajectories: first order keeps no graph of inner losses."""
    first, second = (mebibytes(PEAK, order) for order in ("first", "second"))
    assert first < 0.6 * second
