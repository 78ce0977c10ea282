"""How a column of a task is drawn, and where it goes."""

import math
import types

import numpy as np
import pytest
import torch

from metarl_exp.tasks.vector.variation import Path, variation

N = 10_000


def draw(seed=0, **settings):
    return variation("x", {"attribute": "a", **settings}).draw.sample(N, torch.Generator().manual_seed(seed))


def test_uniform_and_log_uniform_fill_their_ranges_evenly():
    for column in ((draw(uniform=[2, 6]) - 2) / 4, (draw(log_uniform=[0.01, 100]).log10() + 2) / 4):
        assert column.dtype == torch.float64
        assert column.min() >= 0
        assert column.max() < 1
        assert abs(column.mean() - 0.5) < 5 / math.sqrt(12 * N)  # five standard errors
        assert abs((column < 0.25).double().mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / N)


def test_integers_include_both_ends_and_arrive_as_integers():
    drawn = variation("x", {"argument": "n", "integer": [-1, 2]}).draw
    column = drawn.sample(N, torch.Generator().manual_seed(0))
    values, counts = column.unique(return_counts=True)
    assert values.tolist() == [-1, 0, 1, 2]
    assert ((counts / N - 0.25).abs() < 5 * math.sqrt(0.25 * 0.75 / N)).all()
    assert [type(drawn.value(x)) for x in values.tolist()] == [int] * 4


@pytest.mark.parametrize(
    ("listed", "columns"),
    [([0.5, 2.5], [0.5, 2.5]), ([3, 1], [1, 3]), (["red", "blue"], [0, 1]), ([[1, 2], None], [0, 1])],
)
def test_a_choice_is_its_number_or_its_place_in_the_list(listed, columns):
    drawn = variation("x", {"option": "o", "choice": listed}).draw
    column = drawn.sample(100, torch.Generator().manual_seed(0))
    assert sorted(set(column.tolist())) == columns
    given = [drawn.value(x) for x in columns]
    assert sorted(map(str, given)) == sorted(map(str, listed))
    assert {type(x) for x in given} == {type(x) for x in listed}
    with pytest.raises(ValueError, match="is none of"):
        drawn.value(17.0)


def test_the_same_generator_draws_the_same():
    assert torch.equal(draw(uniform=[0, 1]), draw(uniform=[0, 1]))
    assert not torch.equal(draw(uniform=[0, 1]), draw(seed=1, uniform=[0, 1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"atribute": "m", "uniform": [0, 1]}, r"unknown key 'tasks.vary.x.atribute' \(did you mean 'attribute'\?\)"),
        ({"attribute": "m", "uniforn": [0, 1]}, r"did you mean 'uniform'"),
        ({"attribute": "m"}, r"tasks.vary.x has none of uniform, .*: must have one"),
        ({"uniform": [0, 1]}, r"has none of attribute, .*: must have one"),
        ({"attribute": "m", "option": "m", "uniform": [0, 1]}, r"has attribute and option of"),
        ({"attribute": "m", "uniform": [0, 1], "choice": [1]}, r"has uniform and choice of"),
        ({"attribute": 3, "uniform": [0, 1]}, r"tasks.vary.x.attribute=3: must be a name"),
        ({"attribute": "m", "uniform": [1, 0]}, r"tasks.vary.x.uniform=\[1, 0\]: must be a pair"),
        ({"attribute": "m", "uniform": 1}, r"tasks.vary.x.uniform=1: must be a pair"),
        ({"attribute": "m", "log_uniform": [0, 1]}, r"tasks.vary.x.log_uniform=0.0: must be a number > 0"),
        ({"attribute": "m", "integer": [0, 1.5]}, r"tasks.vary.x.integer=1.5: must be an integer"),
        ({"attribute": "m", "choice": []}, r"tasks.vary.x.choice=\[\]: must be a list"),
        ({"attribute": "m", "choice": "red"}, r"tasks.vary.x.choice='red': must be a list"),
        ([0, 1], r"tasks.vary.x=\[0, 1\]: must say a place"),
    ],
)
def test_what_means_nothing_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        variation("x", settings)


# ---- paths


def owner():
    return types.SimpleNamespace(
        m=1.0, model=types.SimpleNamespace(mass=np.array([1.0, 2.0])), config={"lanes": [3, 4]}
    )


@pytest.mark.parametrize(
    ("path", "before"), [("m", 1.0), ("model.mass[1]", 2.0), ("config[lanes][0]", 3), ("model.mass[-2]", 1.0)]
)
def test_a_path_reads_and_writes_what_is_there(path, before):
    it = owner()
    assert Path(path).read(it) == before
    Path(path).write(it, 9.0)
    assert Path(path).read(it) == 9.0
    Path(path).write(it, before)
    assert str(it) == str(owner())


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
    with pytest.raises(ValueError, match=message):
        Path(path).require("tasks.vary.x.attribute", it)
    with pytest.raises((AttributeError, LookupError, TypeError)):
        Path(path).write(it, 1.0)
    assert str(it) == str(owner())
