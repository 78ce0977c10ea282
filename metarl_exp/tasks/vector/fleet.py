"""The environments of a distribution, made after one recipe: in this process or in workers, used again and again."""

from functools import partial

import torch
from torch import Tensor

from metarl_exp.process.streams import draw
from metarl_exp.tasks.vector.batch import InProcess, Pools, VectorBatch
from metarl_exp.tasks.vector.episode_env import EpisodeEnv
from metarl_exp.tasks.vector.recipe import EpisodeKey, Recipe
from metarl_exp.tasks.vector.worker_pool import InWorkers
from metarl_exp.types import Spec
from metarl_exp.validation import require_choice, require_integer


class Fleet:
    """Batches of episodes, each with a seed of its own, so that numbers do not depend on the workers.

    workers: processes that share the episodes; 0: this one. start_method: of these, `fork`, `spawn` or `forkserver`.
    """

    def __init__(self, recipe: Recipe, spec: Spec, workers: int, start_method: str) -> None:
        require_integer("tasks.workers", workers, low=0)
        require_choice("tasks.start_method", start_method, ["fork", "spawn", "forkserver"])
        self.recipe, self.spec = recipe, spec
        make = partial(EpisodeEnv, recipe, spec)
        in_workers = partial(InWorkers, make, recipe, workers, start_method)
        self.pools = Pools(in_workers if workers else partial(InProcess, make))

    def batch(self, tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device) -> VectorBatch:
        """Environments as `make_env` of a distribution returns them."""
        shape = len(tasks), trajectories
        seeds = draw(partial(torch.randint, 2**31 - 1), shape, generator).tolist()
        rows = [tuple(row) for row in tasks.tolist()]
        episodes = [
            EpisodeKey(i, j, rows[i], seed) for i, its_seeds in enumerate(seeds) for j, seed in enumerate(its_seeds)
        ]
        return VectorBatch(self.pools, self.recipe, self.spec, episodes, shape, device)

    def close(self) -> None:
        """Give back all environments and workers; the next batch makes new ones."""
        self.pools.close()
