"""Intervals, tests and aggregates, against scipy's own, theorems, and their definitions written as loops."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from metarl_exp.statistics import (
    Bootstrap,
    bootstrap_interval,
    holm,
    iqm,
    paired_difference,
    paired_test,
    performance_profile,
    probability_of_improvement,
    t_interval,
    whole_runs,
)

RUNS = [3, 5, 10]


def within_tasks(scores, resamples, generator):
    """Runs drawn with replacement, for each task on its own: [runs, tasks] → [resamples, runs, tasks].

    The stratified bootstrap of [agarwal2021rliable, Sec. 4]. Right only where each score has a training run of its
    own, as for agents trained on one game each; else too narrow, by up to the square root of the number of tasks.
    """
    runs, tasks = scores.shape
    return scores[generator.integers(runs, size=(resamples, runs, tasks)), np.arange(tasks)]


def mean(scores):
    return scores.mean((-2, -1))


def scores_of(runs, tasks=7, seed=0, shared=1.0):
    """Normal scores around 0: what all tasks of a run share, and what is each task's own."""
    generator = np.random.default_rng([seed, runs, tasks])
    return shared * generator.normal(size=(runs, 1)) + generator.normal(size=(runs, tasks))


def coverage(intervals):
    """Share of the intervals that hold 0, the mean of all that is drawn here."""
    return np.mean([i.low <= 0 <= i.high for i in intervals])


def binomial_error(share, n, errors=3):
    """So many standard errors of a share that was counted n times."""
    return errors * math.sqrt(share * (1 - share) / n)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_interval_is_student_s_for_any_n(n, confidence):
    """Trap 17: no n is built in."""
    values = np.random.default_rng(n).normal(size=n)
    interval = t_interval(values, confidence)
    low, high = stats.t.interval(confidence, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((values.mean(), low, high), rel=1e-12)
    assert interval.n == n


def test_one_value_says_nothing_about_its_spread():
    assert t_interval(np.array([3.0]))[:3] == (3.0, -np.inf, np.inf)


@pytest.mark.parametrize("n", RUNS)
def test_a_t_interval_over_seeds_covers_what_it_says(n):
    values = np.random.default_rng(n).normal(size=(1000, n))
    assert coverage(t_interval(row) for row in values) == pytest.approx(0.95, abs=binomial_error(0.95, 1000))


@pytest.mark.parametrize(("n", "documented"), [(3, 0.75), (5, 0.84), (10, 0.90)])
def test_a_bootstrap_interval_of_few_runs_is_too_narrow_by_what_its_docstring_says(n, documented):
    samples = np.random.default_rng(n).normal(size=(600, n, 1))
    intervals = [bootstrap_interval(sample, mean, Bootstrap(resamples=500)) for sample in samples]
    assert coverage(intervals) == pytest.approx(documented, abs=binomial_error(documented, 600))


def test_the_bootstrap_interval_of_three_runs_is_their_range():
    """One run fills all three places in 1 resample of 27, more than 2.5 %; a symmetric mean is outside in 1/4."""
    scores = scores_of(3)
    assert bootstrap_interval(scores, mean)[1:3] == pytest.approx((scores.mean(1).min(), scores.mean(1).max()))


def test_tasks_of_a_run_are_not_independent():
    """Trap 17: over tasks × seeds as if they were independent, an interval misses what new seeds would give."""
    samples = [scores_of(5, tasks=40, seed=seed) for seed in range(200)]
    within = (bootstrap_interval(scores, mean, Bootstrap(resamples=200, resampling=within_tasks)) for scores in samples)
    assert coverage(within) < 0.5
    assert coverage(t_interval(scores.ravel()) for scores in samples) < 0.5
    seeds = coverage(paired_difference(scores, np.zeros((5, 40))) for scores in samples)
    assert seeds == pytest.approx(0.95, abs=binomial_error(0.95, 200))


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_the_interquartile_mean_is_a_trimmed_mean(runs, tasks):
    scores = scores_of(runs, tasks)
    assert iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None), rel=1e-12)


def test_trimming_rounds_down():
    squares = np.arange(1.0, 11.0) ** 2
    assert iqm(squares.reshape(2, 5)) == np.mean(squares[2:8])
    assert iqm(squares[:3, None]) == np.mean(squares[:3])


def test_the_interquartile_mean_of_many_at_once():
    batch = np.stack([scores_of(5, 3, seed) for seed in range(4)])
    assert iqm(batch) == pytest.approx([iqm(scores) for scores in batch])


