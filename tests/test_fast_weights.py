"""What adapts."""

from metarl_exp.fast_weights import All


def test_all_selects_everything_in_order():
    assert All().select(iter({"b": 1, "a": 2, "log_std": 3})) == ["b", "a", "log_std"]
