"""The exact laboratory: MDPs so small that the meta-objectives and all expectations over samples can be computed.

The legend of `types.py` holds, except that a policy is a table of logits: **S** states · **A** actions · P = S · A.
Besides, **L** is the number of possible trajectories. All numbers are float64.
"""

from metarl_exp.laboratory.estimators import Estimator
from metarl_exp.laboratory.mdp import TinyMDP, random_mdp
from metarl_exp.laboratory.policy import TabularSoftmax

__all__ = ["Estimator", "TabularSoftmax", "TinyMDP", "random_mdp"]