def resampled_by_scipy(statistic, *samples, resampling):
    """scipy's percentile interval: whole runs are numbers of runs, resampled; within tasks, each task is a sample."""
    if resampling is whole_runs:
        columns = [np.arange(len(sample)) for sample in samples]
    else:
        columns = [task for sample in samples for task in sample.T]

    def of_columns(*columns, axis):
        if resampling is whole_runs:
            return statistic(*(sample[runs] for sample, runs in zip(samples, columns, strict=True)))
        tasks = samples[0].shape[1]
        return statistic(*(np.stack(columns[i : i + tasks], -1) for i in range(0, len(columns), tasks)))

    return stats.bootstrap(
        columns, of_columns, vectorized=True, n_resamples=10_000, method="percentile", random_state=1
    ).confidence_interval


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("resampling", [whole_runs, within_tasks])
def test_runs_are_resampled_as_scipy_does_it(runs, resampling):
    scores = scores_of(runs)
    ours = bootstrap_interval(scores, iqm, Bootstrap(resamples=10_000, resampling=resampling))
    theirs = resampled_by_scipy(iqm, scores, resampling=resampling)
    assert ours[1:3] == pytest.approx(theirs, abs=0.05 * (theirs.high - theirs.low))
    assert (ours.mean, ours.n) == (iqm(scores), runs)


@pytest.mark.parametrize("runs", RUNS)
def test_the_variance_of_a_resampled_mean(runs):
    """Whole runs: that of the runs' means over n. Within tasks: the mean over tasks of theirs, over n and tasks."""
    scores, drawn = scores_of(runs), []

    def recorded(scores):
        drawn.append(mean(scores))
        return drawn[-1]

    for resampling in (whole_runs, within_tasks):
        bootstrap_interval(scores, recorded, Bootstrap(resamples=50_000, resampling=resampling))
    whole, _, within, _ = drawn
    assert whole.var() == pytest.approx(scores.mean(1).var() / runs, rel=0.05)
    assert within.var() == pytest.approx(scores.var(0).mean() / (runs * 7), rel=0.05)


def test_a_seed_gives_its_interval():
    one, again, other = (bootstrap_interval(scores_of(5), iqm, Bootstrap(seed=seed)) for seed in (1, 1, 2))
    assert one == again
    assert one[1:3] != other[1:3]


def test_more_confidence_is_wider():
    narrow, wide = (bootstrap_interval(scores_of(10), iqm, Bootstrap(confidence)) for confidence in (0.5, 0.95))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_every_interval_of_one_run_is_infinitely_wide():
    one, many = scores_of(1), scores_of(3)
    for interval in (
        bootstrap_interval(one, iqm),
        probability_of_improvement(one, many),
        probability_of_improvement(many, one),
        paired_difference(one, np.zeros_like(one)),
        *performance_profile(one, np.array([0.0, 1.0])),
    ):
        assert interval[1:] == (-np.inf, np.inf, 1)
    assert paired_test(one, np.zeros_like(one)) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("runs_x", "runs_y"), [(3, 3), (3, 5), (10, 5)])
def test_the_probability_of_improvement_is_mann_and_whitney_s(runs_x, runs_y):
    x, y = np.round(scores_of(runs_x) + 0.5), np.round(scores_of(runs_y, seed=1))  # with ties
    u = [stats.mannwhitneyu(*columns).statistic for columns in zip(x.T, y.T, strict=True)]
    interval, back = probability_of_improvement(x, y), probability_of_improvement(y, x)
    assert interval.mean == pytest.approx(np.mean(u) / (runs_x * runs_y), rel=1e-12)
    assert interval.mean + back.mean == pytest.approx(1)
    assert interval.n == min(runs_x, runs_y)


@pytest.mark.parametrize("y", [scores_of(10, seed=1), scores_of(5)], ids=["others", "those of x"])
@pytest.mark.parametrize("resampling", [whole_runs, within_tasks])
def test_both_samples_of_the_probability_of_improvement_are_resampled_independently(resampling, y):
    def by_ranks(x, y):
        n, m = x.shape[-2], y.shape[-2]
        ranks = stats.rankdata(np.concatenate([x, y], axis=-2), axis=-2)[..., :n, :]
        return (ranks.sum(-2) - n * (n + 1) / 2).mean(-1) / (n * m)

    x = scores_of(5) + 0.5
    ours = probability_of_improvement(x, y, Bootstrap(resamples=10_000, resampling=resampling))
    theirs = resampled_by_scipy(by_ranks, x, y, resampling=resampling)
    assert ours[1:3] == pytest.approx(theirs, abs=0.05 * (theirs.high - theirs.low))


