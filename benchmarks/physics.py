"""The ceiling of robots: `mujoco.rollout` alone, which computes no observation, reward or end, and asks no policy."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor


class OpenLoop:
    """Whole episodes in one call, from the states in which a batch of the package's robots starts.

    `env` is the batch, `actions` [T, N, M, A] what its policy chose. Threads, buffers and repeated controls are made
    before.
    """

    def __init__(self, env: Any, actions: Tensor, threads: int) -> None:
        mujoco, model, skip = env.machine.mujoco, env.machine.model, env.machine.robot.frame_skip
        outputs = actions.permute(1, 2, 0, 3).reshape(-1, len(actions), model.nu).clamp(-1, 1).double().numpy()
        control = env.machine.control_centre + env.machine.control_scale * outputs
        state = np.hstack([np.zeros((len(control), 1)), *env.start])
        self.pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        data = [mujoco.MjData(model) for _ in range(threads)]
        self.arguments = env.episodes.models, data, state, control.repeat(skip, axis=1)
        self.steps = len(control) * len(actions)

    def __call__(self) -> int:
        """Run them; the number of steps, one an action."""
        self.pool.rollout(*self.arguments)
        return self.steps
