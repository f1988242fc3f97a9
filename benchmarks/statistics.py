"""Paired comparisons over seeds: bootstrap intervals, t-tests, and Holm's correction for how many there are."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from securefl.table import mean_and_error

FEW = 5  # with fewer seeds nothing is ranked
RESAMPLES = 10_000
_EQUAL = 1e-12
_ALL_OF = 6  # up to so many values every resample is taken; beyond, RESAMPLES drawn ones


class Comparison(NamedTuple):
    """Differences on equal seeds: their mean, standard error, number, 95 % interval, and p-value.

    Interval and error are None for one seed, p for fewer than five or for equal differences.
    """

    mean: float
    error: float | None
    n: int
    low: float | None
    high: float | None
    p: float | None


def compare(differences: Sequence[float]) -> Comparison:
    """What the differences, one a seed, say about their mean.

    Raises:
        ValueError: there is none.
    """
    if not differences:
        raise ValueError("no seed is in both")
    middle, error = mean_and_error(differences)
    if error is None:
        return Comparison(middle, None, 1, None, None, None)
    low, high = bootstrap_interval(differences)
    return Comparison(middle, error, len(differences), low, high, t_test(differences))


def bootstrap_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """The expanded percentile bootstrap interval of the mean.

    The plain percentile interval is too short for few values; here the quantiles are taken further out, by as much as
    Student's interval is longer than the normal one. It still never leaves the range of the values.

    Args:
        values: two or more.
        confidence: in (0, 1).

    Returns:
        Low and high end. Every resample is used up to 6 values, 10,000 with a fixed seed beyond.

    Raises:
        ValueError: fewer than two values, or confidence outside (0, 1).

    Source: Hesterberg, The American Statistician 2015, section 5.3, "expanded percentile interval".
    """
    n = len(values)
    if n < 2 or not 0 < confidence < 1:
        raise ValueError(f"an interval needs two values and a confidence in (0, 1), got {n} and {confidence}")
    sample = np.asarray(values, dtype=np.float64)
    if n <= _ALL_OF:
        picks = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        picks = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    means = sample[picks].mean(axis=1)
    tail = float(ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - confidence) / 2)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def t_test(differences: Sequence[float]) -> float | None:
    """The two-sided p-value of Student's paired t-test that the mean difference is 0.

    None for fewer than five values, and for equal ones, which accuracies on few records can have: they tell nothing of
    the noise.
    """
    middle, error = mean_and_error(differences)
    if error is None or len(differences) < FEW or max(differences) - min(differences) < _EQUAL:
        return None
    return float(2 * stdtr(len(differences) - 1, -abs(middle) / error))


def holm(p_values: Sequence[float | None], *, level: float = 0.05) -> list[bool]:
    """Which hypotheses fall when all are tested together; the chance of one wrong fall is at most level.

    None stands for a comparison that could not be tested; it counts and never falls.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    fallen = [False] * len(p_values)
    for rank, (p, place) in enumerate(order):
        if p > level / (len(p_values) - rank):
            break
        fallen[place] = True
    return fallen