def test_probabilities_that_are_certain():
    x = scores_of(5)
    assert probability_of_improvement(x, x).mean == 0.5
    assert probability_of_improvement(x + 100, x) == (1, 1, 1, 5)
    assert probability_of_improvement(x - 100, x) == (0, 0, 0, 5)


@pytest.mark.parametrize("runs", RUNS)
def test_a_profile_is_the_share_above_each_threshold(runs):
    scores = np.round(scores_of(runs), 1)
    thresholds = np.array([scores.min() - 1, scores.min(), 0.0, scores.max()])
    profile = performance_profile(scores, thresholds)
    assert [i.mean for i in profile] == [np.mean([s > t for s in scores.ravel()]) for t in thresholds]
    assert (profile[0].mean, profile[-1].mean) == (1, 0)
    assert profile[1].mean < 1  # strictly above
    for interval, threshold in zip(profile, thresholds, strict=True):
        assert interval == bootstrap_interval(scores, lambda s, t=threshold: mean(s > t))


def test_the_area_under_a_profile_is_the_mean():
    """∫ P(X > τ) dτ over [0, 1] for scores in there; the midpoint rule is wrong by half a step a score at most."""
    scores, width = np.random.default_rng(0).random((5, 7)), 1e-3
    profile = performance_profile(scores, np.arange(width / 2, 1, width), Bootstrap(resamples=10))
    assert sum(i.mean for i in profile) * width == pytest.approx(scores.mean(), abs=width / 2)


@pytest.mark.parametrize("n", RUNS)
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_a_paired_difference_is_that_of_the_paired_t_test(n, confidence):
    x, y = scores_of(n), scores_of(n, seed=1) - 0.5
    seeds = x.mean(1), y.mean(1)
    reference = stats.ttest_rel(*seeds)
    low, high = reference.confidence_interval(confidence)
    expected = seeds[0].mean() - seeds[1].mean(), low, high, n
    for pair in ((x, y), seeds):
        assert paired_difference(*pair, confidence) == pytest.approx(expected, rel=1e-9)
        assert paired_test(*pair).t == pytest.approx(reference.pvalue, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, *RUNS])
def test_the_sign_flip_test_counts_all_signs(n):
    x, y = np.random.default_rng(n).normal(0.5, 1, n), np.zeros(n)
    flipped = [
        abs(sum(sign * value for sign, value in zip(signs, x, strict=True))) for signs in product([1, -1], repeat=n)
    ]
    p = np.mean([total >= abs(x.sum()) - 1e-9 for total in flipped])
    assert paired_test(x, y).sign_flip == p
    if n > 1:
        samples = stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=2**n)
        assert samples.pvalue == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("n", RUNS)
def test_wilcoxon_s_test_is_the_sign_flip_test_of_signed_ranks(n):
    x = np.random.default_rng(n).normal(0.3, 1, n)
    ranks = np.sign(x) * stats.rankdata(np.abs(x))
    exact = stats.wilcoxon(x, method="exact").pvalue
    assert paired_test(ranks, np.zeros(n)).sign_flip == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("n", "smallest"), [(3, 0.25), (5, 0.0625), (10, 0.001953125), (40, 2.0**-39)])
def test_when_x_is_always_better_p_is_the_smallest(n, smallest):
    x = 1 + np.random.default_rng(n).random(n)
    assert paired_test(x, np.zeros(n))[1:] == (smallest, smallest)
    assert paired_test(np.zeros(n), x)[1:] == (smallest, smallest)


def test_sums_that_are_equal_but_for_rounding_are_as_far_from_zero():
    """0.1 + 0.2 − 0.3 is not quite 0 in floating point; p is 1, as where it is."""
    x = np.array([0.1, 0.2, -0.3])
    assert paired_test(x, np.zeros(3)).sign_flip == 1
    assert paired_test(10 * x, np.zeros(3)).sign_flip == 1


def test_a_true_null_is_rejected_no_more_often_than_said():
    """For differences symmetric around 0, of any shape: P(p ≤ 0.25) = 0.25, one of the values that p can have."""
    x = np.random.default_rng(0).standard_cauchy((1000, 5))
    p = np.array([paired_test(row, np.zeros(5)).sign_flip for row in x])
    assert np.mean(p <= 0.25) == pytest.approx(0.25, abs=binomial_error(0.25, 1000))


