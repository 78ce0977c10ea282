"""Memory that tensors free is kept."""

import os
import subprocess
import sys
from pathlib import Path

import metarl_exp

PROGRAM = """
import resource, sys, torch
from metarl_exp.process.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20): torch.ones(16_000_000)  # 64 MB, until small objects that come between have their places
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): torch.ones(16_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_the_same_pages_are_used_again():
    """Without it, each of twenty tensors of 15,625 pages is touched for the first time; with it, at most a few are."""
    assert faults("leave") > 20 * 15_000
    assert faults("keep") < 5 * 15_625


def test_waiting_threads_of_torch_leave_their_cores_soon():
    """Set by importing the package, before torch reads it, unless somebody has chosen otherwise."""
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    lines = Path(metarl_exp.__file__).read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(("import torch", "from metarl_exp")))
    assert any("GOMP_SPINCOUNT" in line for line in lines[:first])
