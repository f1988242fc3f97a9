"""Checks: statistics whose distribution is known if the code is right."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import beta, binom, chi2
from torch import Tensor

# The chance of a statistic whose distribution holds in the limit only is multiplied by this: its
# tail can be off by more than its middle, and a false accusation is worse than a missed fault.
APPROXIMATE = 10.0
MIN_EXPECTED = 50.0  # in a bin of a histogram

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: in words.
        chance: at most this, that right code looks as bad or worse; already multiplied by the
            number of places that were looked at.
    """

    what: str
    chance: float


class Checked(NamedTuple):
    """The checks behind a line.

    Attributes:
        checks: that were made.
        open: what they could not settle, in words; empty where all was measured.
        figure: one measured figure, in words.
    """

    checks: Sequence[Check]
    open: Sequence[str]
    figure: str


def worst(
    what: str,
    chances: Numbers,
    *,
    label: Callable[[int], str] = lambda place: "",
    factor: float = 1.0,
) -> Check:
    """Returns the check of the least of several chances, times their number (Bonferroni).

    Args:
        what: was looked at.
        chances: of every place.
        label: names the place in words.
        factor: 1, or `APPROXIMATE`.
    """
    if not len(chances):
        return Check(what, 1.0)
    chances = np.nan_to_num(chances, nan=0.0)  # noise is a number: NaN is a fault
    place = int(np.argmin(chances))
    chance = float(chances[place]) * len(chances) * factor
    return Check(f"{what}{label(place)}", min(1.0, chance))


def normal_chances(z: Numbers) -> Numbers:
    """Returns the probability that a standard normal is as far from 0, either way."""
    return np.asarray(2 * ndtr(-np.abs(z)))


def square_chances(squares: Numbers, degrees: Numbers | float) -> Numbers:
    """Returns the probability that a sum of squared normals is as extreme, either way."""
    at_most = chi2.cdf(squares, degrees)
    at_least = chi2.sf(squares, degrees)
    return np.asarray(2 * np.minimum(at_most, at_least))


def binomial_chances(counts: Numbers, trials: int, rate: float) -> Numbers:
    """Returns the probability that a binomial count is as extreme, either way."""
    at_most = binom.cdf(counts, trials, rate)
    at_least = binom.sf(counts - 1, trials, rate)
    two_sided = 2 * np.minimum(at_most, at_least)
    return np.asarray(np.minimum(1.0, two_sided))


def cosine_chances(cosines: Numbers, coordinates: int) -> Numbers:
    """Returns the probability that a random direction is as near to a line through 0.

    The squared cosine is Beta(1/2, (coordinates - 1)/2), for any direction of the line.
    """
    squared = np.minimum(1.0, np.square(cosines))
    return np.asarray(beta.sf(squared, 0.5, (coordinates - 1) / 2))


def drift(what: str, along: Sequence[float], *, scale: float) -> Check:
    """Returns the check that projections on unit directions, one a step, have mean 0."""
    values = np.asarray(along) / scale
    mean = float(values.sum()) / math.sqrt(max(1, len(values)))
    return worst(what, normal_chances(np.array([mean])))


def histogram(what: str, counts: Numbers, trials: int, rate: float) -> Check:
    """Returns the chi-square test of counts against the binomial distribution.

    Values are merged, from the lowest on, until a bin expects `MIN_EXPECTED` of the counts.
    """
    values = np.arange(trials + 1)
    expected = len(counts) * binom.pmf(values, trials, rate)
    observed = np.bincount(counts.astype(np.int64), minlength=trials + 1)[: trials + 1]
    bins = _merged(expected)
    if len(bins) < 2:
        return Check(what, 1.0)
    in_theory = np.array([expected[part].sum() for part in bins])
    in_fact = np.array([observed[part].sum() for part in bins])
    surprise = np.square(in_fact - in_theory) / in_theory  # (bins,)
    return _chi_square(what, float(surprise.sum()), bins=len(bins))


def _chi_square(what: str, statistic: float, *, bins: int) -> Check:
    # The counts add up to a known number: one degree of freedom less than bins.
    chance = float(chi2.sf(statistic, bins - 1))
    return Check(what, min(1.0, APPROXIMATE * chance))


def _merged(expected: Numbers) -> list[slice]:
    """Neighbouring values, merged until each bin expects enough; the rest joins the last bin."""
    starts = [0]
    total = 0.0
    for place, value in enumerate(expected):
        remaining = float(expected[place:].sum())
        if total >= MIN_EXPECTED and remaining >= MIN_EXPECTED:
            starts.append(place)
            total = 0.0
        total += float(value)
    ends = [*starts[1:], len(expected)]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]


def shape(what: str, values: Tensor, *, bins: int) -> Check:
    """Returns the chi-square test of standard normals in bins of equal probability."""
    expected = len(values) / bins
    if expected < MIN_EXPECTED:
        return Check(what, 1.0)
    quantiles = torch.special.ndtr(values.double())  # uniform on [0, 1] for standard normals
    places = (quantiles * bins).long().clamp(0, bins - 1)
    counts = torch.bincount(places, minlength=bins).double()
    statistic = float((counts - expected).square().sum() / expected)
    return _chi_square(what, statistic, bins=bins)
