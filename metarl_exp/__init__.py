"""Meta-reinforcement learning experiments: policies that learn new tasks in a few gradient steps.

`MetaLearner` is the algorithm, usable without any configuration; `load` brings back a finished run.
"""

import os

# Before torch is imported, which reads it then. By default its idle threads go on spinning for the next operation, on
# the very cores that step environments between two operations: an ant's rollout on two threads takes up to a third
# longer (benchmarks/locomotion.py). Whoever has set it keeps it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from metarl_exp.build import load
from metarl_exp.meta_learner import MetaLearner

__all__ = ["MetaLearner", "load"]
