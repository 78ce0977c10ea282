"""MuJoCo models, as Gymnasium ships them."""

from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"


def load(mujoco: ModuleType, asset: str) -> Any:
    """The MjModel of one of Gymnasium's files."""
    spec = mujoco.MjSpec.from_file(str(ASSETS / asset))
    total = spec.compiler.settotalmass
    # Scaled here and not by the compiler, which calls that deprecated and warns into a file; the model is the same.
    spec.compiler.settotalmass = -1
    model = spec.compile()
    if total > 0:
        mujoco.mj_setTotalmass(model, total)
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


class PlanarTree:
    """Centre of mass of a robot in the x–z plane, and its velocity, in closed form.

    For a root on two slides and hinges about y at the bodies' origins, body b is turned by the sum θ_b of the hinges
    from the root to it, and the centre of mass is the root plus Σ_b R(θ_b) c_b: c_b is what b and the origins of its
    children, weighed with all that hangs on them, contribute in b's own frame. Raises ValueError for other models.
    """

    def __init__(self, model: Any) -> None:
        hinges = model.jnt_type == 3
        upright = (model.body_quat == [1, 0, 0, 0]).all() and (model.jnt_axis[hinges] == [0, 1, 0]).all()
        slides = model.jnt_type[:2].tolist() == [2, 2] and (model.jnt_axis[:2] == [[1, 0, 0], [0, 0, 1]]).all()
        one_each = model.jnt_bodyid[2:].tolist() == list(range(1, model.nbody))
        if not (upright and slides and one_each and not model.jnt_pos.any()):
            raise ValueError("not a planar tree: two slides, then one hinge about y at the origin of every body")
        mass, hanging = model.body_mass[:, None], model.body_subtreemass[:, None]
        share = mass * model.body_ipos
        for child in range(2, model.nbody):
            share[model.body_parentid[child]] += hanging[child] * model.body_pos[child]
        share = share[1:] / hanging[1]
        self.ahead, self.above = share[:, :1], share[:, 2:]  # [bodies, 1]: c_b along x and z
        self.root = model.body_pos[1] + [0.0, share[:, 1].sum(), 0.0]
        self.parents = [int(parent) - 1 for parent in model.body_parentid[1:]]

    def __call__(self, qpos: np.ndarray, qvel: np.ndarray) -> dict[str, np.ndarray]:
        """`mass_centre` and `mass_velocity`, [B, 3] each, of qpos and qvel [B, 2 + bodies].

        Within, bodies come first, [bodies, B]: sums over them then add one after the other, for one episode as for
        many. (torch's sine is faster than numpy's, but wakes torch's threads, which then wait on the engine's cores.)
        """
        angle, spin = self._accumulated(qpos, qvel)
        cosine, sine = np.cos(angle), np.sin(angle)
        ahead = cosine * self.ahead  # R(θ_b) c_b; its derivative is θ̇_b (above, −ahead)
        ahead += sine * self.above
        above = cosine * self.above
        above -= sine * self.ahead
        centre, velocity = np.empty((2, len(qpos), 3))
        centre[:, 0] = self.root[0] + qpos[:, 0] + ahead.sum(0)
        centre[:, 1] = self.root[1]
        centre[:, 2] = self.root[2] + qpos[:, 1] + above.sum(0)
        velocity[:, 0] = qvel[:, 0] + (spin * above).sum(0)
        velocity[:, 1] = 0
        velocity[:, 2] = qvel[:, 1] - (spin * ahead).sum(0)
        return {"mass_centre": centre, "mass_velocity": velocity}

    def _accumulated(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Sums of the hinges, and of their velocities, from the root to each body: [2, bodies, B]."""
        total = np.empty((2, len(self.parents), len(qpos)))
        total[0], total[1] = qpos.T[2:], qvel.T[2:]
        for body, parent in enumerate(self.parents):
            if parent >= 0:
                total[:, body] += total[:, parent]
        return total
