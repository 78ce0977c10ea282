"""Models are those of the files; the centre of mass in closed form is MuJoCo's."""

import mujoco
import numpy as np
import pytest

from metarl_exp.tasks.mujoco.models import ASSETS, PlanarTree, load


@pytest.mark.parametrize("asset", ["half_cheetah.xml", "ant.xml", "walker2d_v5.xml", "hopper.xml", "humanoid.xml"])
def test_a_loaded_model_is_the_compilers_bit_for_bit(asset):
    ours, compiled = load(mujoco, asset), mujoco.MjModel.from_xml_path(str(ASSETS / asset))
    for name in dir(compiled):
        value = getattr(compiled, name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(ours, name), value, err_msg=name)


def test_loading_a_model_writes_nothing(tmp_path):
    """The file of the cheetah makes MuJoCo 4 warn, which it does in a file of the working directory."""
    load(mujoco, "half_cheetah.xml")
    assert not list(tmp_path.iterdir())


def test_the_centre_of_mass_of_a_planar_tree_is_mujocos():
    model = load(mujoco, "half_cheetah.xml")
    data, tree = mujoco.MjData(model), PlanarTree(model)
    qpos, qvel = np.random.default_rng(0).normal(size=(2, 20, model.nq)) * 3
    found = tree(qpos, qvel)
    for i in range(20):
        data.qpos[:], data.qvel[:] = qpos[i], qvel[i]
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        np.testing.assert_allclose(found["mass_centre"][i], data.subtree_com[1], rtol=0, atol=1e-14)
        np.testing.assert_allclose(found["mass_velocity"][i], data.subtree_linvel[1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("asset", ["ant.xml", "walker2d_v5.xml"])
def test_a_robot_that_is_no_such_tree_is_refused(asset):
    """The ant leaves the plane, the walker's joints are not at the origins of its bodies."""
    with pytest.raises(ValueError, match="not a planar tree"):
        PlanarTree(load(mujoco, asset))
