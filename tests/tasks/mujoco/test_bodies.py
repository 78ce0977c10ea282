"""Bodies with factors: which numbers, within which limits, and one model for each task."""

import mujoco
import numpy as np
import pytest
import torch

from metarl_exp.tasks.mujoco.bodies import Body
from metarl_exp.tasks.mujoco.models import load


@pytest.fixture(scope="module")
def model():
    return load(mujoco, "hopper.xml")


@pytest.fixture(scope="module")
def body(model):
    return Body(mujoco, model, 3.0)


def test_a_factor_for_every_number_that_is_not_zero(body):
    """The hopper: 4 bodies with 3 inertias each, 3 damped joints, and friction of them and the floor."""
    names = body.parameter_names
    assert len(names) == len(set(names)) == 4 + 12 + 3 + 15
    assert names[:2] == ("body_mass[torso]", "body_mass[thigh]")
    assert "body_inertia[foot,2]" in names
    assert [n for n in names if "damping" in n] == [f"dof_damping[{j}_joint]" for j in ("thigh", "leg", "foot")]
    assert names[-1] == "geom_friction[foot_geom,2]"
    assert "geom_friction[floor,0]" in names


def test_factors_are_powers_with_uniform_exponents(body, generator):
    found = body.sample(4000, generator)
    assert found.dtype == torch.float64
    for name, column in zip(body.parameter_names, found.T, strict=True):
        exponent = column / np.log(1.3 if "damping" in name else 1.5)
        assert -3 <= exponent.min() < -2.9
        assert 2.9 < exponent.max() < 3
        assert exponent.std() == pytest.approx(3 / 3**0.5, rel=0.05)


def test_a_task_multiplies_its_own_copy(body, model):
    task = torch.zeros(2, len(body.parameter_names), dtype=torch.float64)
    task[1, body.parameter_names.index("body_mass[leg]")] = np.log(2.0)
    task[1, body.parameter_names.index("geom_friction[floor,0]")] = np.log(0.5)
    same, other = body.models(model, task)
    leg = model.body("leg").id
    np.testing.assert_array_equal(same.body_mass, model.body_mass)
    np.testing.assert_allclose(other.body_mass[leg], 2 * model.body_mass[leg], rtol=1e-15)
    np.testing.assert_allclose(other.geom_friction[0], model.geom_friction[0] * [0.5, 1, 1], rtol=1e-15)
    assert other.body_subtreemass[1] == pytest.approx(model.body_subtreemass[1] + model.body_mass[leg])
    untouched = np.delete(np.arange(model.nbody), leg)
    np.testing.assert_array_equal(other.body_mass[untouched], model.body_mass[untouched])


def test_the_same_tasks_keep_their_models_and_others_get_new_ones(body, model, generator):
    tasks = body.sample(2, generator)
    first = body.models(model, tasks)
    assert all(a is b for a, b in zip(first, body.models(model, tasks.clone()), strict=True))
    masses = [m.body_mass.copy() for m in first]
    second = body.models(model, body.sample(2, generator))
    assert not any(a is b for a, b in zip(first, second, strict=True))
    for before, kept in zip(masses, first, strict=True):
        np.testing.assert_array_equal(kept.body_mass, before)


def test_a_limit_below_zero_is_refused(model):
    with pytest.raises(ValueError, match=r"tasks.log_scale_limit=-1.0.*≥ 0"):
        Body(mujoco, model, -1.0)