def test_differences_that_do_not_vary():
    x = np.arange(3.0)
    assert paired_test(x, x) == (1, 1, 0.25)
    assert paired_test(x + 1, x) == (0, 0.25, 0.25)
    assert paired_difference(x + 1, x) == (1, 1, 1, 3)


NAN, EMPTY = np.array([[1.0, np.nan]]), np.empty((0, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: t_interval(np.array([])), r"^values.shape=\(0,\): must be \[n\]"),
        (lambda: t_interval(np.ones((3, 4))), r"^values.shape=\(3, 4\): must be \[n\]"),
        (lambda: t_interval(np.array([1, np.inf])), "^values has inf: must be finite"),
        (lambda: t_interval(np.ones(3), confidence=95), "^confidence=95: must be a number > 0 and < 1"),
        (lambda: iqm(np.ones(4)), r"^scores.shape=\(4,\): must be \[runs, tasks\] or \[resamples"),
        (lambda: iqm(EMPTY), r"^scores.shape=\(0, 3\)"),
        (lambda: iqm(NAN), "^scores has nan"),
        (lambda: bootstrap_interval(np.ones(4), iqm), r"^scores.shape=\(4,\): must be \[runs, tasks\]"),
        (lambda: bootstrap_interval(np.ones((2, 3, 4)), iqm), r"^scores.shape=\(2, 3, 4\): must be \[runs, tasks\]"),
        (lambda: bootstrap_interval(NAN, iqm), "^scores has nan: must be finite"),
        (lambda: Bootstrap(confidence=1.0), "^confidence=1.0: must be a number"),
        (lambda: Bootstrap(resamples=0), "^resamples=0: must be an integer ≥ 1"),
        (lambda: Bootstrap(seed=-1), "^seed=-1: must be an integer ≥ 0"),
        (lambda: bootstrap_interval(np.ones((2, 2)), np.mean), r"^statistic=.*: must take \[..., runs, tasks\] to"),
        (lambda: bootstrap_interval(np.ones((2, 3)), lambda s: s.mean(-2)), r"to \[...\], gave \(2000, 3\)"),
        (lambda: probability_of_improvement(NAN, NAN), "^x has nan"),
        (lambda: probability_of_improvement(np.ones((2, 2)), np.ones(2)), r"^y.shape=\(2,\): must be \[runs, tasks\]"),
        (lambda: probability_of_improvement(np.ones((2, 3)), np.ones((2, 4))), r"^y.shape=\(2, 4\): must have the 3"),
        (lambda: performance_profile(EMPTY, np.ones(1)), r"^scores.shape=\(0, 3\)"),
        (lambda: performance_profile(np.ones((2, 2)), np.array([])), r"^thresholds.shape=\(0,\): must be \[n\]"),
        (lambda: performance_profile(np.ones((2, 2)), np.array([np.nan])), "^thresholds has nan"),
        (lambda: paired_difference(np.ones(3), np.ones(4)), r"^y.shape=\(4,\): must be the shape of x, \(3,\)"),
        (lambda: paired_difference(np.ones((3, 1)), np.ones(3)), r"^y.shape=\(3,\): must be the shape of x"),
        (lambda: paired_difference(np.ones((1, 1, 1)), np.ones((1, 1, 1))), r"must be \[seeds\] or \[seeds, tasks\]"),
        (lambda: paired_test(np.ones(3), np.array([1, 2, np.nan])), "^y has nan: must be finite"),
        (lambda: paired_test(EMPTY, EMPTY), r"^x.shape=\(0, 3\)"),
        (lambda: paired_test(np.ones(41), np.ones(41)), "^number of pairs=41: must be a number ≤ 40"),
    ],
)
def test_meaningless_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_holm_s_correction_by_hand():
    """Four p-values: 4 · 0.01; 3 · 0.013, raised to that; 2 · 0.03; 0.04, raised to that."""
    assert holm([0.03, 0.01, 0.04, 0.013]) == pytest.approx([0.06, 0.04, 0.06, 0.04])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_s_correction_keeps_the_chance_of_any_false_rejection():
    """Twenty tests of true hypotheses at 5 %: a family with a rejection in about one of twenty, not in 64 %."""
    p = np.random.default_rng(0).uniform(size=(2000, 20))
    found = np.mean([min(holm(family)) <= 0.05 for family in p])
    assert found == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 2000))
    assert np.mean(p.min(1) <= 0.05) > 0.6
