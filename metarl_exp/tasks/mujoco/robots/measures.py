"""Measures of B episodes that several robots share: how they move, and what they observe."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl_exp.tasks.mujoco.engines import Episodes
from metarl_exp.tasks.mujoco.goals import Motion


def displaced(place: Any, before: Motion | None, seconds: float) -> Motion:
    """The speed as the difference of two places [B, 2], as Gymnasium has it; zero at the start."""
    place = place.clone() if isinstance(place, Tensor) else np.array(place)
    speed = 0.0 * place[:, 0] if before is None else (place[:, 0] - before.place[:, 0]) / seconds
    return Motion(place, speed)


def centre_of_mass(episodes: Episodes, before: Motion | None, seconds: float) -> Motion:
    """The whole robot's centre of mass and its velocity."""
    return Motion(np.array(episodes["mass_centre"][:, :2]), np.array(episodes["mass_velocity"][:, 0]))


def joined(*parts: Any) -> Any:
    """Arrays [B, …] side by side, as a policy sees them: [B, S], float32; tensors as they are."""
    flat: Any = [part if part.ndim == 2 else part.reshape(len(part), -1) for part in parts]
    if isinstance(flat[0], Tensor):
        return torch.cat(flat, dim=1)
    return np.concatenate(flat, axis=1, dtype=np.float32, casting="same_kind")


def clipped_forces(episodes: Episodes) -> np.ndarray:
    """Contact forces and torques on every body (the world too), at most 1 each: [B, bodies, 6]."""
    return np.clip(episodes["contact_forces"], -1, 1)
