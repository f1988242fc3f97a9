"""Federated standardisation: every feature gets mean 0 and variance 1 over all sites together.

Two sums: numbers and sums of the records, then squared deviations from the grand mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from securefl.data.harmonise.moments import Array, Moments
from securefl.data.harmonise.sums import VARIANCE_FLOOR, Part, Pooled
from securefl.errors import DataError

# Share of a mean that is left of a constant feature by rounding, at the most.
CONSTANT = 1e-12
# A sum of squares below this has too few digits left: sums over sites are multiples of 2^-60.
SMALLEST_SQUARES = 2.0**-36

Deviations = Callable[[Moments, Pooled], Array]  # a site's moments -> (p,), its summand


def standardise_parts(
    p: int, *, claim: bool, columns: Sequence[int] | None = None
) -> tuple[Part, ...]:
    """Returns the sums of a standardisation of p features.

    Args:
        p: number of features.
        claim: whether moments are noised: variances get a floor, and nothing is refused.
        columns: numbers of the features in the records, for a refusal; 0 and so on by default.
    """

    def deviations(moments: Moments, pooled: Pooled) -> Array:
        # Around the grand mean: a site's own deviations, and its distance from there.
        rest: Array = moments.squares + moments.n * (moments.mean - pooled.mean) ** 2
        return rest

    return means_part(p), variances_part(p, deviations, claim=claim, columns=columns)


def means_part(p: int) -> Part:
    """Returns the sum of numbers and of features less their slopes, which gives grand means."""

    def of(moments: Moments, pooled: Pooled) -> Array:
        return np.concatenate([[moments.n], moments.n * moments.residual_mean(pooled.slopes)])

    def learn(total: Array, pooled: Pooled) -> Pooled:
        return replace(pooled, records=float(total[0]), mean=total[1:] / total[0])

    return Part("numbers and sums", 1 + p, of, learn)


def variances_part(
    p: int, of: Deviations, *, claim: bool, columns: Sequence[int] | None = None
) -> Part:
    """Returns the sum of squared deviations, which gives variances.

    A feature without any deviation is refused where no claim forbids to say so.
    """

    def learn(total: Array, pooled: Pooled) -> Pooled:
        variance = total / pooled.records
        if claim:
            return replace(pooled, variance=np.maximum(variance, VARIANCE_FLOOR))
        flat = (variance <= (CONSTANT * pooled.mean) ** 2) | (total < SMALLEST_SQUARES)
        constant = np.flatnonzero(flat)
        if len(constant):
            column = constant[0] if columns is None else columns[constant[0]]
            raise DataError(
                f"data.harmonise: column {column} is constant, or too small for sums in steps of "
                "2^-60; leave it out, or rescale it"
            )
        return replace(pooled, variance=variance)

    return Part("squared deviations", p, of, learn)


def standardised(features: Array, pooled: Pooled) -> Array:
    """Returns features (n, p) less the grand mean, over the standard deviation."""
    scaled: Array = (features - pooled.mean) / np.sqrt(pooled.variance)
    return scaled
