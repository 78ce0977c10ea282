"""Meta-objectives: what is differentiated, as a function of θ on the fixed samples of one meta-batch."""

from metarl_exp.algorithm.objective.base import MetaBatch, MetaObjective, PolicyOnBatch
from metarl_exp.algorithm.objective.family import EMAML, LVC, DiCE, Joint, LoadedDiCE, ProMP, Reptile
from metarl_exp.algorithm.objective.function import Evaluated, MetaFunction
from metarl_exp.algorithm.objective.maml import MAML

__all__ = [
    "EMAML",
    "LVC",
    "MAML",
    "DiCE",
    "Evaluated",
    "Joint",
    "LoadedDiCE",
    "MetaBatch",
    "MetaFunction",
    "MetaObjective",
    "PolicyOnBatch",
    "ProMP",
    "Reptile",
]
