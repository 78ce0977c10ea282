"""Models are those of the files; the centre of mass in closed form is MuJoCo's."""

import mujoco
import numpy as np
import pytest

from metarl_exp.tasks.mujoco.models import ASSETS, PlanarTree, load


@pytest.mark.parametrize("asset", ["half_cheetah.xml"])
def test_a_loaded_model_is_the_compilers_bit_for_bit(asset):
    ours, compiled = load(mujoco, asset), mujoco.MjModel.from_xml_path(str(ASSETS / asset))
    for name in dir(compiled):
        value = getattr(compiled, name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(ours, name), value, err_msg=name)


def test_the_centre_of_mass_of_a_planar_tree_is_mujocos():
    model = load(mujoco, "half_cheetah.xml")
    data, tree = mujoco.MjData(model), PlanarTree(model)
    generator = np.random.default_rng(0)
    qpos, qvel = generator.normal(size=(2, 20, model.nq)) * 3
    found = tree(qpos, qvel)
    for i in range(20):
        data.qpos[:], data.qvel[:] = qpos[i], qvel[i]
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        np.testing.assert_allclose(found["mass_centre"][i], data.subtree_com[1], rtol=0, atol=1e-14)
        np.testing.assert_allclose(found["mass_velocity"][i], data.subtree_linvel[1], rtol=0, atol=1e-13)


def test_a_robot_that_leaves_the_plane_is_refused():
    with pytest.raises(ValueError, match="not a planar tree"):
        PlanarTree(load(mujoco, "ant.xml"))
