"""Environments that somebody looks at while episodes happen in them, such as a camera."""

from collections.abc import Callable

from torch import Tensor

from metarl_exp.tasks.guard import GuardedEnv, limited
from metarl_exp.types import BatchedEnv, Step

Watcher = Callable[[BatchedEnv], None]


class WatchedEnv(GuardedEnv):
    """Guarded environments that `watch` is shown after the reset and after every step. What it raises passes."""

    def __init__(self, env: BatchedEnv, limit: float | None, watch: Watcher) -> None:
        super().__init__(env, limit)
        self.watch = watch

    def reset(self) -> Tensor:
        observation = super().reset()
        with limited("watching the start", self.limit):
            self.watch(self.env)
        return observation

    def step(self, action: Tensor) -> Step:
        step = super().step(action)
        with limited(f"watching step {self.time - 1}", self.limit):
            self.watch(self.env)
        return step
