"""Paired comparisons over seeds: t intervals, t-tests, and Holm's correction for how many are asked together.

Two things make the plain paired t-test wrong here, and `compare` mends both. Seeds that split the same
records anew share most of them, so that their differences vary less than independent ones would:
`overlap` gives that back. Seeds that are all judged on the same test records say nothing of other test
records: `records_error` adds what those leave.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtr, stdtrit

from securefl.runs.table import mean_and_error

FEW = 5  # with fewer seeds nothing is ranked
CONFIDENCE = 0.95
LEVEL = 0.05
_EQUAL = 1e-12


class Comparison(NamedTuple):
    """Differences on equal seeds: their mean, its standard error, their number, 95 % interval, and p-value.

    Interval and error are None for one seed, p for fewer than five or for equal differences. records_error is the
    standard error that the test records leave, at most; None where nobody knows how many judged.
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
        """The p-value, or None where the mean lies within the test records' own standard error."""
        if self.records_error is None or abs(self.mean) <= self.records_error:
            return None
        return self.p


class Noise(NamedTuple):
    """Where the noise of a mean difference comes from, beside the spread of the seeds.

    Args:
        overlap: records that judge or lie idle over records that train, where every seed draws both from the same pool
            anew; 0 where it does not.
        records_error: the standard error that the number of test records leaves, as `shares_error` bounds it.
        same_records: all seeds are judged on the same test records, whose error their spread cannot show.
    """

    overlap: float = 0.0
    records_error: float | None = 0.0
    same_records: bool = False


def compare(differences: Sequence[float], noise: Noise) -> Comparison:
    """What the differences, one a seed, say about their mean.

    The variance of the mean is s^2 (1/n + overlap), and the test records' own variance where all seeds share them.
    Welch and Satterthwaite's degrees of freedom hold the two together.

    Raises:
        ValueError: there is none.

    Source: Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 2003, section 5.1, the
        corrected resampled t-test.
    """
    if not differences:
        raise ValueError("no seed is in both")
    n = len(differences)
    middle, plain = mean_and_error(differences)
    if plain is None:
        return Comparison(middle, None, n, None, None, None, noise.records_error)
    of_seeds = plain**2 * (1 + n * noise.overlap)
    of_records = (noise.records_error or 0.0) ** 2 if noise.same_records else 0.0
    error = math.sqrt(of_seeds + of_records)
    freedom = (n - 1) * ((of_seeds + of_records) / of_seeds) ** 2 if of_seeds > 0 else math.inf
    half = error * _quantile(freedom)
    p = (
        None
        if n < FEW or max(differences) - min(differences) < _EQUAL
        else _two_sided(middle / error, freedom)
    )
    return Comparison(middle, error, n, middle - half, middle + half, p, noise.records_error)


def _quantile(freedom: float) -> float:
    """Student's two-sided quantile of the confidence; the normal one where there is no end of freedom."""
    return float(stdtrit(min(freedom, 1e9), (1 + CONFIDENCE) / 2))


def _two_sided(statistic: float, freedom: float) -> float:
    """The p-value of a t statistic."""
    return float(2 * stdtr(min(freedom, 1e9), -abs(statistic)))


def shares_error(one: float, other: float, records: float) -> float:
    """The largest standard error that the difference of two shares of the same records can have.

    Two models that are right on the shares one and other disagree on few records or on many; this takes the most, so
    that nothing need be known of which records each gets right.

    Args:
        one: share of the records, in [0, 1].
        other: the other model's, on the same records.
        records: how many there are.
    """
    disagree = min(one, 1 - other) + min(other, 1 - one)
    return math.sqrt((disagree - (one - other) ** 2) / records)


def means_error(one: float, other: float, records: float) -> float:
    """The same for means of numbers in [0, 1], such as an AUC: no correlation makes it larger.

    Args:
        one: mean, in [0, 1].
        other: the other model's.
        records: of the smaller class, which bounds an AUC's variance by A (1 - A) / records.

    Source: Birnbaum and Klose, Annals of Mathematical Statistics 1957, for the bound on an AUC.
    """
    return (math.sqrt(one * (1 - one)) + math.sqrt(other * (1 - other))) / math.sqrt(records)


def holm(p_values: Sequence[float | None], *, level: float = LEVEL) -> list[bool]:
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
