"""Paired comparisons over seeds: t intervals, t-tests, and Holm's correction for many questions.

The plain paired t-test is wrong here for two reasons, and `compare` repairs both. Seeds that split
the same records again share most of them: their differences vary less than independent ones would,
which `overlap` gives back. Seeds that are all judged on the same test records say nothing about
other test records: `records_error` adds the error that those leave.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtr, stdtrit

from securefl.runs.table import mean_and_error

MIN_SEEDS_TO_RANK = 5
CONFIDENCE = 0.95
LEVEL = 0.05
EQUAL_DIFFERENCES = 1e-12  # a spread below it is rounding
NORMAL_FREEDOM = 1e9  # degrees of freedom from which Student's law is the normal one to all digits


class Comparison(NamedTuple):
    """Differences on equal seeds.

    Args:
        mean: of the differences.
        error: its standard error; None for one seed.
        n: how many seeds.
        low: lower end of the 95 % interval; None for one seed.
        high: upper end; None for one seed.
        p: p-value; None for fewer than five seeds, or equal differences.
        records_error: a bound on the standard error that the test records leave; None where their
            number is unknown.
    """

    mean: float
    error: float | None
    n: int
    low: float | None
    high: float | None
    p: float | None
    records_error: float | None = None

    @property
    def testable(self) -> float | None:
        """The p-value, or None where the mean lies within the test records' own error."""
        if self.records_error is None or abs(self.mean) <= self.records_error:
            return None
        return self.p


class Noise(NamedTuple):
    """The sources of noise in a mean difference, besides the spread of the seeds.

    Args:
        overlap: records that judge or lie idle over records that train, where every seed draws both
            again from one pool; else 0.
        records_error: the standard error that the number of test records leaves, as `shares_error`
            bounds it.
        same_records: whether all seeds are judged on the same test records, whose error their
            spread cannot show.
    """

    overlap: float = 0.0
    records_error: float | None = 0.0
    same_records: bool = False


def compare(differences: Sequence[float], noise: Noise) -> Comparison:
    """Returns an interval and a p-value for the mean of some differences, one a seed.

    The variance of the mean is s^2 (1/n + overlap), plus the test records' own variance where all
    seeds share them. Welch and Satterthwaite's degrees of freedom combine the two.

    Raises:
        ValueError: there is no difference.

    Source: Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 2003,
        section 5.1, the corrected resampled t-test.
    """
    if not differences:
        raise ValueError("no seed is in both")
    n = len(differences)
    mean, plain = mean_and_error(differences)
    if plain is None:
        return Comparison(mean, None, n, None, None, None, noise.records_error)
    seeds_variance = plain**2 * (1 + n * noise.overlap)
    records_variance = (noise.records_error or 0.0) ** 2 if noise.same_records else 0.0
    error = math.sqrt(seeds_variance + records_variance)
    # Welch and Satterthwaite: the seeds' part has n - 1 degrees of freedom, the records' part is
    # known and has infinitely many.
    freedom = math.inf
    if seeds_variance > 0:
        freedom = (n - 1) * ((seeds_variance + records_variance) / seeds_variance) ** 2
    half = error * _quantile(freedom)
    # Equal differences have no spread to test against, and few seeds have too few degrees.
    spread = max(differences) - min(differences)
    p = None
    if n >= MIN_SEEDS_TO_RANK and spread >= EQUAL_DIFFERENCES:
        p = _two_sided(mean / error, freedom)
    return Comparison(mean, error, n, mean - half, mean + half, p, noise.records_error)


def _quantile(freedom: float) -> float:
    """Student's two-sided quantile of the confidence."""
    return float(stdtrit(min(freedom, NORMAL_FREEDOM), (1 + CONFIDENCE) / 2))


def _two_sided(statistic: float, freedom: float) -> float:
    """The p-value of a t statistic."""
    return float(2 * stdtr(min(freedom, NORMAL_FREEDOM), -abs(statistic)))


def shares_error(one: float, other: float, records: float) -> float:
    """Bounds the standard error of the difference of two shares of the same records.

    Two models that are right on the shares `one` and `other` disagree on few records or on many.
    The bound takes the most, so that nobody needs to know which records each gets right.

    Args:
        one: share of the records, in [0, 1].
        other: the other model's, on the same records.
        records: how many there are.
    """
    # A record on which the models disagree is right under one of them and wrong under the other.
    disagree = min(one, 1 - other) + min(other, 1 - one)
    return math.sqrt((disagree - (one - other) ** 2) / records)


def means_error(one: float, other: float, records: float) -> float:
    """Bounds the standard error of the difference of two means of numbers in [0, 1].

    An AUC is such a mean. No correlation between the models makes the error larger.

    Args:
        one: mean, in [0, 1].
        other: the other model's.
        records: of the smaller class, which bounds an AUC's variance by A (1 - A) / records.

    Source: Birnbaum and Klose, Annals of Mathematical Statistics 1957, for the bound on an AUC.
    """
    return (math.sqrt(one * (1 - one)) + math.sqrt(other * (1 - other))) / math.sqrt(records)


def holm(p_values: Sequence[float | None], *, level: float = LEVEL) -> list[bool]:
    """Returns which hypotheses are rejected when all are tested together.

    The chance of one wrong rejection is at most level.

    Args:
        p_values: None for a comparison that could not be tested; it counts and is not rejected.
        level: of the family.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    rejected = [False] * len(p_values)
    for rank, (p, place) in enumerate(order):
        if p > level / (len(p_values) - rank):
            break  # every larger p-value is kept, whatever its own bound says
        rejected[place] = True
    return rejected
