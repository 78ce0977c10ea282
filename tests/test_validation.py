"""Errors about typed values: they name the field, the value, what is allowed, and the nearest valid name."""

import math

import pytest

from metarl_exp.validation import (
    nearest,
    require_choice,
    require_flag,
    require_integer,
    require_number,
    require_range,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("secnd", " (did you mean 'second'?)"), ("SECOND", " (did you mean 'second'?)"), ("zebra", ""), ("", "")],
)
def test_the_nearest_name_or_nothing(value, expected):
    assert nearest(value, ["first", "second"]) == expected


def test_a_choice_that_is_allowed_passes():
    require_choice("order", "first", ["first", "second"])


@pytest.mark.parametrize("value", ["frist", None, 1, ["first"], {"first": 1}])
def test_a_choice_that_is_not_is_answered_with_all_that_are(value):
    with pytest.raises(ValueError, match=r"^order=.*: allowed are first, second") as caught:
        require_choice("order", value, (name for name in ("first", "second")))
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "bounds"),
    [(0, {"low": 0}), (1.0, {"high": 1}), (1e-300, {"above": 0}), (-5, {}), (0.5, {"low": 0, "high": 1})],
)
def test_a_number_inside_its_bounds_passes(value, bounds):
    require_number("x", value, **bounds)


@pytest.mark.parametrize(
    ("value", "bounds", "wanted"),
    [
        (-1, {"low": 0}, "≥ 0"),
        (0, {"above": 0}, "> 0"),
        (1.5, {"low": 0, "high": 1}, "≥ 0 and ≤ 1"),
        (0.0, {"above": 0, "high": 1}, "> 0 and ≤ 1"),
        (1.0, {"low": 0, "below": 1}, "≥ 0 and < 1"),
        (math.nan, {}, "must be a number"),
        (math.inf, {"low": 0}, "must be a number"),
        ("1", {}, "must be a number"),
        (None, {}, "must be a number"),
        (True, {}, "must be a number"),
    ],
)
def test_a_number_that_is_none_or_outside_is_refused(value, bounds, wanted):
    with pytest.raises(ValueError, match=r"^x=") as caught:
        require_number("x", value, **bounds)
    assert repr(value) in str(caught.value)
    assert wanted in str(caught.value)


def test_an_integer_passes():
    require_integer("n", 0, low=0)


@pytest.mark.parametrize("value", [-1, 1.0, "1", None, True])
def test_a_number_that_is_no_integer_or_too_low_is_refused(value):
    with pytest.raises(ValueError, match=r"^n=.*must be an integer ≥ 0"):
        require_integer("n", value, low=0)


@pytest.mark.parametrize("value", [True, False])
def test_a_flag_passes(value):
    require_flag("f", value)


@pytest.mark.parametrize("value", ["no", "false", 0, 1, None])
def test_a_value_that_is_no_flag_is_refused(value):
    with pytest.raises(ValueError, match=r"^f=.*must be true or false"):
        require_flag("f", value)


@pytest.mark.parametrize("value", [[1, 2.5], (1, 2.5)])
def test_a_range_comes_back_as_floats(value):
    assert require_range("r", value) == (1.0, 2.5)
    assert require_range("r", [3, 3]) == (3.0, 3.0)


@pytest.mark.parametrize("value", [[2, 1], [1], [1, 2, 3], 1, "12", ["1", "2"], [0, math.nan], [0, math.inf], None])
def test_a_value_that_is_no_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^r=.*must be a pair \[low, high\]"):
        require_range("r", value)
