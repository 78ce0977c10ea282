"""Meta-reinforcement learning experiments: policies that learn new tasks in a few gradient steps.

`MetaLearner` is the algorithm, usable without any configuration; `load` brings back a finished run.
"""

from metarl_exp.build import load
from metarl_exp.meta_learner import MetaLearner

__all__ = ["MetaLearner", "load"]
