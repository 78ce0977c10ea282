"""A policy that is a table: the logits of every action in every state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metarl_exp.maths.distributions import Categorical
from metarl_exp.maths.parameters import Parameters
from metarl_exp.types import Acting, Spec


class TabularSoftmax(nn.Module):
    """softmax(θ[s, ·]) for one-hot observations of the state; its one parameter is `logits` [S, A], zero at first."""

    distribution = Categorical
    head_names, context_names = frozenset({"logits"}), frozenset()

    def __init__(self, states: int, actions: int, horizon: int) -> None:
        super().__init__()
        self.spec = Spec(observation_size=states, action_size=actions, discrete=True, horizon=horizon)
        self.logits = nn.Parameter(torch.zeros(states, actions, dtype=torch.float64))

    def forward(self, parameters: Parameters, observations: Tensor) -> Categorical:
        """Observations [N, …, S] to logits [N, …, A], by one table [S, A] or one for each task [N, S, A]."""
        logits = observations.flatten(1, -2) @ parameters["logits"]
        return Categorical(logits.unflatten(1, observations.shape[1:-1]))

    def acting(self, parameters: Parameters) -> Acting:
        return lambda observations, idle=None: self(parameters, observations)
