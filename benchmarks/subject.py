"""The learner of one setting under measurement: its meta-iterations, phase by phase, and what its machine could do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from measuring import Record, gemm_ceiling, others_seconds, peak_memory
from operations import counter
from phases import Phases, watched
from physics import OpenLoop
from torch import Tensor

from metarl_exp import wiring
from metarl_exp.algorithm.learner import Learner
from metarl_exp.algorithm.objective import Reptile
from metarl_exp.policy import MLP, CategoricalMLP, GaussianMLP
from metarl_exp.tasks.mujoco.locomotion import LocomotionEnv
from metarl_exp.types import BatchedEnv, Trajectories


class Subject:
    """A learner as `metarl-train` would build it from the same overrides. The first meta-iteration is run at once."""

    def __init__(self, overrides: Sequence[str]) -> None:
        config = wiring.compose([*overrides, "tracker=none"])
        self.learner = wiring.assemble(config).learner
        self.sampler, self.learner.sampler = self.learner.sampler, self.sample  # type: ignore[assignment]
        self.iterations = self.learner.iterations(10**9)
        self.before_mib = peak_memory()
        self.iterate()  # loads what is lazy

    def iterate(self, now: Callable[[], float] = perf_counter) -> Record:
        """One meta-iteration: by phase, what passed of `now` in each call; and the time steps of each batch."""
        self.steps: list[int] = []
        self.last: tuple[BatchedEnv, Trajectories] | None = None
        phases = Phases(now)
        with watched(phases):
            next(self.iterations)
        return {"phases": phases.close(), "steps": self.steps}

    def timed(self, threads: int) -> Record:
        """A meta-iteration in seconds, with the ceilings measured right after it."""
        started, others = perf_counter(), others_seconds()
        record = self.iterate() | {"peak_mib": peak_memory()} | self.ceilings(threads)
        return record | {"others_cores": (others_seconds() - others) / (perf_counter() - started)}

    def counted(self) -> Record:
        """A meta-iteration in floating-point operations."""
        with counter() as operations:
            return self.iterate(operations.get_total_flops)

    def sample(self, *arguments: Any) -> Trajectories:
        """In the place of the learner's sampler, which it asks: what it returns is looked at."""
        met: list[BatchedEnv] = []
        trajectories = self.sampler(*arguments, watch=lambda env: None if met else met.append(env))
        self.steps.append(int(trajectories.mask.sum()))
        self.last = met[0], trajectories
        return trajectories

    def ceilings(self, threads: int) -> Record:
        """Of the policy's largest layer on a whole batch and on one time step, GFLOP/s; of robots, steps a second."""
        assert self.last is not None
        env, trajectories = self.last
        num_tasks, per_task, longest = trajectories.mask.shape
        matrices = [p for p in self.learner.policy.parameters() if p.dim() == 2]
        size_out, size_in = max(matrices, key=Tensor.numel).shape
        found = {
            "batch_gflops": gemm_ceiling(num_tasks, per_task * longest, size_in, size_out),
            "step_gflops": gemm_ceiling(num_tasks, per_task, size_in, size_out),
        }
        if isinstance(env, LocomotionEnv):
            found["physics"] = physics_ceiling(env, trajectories.actions, threads)
        return found


def physics_ceiling(env: LocomotionEnv, actions: Tensor, threads: int) -> float:
    """Steps a second of `mujoco.rollout` alone, from the same states with the same actions [N, M, T, A]."""
    run = OpenLoop(env, actions.permute(2, 0, 1, 3), threads)
    started = perf_counter()
    steps = run()
    return steps / (perf_counter() - started)


def facts(learner: Learner) -> Record:
    """Sizes of a learner for the formulas; the layers' sizes are null where there are none for it.

    They are for policies that are plain MLPs, all of which adapts, and losses with a gradient after adaptation.
    """
    policy, adaptation, outer = learner.policy, learner.adaptation, learner.outer_optimizer
    plain = isinstance(policy, MLP) and type(policy) in (MLP, GaussianMLP, CategoricalMLP)
    all_adapts = set(adaptation.fast) == set(adaptation.meta_parameters())
    sizes = None
    if plain and all_adapts and not isinstance(learner.objective, Reptile):
        sizes = [policy.spec.observation_size, *(len(layer.bias) for layer in policy.layers)]
    curvature = getattr(outer, "curvature", "same")
    return {
        "sizes": sizes,
        "order": adaptation.order,
        "curvature_order": adaptation.order if curvature == "same" else curvature,
        "minibatches": getattr(outer, "minibatches", 1),
    }
