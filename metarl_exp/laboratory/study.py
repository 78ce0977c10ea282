"""Bias and variance of meta-gradient estimators over a few random MDPs, against the gradients of both meta-objectives.

All numbers are relative: root mean squares of norms over the MDPs, in units of the same of the gradient (or Hessian)
that is estimated. K = 1. With M trajectories an expectation is by enumeration where there are at most `enumerated`
batches, and otherwise over `replicates` independent ones; the batch after adaptation counts with its expectation. The
deviation is that of one estimate from one task, with M trajectories before adaptation and M after.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarl_exp.laboratory import exact
from metarl_exp.laboratory.estimators import Estimator, inner_hessians, meta_gradients, outcomes
from metarl_exp.laboratory.exact import Estimate
from metarl_exp.laboratory.mdp import TinyMDP, random_mdp
from metarl_exp.process.streams import stream
from metarl_exp.runs.files import read_yaml
from metarl_exp.validation import require_fields, require_integer, require_number

AGAINST = ("expected", "sampled")  # ∇J_I and ∇J_II(M)


@dataclass(frozen=True)
class Study:
    """Settings of a study, the keys of its file."""

    title: str
    seed: int
    mdps: int  # random ones, each with a random policy: logits normal with deviation 1
    states: int
    actions: int
    horizon: int
    discount: float
    step_sizes: list[float]  # α
    trajectories: list[int]  # M
    enumerated: int
    replicates: int
    references: int  # samples for ∇J_II(M) where it is not enumerated
    shown: dict[str, Any]  # the step_size and the trajectories of the short page
    estimators: dict[str, Any]  # by name: objective, order, credit
    methods: dict[str, Estimator] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("mdps", "states", "actions", "horizon", "enumerated"):
            require_integer(name, getattr(self, name), low=1)
        require_integer("seed", self.seed, low=0)
        for name in ("replicates", "references"):
            require_integer(name, getattr(self, name), low=2)
        for alpha in self.step_sizes:
            require_number("step_sizes", alpha, above=0)
        for size in self.trajectories:
            require_integer("trajectories", size, low=1)
        for key, allowed in (("step_size", self.step_sizes), ("trajectories", self.trajectories)):
            if self.shown.get(key) not in allowed:
                raise ValueError(f"shown.{key}={self.shown.get(key)!r}: allowed are {', '.join(map(str, allowed))}")
        made = {name: Estimator(**require_fields(f"estimators[{name}]", node, Estimator)) for name, node in
                self.estimators.items()}  # fmt: skip
        object.__setattr__(self, "methods", made)

    def case(self, number: int) -> tuple[TinyMDP, Tensor]:
        """An MDP and a policy's logits [S, A]."""
        mdp = random_mdp(self.seed + number, self.states, self.actions, self.horizon, self.discount)
        draws = stream(self.seed, f"policy {number}")
        return mdp, torch.randn(self.states, self.actions, generator=draws, dtype=torch.float64)


def read(path: Path) -> Study:
    """The study of a file. Raises ValueError for a key that is unknown or missing, or a value out of range."""
    return Study(**require_fields("the study", read_yaml(path), Study))


# ---- measuring


class Deviations(NamedTuple):
    """Squared norms of one MDP."""

    reference: float  # of the gradient that is estimated
    bias: float  # less what the noise adds to it, so that it may be negative
    noise: float  # of the bias: what it would be, on average, if there were none
    variance: float  # summed over parameters

    @classmethod
    def of(cls, found: Estimate, reference: Estimate, variance: float) -> Deviations:
        """Of the expectation of an estimator and its variance."""
        noise = (found.covariance.trace() + reference.covariance.trace()).item()
        bias = (found.mean - reference.mean).square().sum().item() - noise
        return cls(reference.mean.square().sum().item(), bias, noise, variance)


