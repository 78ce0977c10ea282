"""Statistics of few training runs: intervals, paired tests, and the aggregates of [agarwal2021rliable].

Scores are arrays [runs, tasks]: of each training run, which is one seed, on each test task, the same tasks for all
runs. The scores of one run share its network and are not independent: n counts runs, never tasks. For a mean over
tasks and seeds take `t_interval(scores.mean(1))`, which covers what it says for any n if the runs' means are about
normal, and for other statistics `bootstrap_interval`, which is too narrow for few runs. Of one run, an interval is
infinitely wide. Every function raises ValueError for arrays of another shape, and for scores that aren't finite.
"""

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import special  # scipy.stats has Student's t by these functions, and takes a second to import

from metarl_exp.validation import require_integer, require_number

CONFIDENCE = 0.95
MOST_PAIRS = 40  # whose sign flips are all counted: 2^20 sums of either half


class Interval(NamedTuple):
    """A mean, or the statistic that a function is about; the ends of its interval; the number of values behind it."""

    mean: float
    low: float
    high: float
    n: int


class PairedTest(NamedTuple):
    """Two-sided p-values of «no difference», and the smallest one that sign flips of n pairs can have."""

    t: float
    sign_flip: float
    smallest_sign_flip: float


def t_interval(values: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Student's t-interval of the mean of independent values [n]; infinitely wide for n = 1."""
    values = _finite("values", values, "[n]", (1,))
    require_number("confidence", confidence, above=0, below=1)
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, -math.inf, math.inf, n)
    half = float(_student_quantile(0.5 + confidence / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


@cache
def _student_quantile(probability: float, degrees_of_freedom: int) -> float:
    return float(special.stdtrit(degrees_of_freedom, probability))


def paired_difference(x: np.ndarray, y: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """t-interval of the mean of x − y, both [seeds] or [seeds, tasks], paired by seed (and task).

    Of [seeds, tasks], each seed counts once, with its mean over tasks.
    """
    return t_interval(_differences(x, y), confidence)


def paired_test(x: np.ndarray, y: np.ndarray) -> PairedTest:
    """Are x and y, paired as in `paired_difference`, equal on average? For at most 40 seeds.

    Student's paired t-test belongs to the t-interval, and takes differences to be normal, which few of them can't
    show. The sign-flip test [fisher1935, Ch. III] takes them to be symmetric around 0 and no more: p is the exact share
    of all 2^n choices of signs whose mean is at least as far from 0. It can't be below 2 / 2^n, which is 0.25
    for 3 pairs, 0.0625 for 5 and 0.002 for 10, so below 6 pairs only normality can bring «p < 0.05»: report the
    interval, both p-values and that smallest one. Wilcoxon's test is the same one for signed ranks: no smaller p, and
    about something else than the mean.
    """
    differences = _differences(x, y)
    require_number("number of pairs", len(differences), high=MOST_PAIRS)
    return PairedTest(_t_test(differences), _sign_flip_test(differences), 2.0 ** (1 - len(differences)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of a family of tests, adjusted for their number; those ≤ α are the family's at level α.  [holm1979]

    The k-th smallest of m counts as (m − k + 1) times what it is, and as no less than those before it. The chance
    of any false rejection is then at most α, however the tests depend on each other.
    """
    order, adjusted, largest = np.argsort(p_values, kind="stable"), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean over all runs × tasks, of scores [..., runs, tasks].  [agarwal2021rliable, Sec. 4]

    The mean without the ⌊n / 4⌋ lowest and ⌊n / 4⌋ highest of the n = runs × tasks: a 25 % trimmed mean, which
    rounds down what it cuts and weighs the rest alike. Of 10 scores it keeps 6, of 3 all.
    """
    scores = _finite("scores", scores, "[runs, tasks] or [resamples, runs, tasks]", (2, 3))
    entries = np.sort(scores.reshape(*scores.shape[:-2], -1))
    n = entries.shape[-1]
    return entries[..., n // 4 : n - n // 4].mean(-1)


def whole_runs(scores: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Runs drawn with replacement, each with all its tasks: [runs, tasks] → [resamples, runs, tasks].

    Right where the tasks of a run share what was trained, as in meta-learning.
    """
    return scores[generator.integers(len(scores), size=(resamples, len(scores)))]


Resampling = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]  # such as the one above


@dataclass(frozen=True)
class Bootstrap:
    """Percentile bootstrap: the confidence of its intervals, the number of resamples and how they are drawn.

    The same `seed` gives the same interval. Raises ValueError for a number out of range.
    """

    confidence: float = CONFIDENCE
    resamples: int = 2000
    seed: int = 0
    resampling: Resampling = whole_runs

    def __post_init__(self) -> None:
        require_number("confidence", self.confidence, above=0, below=1)
        require_integer("resamples", self.resamples, low=1)
        require_integer("seed", self.seed, low=0)

    def intervals(
        self, statistic: Callable[..., np.ndarray], *samples: np.ndarray, shape: tuple[int, ...] = ()
    ) -> list[Interval]:
        """Intervals of a statistic of samples [runs, tasks], which has this shape; n is the fewest runs."""
        generator = np.random.default_rng(self.seed)
        drawn = statistic(*(self.resampling(sample, self.resamples, generator) for sample in samples))
        if np.shape(drawn) != (self.resamples, *shape):  # np.mean of all resamples would pass for a certain number
            raise ValueError(f"statistic={statistic!r}: must take [..., runs, tasks] to [...], gave {np.shape(drawn)}")
        value = np.asarray(statistic(*samples), dtype=float)
        n = min(map(len, samples))
        if n < 2:
            low, high = np.full_like(value, -math.inf), np.full_like(value, math.inf)
        else:
            low, high = np.quantile(drawn, [0.5 - self.confidence / 2, 0.5 + self.confidence / 2], axis=0)
        ends = np.stack([value, low, high], axis=-1).reshape(-1, 3).tolist()
        return [Interval(value, low, high, n) for value, low, high in ends]


DEFAULT = Bootstrap()


def bootstrap_interval(
    scores: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    bootstrap: Bootstrap = DEFAULT,
) -> Interval:
    """A statistic of scores [runs, tasks] and its percentile bootstrap interval.  [efron1993, Ch. 13]

    `statistic` takes arrays [..., runs, tasks] to [...], as `iqm` does. A percentile interval is too narrow for few
    runs: a 95 % one of the mean of normal runs covers it in 75 % of cases for 3 runs (it is then the range of the
    runs), in 84 % for 5 and in 90 % for 10.
    """
    scores = _finite("scores", scores, "[runs, tasks]", (2,))
    return bootstrap.intervals(statistic, scores)[0]


def probability_of_improvement(
    x: np.ndarray,
    y: np.ndarray,
    bootstrap: Bootstrap = DEFAULT,
) -> Interval:
    """P(X > Y) + ½ P(X = Y), mean over tasks, for a run of x and one of y.  [agarwal2021rliable, Sec. 4]

    x is [runs of x, tasks], y is [runs of y, tasks]. Of each task it is Mann and Whitney's U over the number of pairs
    of runs. The interval is that of `bootstrap_interval`, with runs of x and y drawn independently; n is the smaller
    number of runs.
    """
    x, y = (_finite(name, scores, "[runs, tasks]", (2,)) for name, scores in (("x", x), ("y", y)))
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"y.shape={y.shape}: must have the {x.shape[1]} tasks of x")
    return bootstrap.intervals(_share_of_wins, x, y)[0]


def performance_profile(
    scores: np.ndarray,
    thresholds: np.ndarray,
    bootstrap: Bootstrap = DEFAULT,
) -> list[Interval]:
    """For each threshold τ [n], the share of the runs × tasks of `scores` above it.  [agarwal2021rliable, Sec. 4]

    The intervals are those of `bootstrap_interval`, each for its τ alone: a whole profile leaves them more often.
    """
    scores = _finite("scores", scores, "[runs, tasks]", (2,))
    thresholds = _finite("thresholds", thresholds, "[n]", (1,))

    def shares(scores: np.ndarray) -> np.ndarray:
        return np.stack([(scores > threshold).mean((-2, -1)) for threshold in thresholds], axis=-1)

    return bootstrap.intervals(shares, scores, shape=thresholds.shape)


def _share_of_wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[..., runs of x, tasks], [..., runs of y, tasks] → [...]: over all pairs of runs, ties count half."""
    x, y = x[..., :, None, :], y[..., None, :, :]
    return ((x > y).mean((-3, -2, -1)) + (x >= y).mean((-3, -2, -1))) / 2


def _differences(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x − y of each seed, mean over its tasks: [seeds]."""
    x, y = (_finite(name, values, "[seeds] or [seeds, tasks]", (1, 2)) for name, values in (("x", x), ("y", y)))
    if x.shape != y.shape:
        raise ValueError(f"y.shape={y.shape}: must be the shape of x, {x.shape}, which it is paired with")
    return (x - y).reshape(len(x), -1).mean(1)


def _t_test(differences: np.ndarray) -> float:
    """Two-sided p of mean 0; 1 where the t-interval is infinitely wide or there are no differences at all."""
    n = len(differences)
    if n < 2 or not differences.any():
        return 1.0
    with np.errstate(divide="ignore"):  # differences that are all equal: t = ∞, p = 0
        t = np.abs(np.mean(differences)) * math.sqrt(n) / np.std(differences, ddof=1)
    return float(2 * special.stdtr(n - 1, -t))


def _sign_flip_test(differences: np.ndarray) -> float:
    """2 P(S ≥ |Σ d|) for S = Σ ± d over all 2^n signs, as sums of two halves."""
    n = len(differences)
    left, right = _signed_sums(differences[: n // 2]), _signed_sums(differences[n // 2 :])
    observed = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()  # sums that are equal but for rounding tie
    count = np.sum(len(right) - np.searchsorted(right, observed - left))
    return min(1.0, 2 * float(count) / 2**n)


def _signed_sums(values: np.ndarray) -> np.ndarray:
    """Σ ± v for all 2^n signs, in rising order."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return np.sort(sums)


def _finite(name: str, values: np.ndarray, shape: str, dimensions: Container[int]) -> np.ndarray:
    """The values as an array; raise ValueError unless it has such a shape, is not empty and finite."""
    array = np.asarray(values, dtype=float)
    if array.ndim not in dimensions or not array.size:
        raise ValueError(f"{name}.shape={array.shape}: must be {shape}, with at least one of each")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has {array[~np.isfinite(array)][0]}: must be finite numbers")
    return array
