"""Two tiny MDPs with policies far from uniform."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from metarl_exp.laboratory import TinyMDP, exact, random_mdp


class Case(NamedTuple):
    mdp: TinyMDP
    theta: Tensor  # [S, A]

    def value(self, theta: Tensor) -> Tensor:
        """V(θ)."""
        return self.mdp.value(theta.unsqueeze(0)).squeeze(0)

    def hessian(self) -> Tensor:
        """∇²V(θ), [P, P]."""
        return exact.hessian(self.value, self.theta)


def make(states: int, horizon: int, start: list[float] | None = None, key: int = 3) -> Case:
    generator = torch.Generator().manual_seed(5)
    mdp = random_mdp(key, states, 2, horizon, 0.9)
    if start:
        mdp = TinyMDP(torch.tensor(start, dtype=torch.float64), mdp.tables, horizon, 0.9)
    return Case(mdp, torch.randn(states, 2, generator=generator, dtype=torch.float64))


@pytest.fixture(scope="module")
def case() -> Case:
    """Three states, two actions, three steps, from two possible first states: 144 trajectories."""
    return make(3, 3, [0.3, 0.7, 0.0])


@pytest.fixture(scope="module")
def tiny() -> Case:
    """Two states, two actions, two steps: 8 trajectories, 36 pairs of them."""
    return make(2, 2, key=6)
