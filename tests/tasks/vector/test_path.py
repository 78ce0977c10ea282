"""Places inside an environment: what is there is read and written, and nothing comes out as another value."""

import types

import numpy as np
import pytest

from metarl_exp.tasks.vector.path import Method, Path
from tests.environments import Inner

FIELD = "tasks.vary.x.attribute"


def owner():
    return types.SimpleNamespace(
        m=1.0, model=types.SimpleNamespace(mass=np.array([1.0, 2.0])), config={"lanes": [3, 4]}
    )


def outer():
    return types.SimpleNamespace(inner=Inner())


@pytest.mark.parametrize(
    ("path", "before"),
    [
        ("m", 1.0),
        ("model.mass[1]", 2.0),
        ("config[lanes][0]", 3),
        ("model.mass[-2]", 1.0),
        ("config[lanes]", [3, 4]),
        ("model.mass", [1.0, 2.0]),
    ],
)
def test_a_path_reads_and_writes_what_is_there(path, before):
    it, path = owner(), Path(path, FIELD)
    new = 9.0 if np.ndim(before) == 0 else [8.0, 9.0]
    assert path.has(it, before)
    path.put(it, new)
    assert path.has(it, new)
    assert not path.has(it, before)
    path.put(it, before)
    assert path.has(it, before)


def test_a_path_begins_in_the_unwrapped_environment():
    assert Path("unwrapped.unwrapped.model.mass[1]", FIELD).read(owner()) == 2.0


def test_an_array_stays_an_array_of_its_type():
    it = owner()
    it.goal = np.float32([0, 0])
    Path("goal", FIELD).put(it, [0.1, 0.2])
    assert (it.goal.dtype, it.goal.shape) == (np.float32, (2,))
    np.testing.assert_allclose(2 * it.goal, [0.2, 0.4], rtol=1e-6)  # a list would be twice as long


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("n", r"tasks.vary.x.attribute='n': SimpleNamespace has no n"),
        ("modell", r"has no modell \(did you mean 'model'\?\)"),
        ("model.mas", r"did you mean 'mass'"),
        ("model.mass[2]", r"ndarray has no \[2\]"),
        ("config[lane]", r"dict has no \[lane\] \(did you mean 'lanes'\?\)"),
        ("m[0]", r"float has no \[0\]"),
    ],
)
def test_nothing_is_created_by_writing(path, message):
    it = owner()
    for kind in (Path, Method):
        with pytest.raises(ValueError, match=message):
            kind(path, FIELD).require(it)
    with pytest.raises((AttributeError, LookupError, TypeError)):
        Path(path, FIELD).put(it, 1.0)
    assert str(it) == str(owner())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "inner.counts[0]",
            4.85,
            r"tasks.vary.x.attribute='inner.counts\[0\]': was set to 4.85 and reads 4 \(int64\)",
        ),
        ("inner.halves[0]", 4.85, r"was set to 4.85 and reads 4.8515625 \(float16\)"),
        ("inner.counts", [1, 2.5], r"was set to \[1, 2.5\] and reads \[1, 2\] \(int64\)"),
        ("inner.heaviest", 4.85, r"inner.heaviest' cannot be set to 4.85: AttributeError: .*has no setter"),
        ("inner.fixed[0]", 4.85, r"cannot be set to 4.85: TypeError: 'tuple' object does not support"),
        ("inner.counts[0]", "red", r"cannot be set to 'red': ValueError"),
        ("inner.masses", 4.85, r"inner.masses' has shape \(3,\), but 4.85 has not; name one entry"),
        ("inner.masses", [1.0, 2.0], r"has shape \(3,\), but \[1.0, 2.0\] has not"),
    ],
)
def test_a_value_that_does_not_arrive_is_refused_with_what_came_out(path, value, message):
    with pytest.raises(ValueError, match=message):
        Path(path, FIELD).put(outer(), value)


def test_the_rounding_of_float32_is_no_other_value():
    it = owner()
    it.model.mass = np.float32([1, 2])
    Path("model.mass[1]", FIELD).put(it, 0.1)
    assert Path("model.mass[1]", FIELD).has(it, 0.1)


def test_a_method_is_called_with_the_value():
    it = outer()
    Method("inner.set_masses", "tasks.vary.x.method").put(it, 3.0)
    assert it.inner.masses.tolist() == [3, 3, 3]
    with pytest.raises(
        ValueError, match=r"^tasks.vary.x.method='inner.set_masses' called with -1.0: RuntimeError: no su"
    ):
        Method("inner.set_masses", "tasks.vary.x.method").put(it, -1.0)


def test_a_method_and_an_attribute_are_not_taken_for_each_other():
    with pytest.raises(
        ValueError, match=r"tasks.vary.x.method='inner.masses' is no method, but \[1.0, 1.0, 1.0\] \(float64"
    ):
        Method("inner.masses", "tasks.vary.x.method").require(outer())
    with pytest.raises(ValueError, match=r"attribute='inner.set_masses' is a method; write `method`"):
        Path("inner.set_masses", FIELD).require(outer())
    Method("inner.set_masses", "tasks.vary.x.method").require(outer())
