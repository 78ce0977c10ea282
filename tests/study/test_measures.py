"""What is measured of one run, on numbers by hand."""

import pytest

from metarl_exp.study.measures import Gain, Interference, Return, SamplesTo, Trial, Worse
from metarl_exp.study.summary import Summary

CURVES = {"return": {"iteration": [0, 1, 2], "env_steps": [10.0, 20.0, 30.0], "return/step_1": [1.0, 4.0, 2.0]}}
RUN = Summary("f", 0, 1, {}, {}, "finished", None, {"returns": [[1.0, 3.0], [2.0, 1.5], [0.0, 0.0]]}, CURVES, 1.0)


def test_returns_gains_and_shares_task_by_task():
    assert Return(1).scores(RUN).tolist() == [3.0, 1.5, 0.0]
    assert Gain(1).scores(RUN).tolist() == [2.0, -0.5, 0.0]
    assert Worse(1).scores(RUN).tolist() == [0.0, 1.0, 0.0]
    assert Return(2).scores(RUN) is None
    assert Gain(2).scores(RUN) is Worse(2).scores(RUN) is None


def test_a_trial_counts_what_came_before_a_gradient_step_too():
    assert Trial(10).scores(RUN).tolist() == [20.0, 17.5, 0.0]  # batches of five episodes
    assert Trial(10, of=5.0).scores(RUN).tolist() == [4.0, 3.5, 0.0]


@pytest.mark.parametrize(("threshold", "steps"), [(4.0, 20.0), (2.5, 15.0), (1.75, 12.5)])
def test_a_return_is_reached_on_the_straight_line_between_two_looks(threshold, steps):
    measure = SamplesTo(threshold, "return", 1)
    assert measure.scores(RUN).tolist() == [steps]
    assert not measure.at_most(RUN)


@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_a_return_that_is_there_at_the_first_look_was_reached_at_most_so_early(threshold):
    measure = SamplesTo(threshold, "return", 1)
    assert measure.scores(RUN).tolist() == [10.0]
    assert measure.at_most(RUN)


def test_a_return_that_was_never_there_has_no_number_of_samples():
    measure = SamplesTo(4.1, "return", 1)
    assert measure.scores(RUN) is None
    assert not measure.at_most(RUN)


def test_a_curve_that_was_not_recorded_is_never_reached():
    assert SamplesTo(0.0, "validation", 1).scores(RUN) is None
    assert SamplesTo(0.0, "return", 2).scores(RUN) is None


def test_interference_is_a_mean_over_training_and_may_not_be_recorded():
    curves = {"interference": {"interference/cosine": [0.25, 0.75], "outer/tasks_made_worse": [0.0, 0.5]}}
    run = RUN._replace(curves=curves)
    assert Interference("cosine").scores(run).tolist() == [0.5]
    assert Interference("made_worse").scores(run).tolist() == [0.25]
    assert (Interference("cosine").better, Interference("conflicting").better) == (1, -1)
    assert Interference("cosine").scores(RUN) is None


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="curve='loss'"):
        SamplesTo(0.0, "loss", 1)
    with pytest.raises(ValueError, match="threshold='high'"):
        SamplesTo("high", "return", 1)
    with pytest.raises(ValueError, match="after=0.5"):
        Return(0.5)
    with pytest.raises(ValueError, match="unit=0"):
        Gain(1, unit=0)
    with pytest.raises(ValueError, match="unit='thousands'"):
        SamplesTo(0.0, "return", 1, unit="thousands")
    with pytest.raises(ValueError, match="of=0"):
        Trial(10, of=0.0)
    with pytest.raises(ValueError, match="of='sine'"):
        Interference("sine")
