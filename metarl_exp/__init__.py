"""Meta-reinforcement learning experiments: policies that learn new tasks in a few gradient steps.

`MetaLearner` is the algorithm, usable without any configuration; `load` brings back a finished run.
"""

import os
from typing import TYPE_CHECKING

# Before torch is imported, which reads it then: how long an idle thread of torch looks out for the next operation
# before it sleeps, in turns of a loop. By default it goes on for good, on the very cores that step environments between
# two operations. If it sleeps at once, waking it costs more than a small operation: sampling 2D navigation on two
# threads takes three times as long (benchmarks/README.md). Whoever has chosen either keeps it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from metarl_exp import former as former  # modules are found by their former names as well
from metarl_exp.exports import on_demand

if TYPE_CHECKING:
    from metarl_exp.algorithm.learner import Learner
    from metarl_exp.algorithm.meta_learner import MetaLearner
    from metarl_exp.wiring.stored import load

__all__ = ["Learner", "MetaLearner", "load"]

__getattr__, __dir__ = on_demand(
    __name__,
    {"algorithm.learner": ["Learner"], "algorithm.meta_learner": ["MetaLearner"], "wiring.stored": ["load"]},
)