def gradients(study: Study, advance: Callable[[], None]) -> list[dict[str, Any]]:
    """One entry for each step size, number of trajectories and estimator; `advance` is called after each MDP's."""
    found: dict[tuple[float, int, str], dict[str, list[Deviations]]] = {}
    for number in range(study.mdps):
        mdp, theta = study.case(number)
        for alpha in study.step_sizes:
            expected = known(exact.gradient(functools.partial(exact.expected_update_value, mdp, alpha=alpha), theta))
            for size in study.trajectories:
                name = f"{number}/{alpha}/{size}"
                sampled = {credit: _sampled_update(study, mdp, theta, alpha, size, credit, name)
                           for credit in exact.CREDITS}  # fmt: skip
                for method, estimator in study.methods.items():
                    mean, variance = _estimated(study, mdp, theta, alpha, size, estimator, name)
                    cell = found.setdefault((alpha, size, method), {against: [] for against in AGAINST})
                    cell["expected"].append(Deviations.of(mean, expected, variance))
                    cell["sampled"].append(Deviations.of(mean, sampled[estimator.credit], variance))
                advance()
    return [
        {"step_size": alpha, "trajectories": size, "estimator": method} | {a: averaged(cell[a]) for a in AGAINST}
        for (alpha, size, method), cell in found.items()
    ]


def hessians(study: Study) -> dict[str, dict[str, float]]:
    """Of the inner surrogates on one trajectory, against ∇²V: exact.

    The bias is the same for all M, the deviation falls like 1/√M.
    """
    found: dict[str, list[Deviations]] = {}
    for number in range(study.mdps):
        mdp, theta = study.case(number)
        value = known(exact.hessian(lambda x, mdp=mdp: mdp.value(x.unsqueeze(0)).squeeze(0), theta).flatten())
        for surrogate, estimator in surrogates().items():
            single = inner_hessians(mdp, theta, estimator)
            mean = single.mean()
            variance = (single.weights @ (single.gradients - mean).square()).sum().item()
            found.setdefault(surrogate, []).append(Deviations.of(known(mean), value, variance))
    return {
        name: {k: v for k, v in averaged(cell).items() if k in ("bias", "deviation")} for name, cell in found.items()
    }


def surrogates() -> Mapping[str, Estimator]:
    """Whose inner Hessians are worth a row, by the names of surrogates: with and without a baseline."""
    names = {"maml": "log-likelihood", "lvc": "LVC", "dice": "DiCE", "loaded_dice": "loaded DiCE"}
    found = {}
    for objective, name in names.items():
        for credit in exact.CREDITS:
            # DiCE's loss has rewards, no credit; and with rewards to go the loaded one is DiCE.
            if (objective, credit) not in (("dice", "baseline"), ("loaded_dice", "to_go")):
                found[name + (", baseline" if credit == "baseline" else "")] = Estimator(objective, "second", credit)
    return found


def averaged(cells: list[Deviations]) -> dict[str, float]:
    """Root mean squares over MDPs, four digits; `error` is the root of bias² + variance."""
    reference, bias, noise, variance = (sum(values) for values in zip(*cells, strict=True))
    bias = max(bias, 0.0)
    squares = {"bias": bias, "noise": noise, "deviation": variance, "error": bias + variance}
    return {name: float(f"{math.sqrt(square / reference):.4g}") for name, square in squares.items()}


def known(mean: Tensor) -> Estimate:
    """Of what is exact."""
    return Estimate(mean, torch.zeros(len(mean), len(mean), dtype=mean.dtype))


def _sampled_update(
    study: Study, mdp: TinyMDP, theta: Tensor, alpha: float, size: int, credit: str, name: str
) -> Estimate:
    """∇J_II(M)."""
    if exact.number_of_batches(mdp, size) <= study.enumerated:
        value = functools.partial(exact.sampled_update_value, mdp, alpha=alpha, size=size, credit=credit)
        return known(exact.gradient(value, theta))
    draws = stream(study.seed, f"reference {name}/{credit}")
    return exact.sampled_gradient(mdp, theta, alpha, size, credit, study.references, draws)


def _estimated(
    study: Study, mdp: TinyMDP, theta: Tensor, alpha: float, size: int, estimator: Estimator, name: str
) -> tuple[Estimate, float]:
    """The expectation of one meta-gradient, and its variance summed over parameters.

    All estimators are given the same trajectories before adaptation.
    """

    def draw(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
        return lambda phi: exact.sample(mdp, phi, size, generator)

    def replicated(outer: Callable[[Tensor], Tensor] | None) -> Estimate:
        inner = [draw(stream(study.seed, f"before {name}"))]
        return Estimate.of(meta_gradients(mdp, theta, estimator, alpha, study.replicates, inner, outer))

    variance = replicated(draw(stream(study.seed, f"after {name}"))).covariance.trace().item() * study.replicates
    if exact.number_of_batches(mdp, size) <= study.enumerated:
        return known(outcomes(mdp, theta, estimator, alpha, size).mean()), variance
    return replicated(None), variance
