"""Task distributions: what is shared by all tasks is code, what differs is a row of numbers.

A distribution is any object with the attributes and methods of `TaskDistribution`; `navigation_2d.py` is the file to
copy for one of your own. Importing this package registers navigation and CartPole as Gymnasium environments; any
other distribution is one through `TaskEnv`.
"""

from metarl_exp.tasks.bandit import Bandit
from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.tasks.cartpole import CartPole
from metarl_exp.tasks.gymnasium_env import TaskEnv, register_all
from metarl_exp.tasks.gymnasium_tasks import GymnasiumTasks
from metarl_exp.tasks.live import LiveEnv
from metarl_exp.tasks.metaworld_tasks import MetaWorld
from metarl_exp.tasks.navigation_2d import Navigation2D
from metarl_exp.tasks.sparse_navigation import FourCorners, HalfCircle
from metarl_exp.tasks.tabular_mdp import TabularMDP

register_all()

__all__ = [
    "Bandit",
    "CartPole",
    "FourCorners",
    "GymnasiumTasks",
    "HalfCircle",
    "LiveEnv",
    "MetaWorld",
    "Navigation2D",
    "TabularMDP",
    "TaskDistribution",
    "TaskEnv",
]
