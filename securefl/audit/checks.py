"""Checks: statistics of which the distribution is known if the code is right."""

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

APPROXIMATE = 10.0  # factor on the chance of a statistic whose distribution is a limit
FEWEST_EXPECTED = 50.0  # in a bin of a histogram

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """What was looked at, and how likely right code looks as bad or worse, at most.

    The chance is already multiplied by the number of places that were looked at.
    """

    what: str
    chance: float


class Checked(NamedTuple):
    """The checks behind a line, what they leave open (nothing: all was measured), and one measured figure."""

    checks: Sequence[Check]
    open: Sequence[str]
    figure: str


def worst(
    what: str, chances: Numbers, *, label: Callable[[int], str] = lambda at: "", factor: float = 1.0
) -> Check:
    """Returns the least of several chances, times their number: a bound on that of any of them.

    Args:
        what: was looked at.
        chances: of every place.
        label: names the place in words.
        factor: 1, or `APPROXIMATE`.
    """
    if not len(chances):
        return Check(what, 1.0)
    chances = np.nan_to_num(chances, nan=0.0)  # what is not a number is no noise
    at = int(np.argmin(chances))
    return Check(f"{what}{label(at)}", min(1.0, float(chances[at]) * len(chances) * factor))


def normal_chances(z: Numbers) -> Numbers:
    """Returns how often a standard normal is as far from 0, either way."""
    return np.asarray(2 * ndtr(-np.abs(z)))


def square_chances(squares: Numbers, degrees: Numbers | float) -> Numbers:
    """Returns how often a sum of squared normals is as extreme, either way."""
    return np.asarray(2 * np.minimum(chi2.cdf(squares, degrees), chi2.sf(squares, degrees)))


def binomial_chances(counts: Numbers, trials: int, rate: float) -> Numbers:
    """Returns how often a binomial count is as extreme, either way."""
    low, high = binom.cdf(counts, trials, rate), binom.sf(counts - 1, trials, rate)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(low, high)))


def cosine_chances(cosines: Numbers, coordinates: int) -> Numbers:
    """Returns how often a random direction is as near to a given one, or to its opposite.

    The squared cosine is Beta(1/2, (coordinates - 1)/2), whatever the given direction is.
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

    Values are merged, from the lowest on, until a bin expects `FEWEST_EXPECTED` of the counts.
    """
    expected = len(counts) * binom.pmf(np.arange(trials + 1), trials, rate)
    seen = np.bincount(counts.astype(np.int64), minlength=trials + 1)[: trials + 1]
    bins = _merged(expected)
    wanted = np.array([expected[part].sum() for part in bins])
    found = np.array([seen[part].sum() for part in bins])
    if len(bins) < 2:
        return Check(what, 1.0)
    statistic = float((np.square(found - wanted) / wanted).sum())
    return Check(what, min(1.0, APPROXIMATE * float(chi2.sf(statistic, len(bins) - 1))))


def _merged(expected: Numbers) -> list[slice]:
    """Neighbouring values, merged until each bin expects enough; the rest joins the last bin."""
    starts, total = [0], 0.0
    for at, one in enumerate(expected):
        if total >= FEWEST_EXPECTED and float(expected[at:].sum()) >= FEWEST_EXPECTED:
            starts.append(at)
            total = 0.0
        total += float(one)
    ends = [*starts[1:], len(expected)]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]


def shape(what: str, values: Tensor, *, bins: int) -> Check:
    """Returns the chi-square test of standard normals in bins of equal probability."""
    expected = len(values) / bins
    if expected < FEWEST_EXPECTED:
        return Check(what, 1.0)
    places = (torch.special.ndtr(values.double()) * bins).long().clamp(0, bins - 1)
    found = torch.bincount(places, minlength=bins).double()
    statistic = float((found - expected).square().sum() / expected)
    return Check(what, min(1.0, APPROXIMATE * float(chi2.sf(statistic, bins - 1))))
