"""How a column of a task is drawn, and where it goes."""

import math

import pytest
import torch

from metarl_exp.tasks.vector.variation import require_apart, variation

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
        ({"method": "", "uniform": [0, 1]}, r"tasks.vary.x.method='': must be a name"),
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
def test_a_meaningless_variation_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        variation("x", settings)


def test_a_list_that_is_changed_afterwards_is_drawn_as_it_was():
    drawn = variation("x", {"attribute": "a", "choice": [[1, 2], [3, 4]]}).draw
    drawn.value(0.0).append(5)
    assert drawn.value(0.0) == [1, 2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"attribute": "m"}, {"attribute": "m"}),
        ({"attribute": "model.body_mass[1]"}, {"attribute": "unwrapped.model.body_mass[1]"}),
        ({"attribute": "config"}, {"attribute": "config[lanes]"}),
        ({"argument": "config.lanes"}, {"argument": "config"}),
        ({"argument": "m"}, {"attribute": "m"}),
        ({"method": "set_mass"}, {"method": "set_mass"}),
        ({"option": "start"}, {"option": "start"}),
    ],
    ids=str,
)
def test_two_columns_for_one_place_are_refused(one, other):
    columns = [variation(name, place | {"uniform": [0, 1]}) for name, place in (("x", one), ("y", other))]
    with pytest.raises(ValueError, match=r"^tasks.vary.x.\w+='.*' and tasks.vary.y.\w+='.*' are one place, or"):
        require_apart(columns)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"attribute": "m"}, {"option": "m"}),
        ({"attribute": "mass"}, {"attribute": "mass_2"}),
        ({"attribute": "masses[1]"}, {"attribute": "masses[2]"}),
        ({"argument": "config.lanes"}, {"argument": "config.width"}),
        ({"wrapper": "Doubled"}, {"wrapper": "Doubled"}),  # the names of the columns are its parameters
    ],
    ids=str,
)
def test_columns_with_places_of_their_own_are_not(one, other):
    require_apart([variation(name, place | {"uniform": [0, 1]}) for name, place in (("x", one), ("y", other))])
