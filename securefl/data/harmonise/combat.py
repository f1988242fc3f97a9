"""Federated ComBat: takes the location and scale of each site out of its features.

Every feature is a site's location and scale around a grand mean and the slopes on covariates that
all sites share. Three sums over the sites give what they share: centred cross-products the slopes,
numbers and sums the grand mean, squared residuals the variance. Location and scale, and the priors
that shrink them, are computed at the site and stay there.

Source: Johnson, Li and Rabinovic, Biostatistics 2007, section 3; distributed: Chen et al., Human
Brain Mapping 2022. Its sums of X'X and X'Y with a column for each site would be open: one site
contributes to such a column. Centred at the site first, the slopes are the same (Frisch and Waugh,
Econometrica 1933).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from securefl.data.harmonise.moments import Array, Moments, symmetric
from securefl.data.harmonise.standardise import SMALLEST_SQUARES, means_part, variances_part
from securefl.data.harmonise.sums import VARIANCE_FLOOR, Part, Pooled
from securefl.errors import DataError

# Relative change below which the iteration of the reference implementations ends.
CONVERGED = 1e-4
MAX_ITERATIONS = 10_000
# Under a claim: how many times larger or smaller than the pooled variance a site's may be.
MAX_RATIO = 4.0
# Covariates that explain each other up to this share leave no slopes to fit.
MAX_CONDITION = 1e12
# In the place of a variance across features that is 0, as for copies of one feature.
_TINY = 1e-12


class SiteEffect(NamedTuple):
    """What ComBat takes out of one site's features, in pooled standard deviations.

    Attributes:
        location: (p,), gamma in the paper.
        scale: (p,), a variance, delta squared in the paper.
    """

    location: Array
    scale: Array


NO_EFFECT = SiteEffect(np.zeros(1), np.ones(1))  # leaves every feature as it is


def combat_parts(
    p: int, q: int, *, claim: bool, columns: Sequence[int] | None = None
) -> tuple[Part, ...]:
    """Returns the sums of a ComBat of p features: three, or two without covariates.

    Args:
        p: number of features.
        q: number of covariates.
        claim: whether moments are noised: variances get a floor, and nothing is refused.
        columns: numbers of the features in the records, for a refusal; 0 and so on by default.
    """

    def residuals(moments: Moments, pooled: Pooled) -> Array:
        return moments.residual_squares(pooled.slopes)

    rest = (means_part(p), variances_part(p, residuals, claim=claim, columns=columns))
    return (_slopes_part(p, q, claim=claim), *rest) if q else rest


def _slopes_part(p: int, q: int, *, claim: bool) -> Part:
    """Returns the sum of cross-products, centred at each site, which gives the slopes."""
    size = q * (q + 1) // 2

    def of(moments: Moments, pooled: Pooled) -> Array:
        return np.concatenate([moments.between[np.triu_indices(q)], moments.cross.ravel()])

    def learn(total: Array, pooled: Pooled) -> Pooled:
        between = symmetric(total[:size], q)
        if claim:
            between = _floored(between)
        elif not _has_inverse(between):
            raise DataError(
                "data.harmonise: the covariates are constant within every site, or one follows "
                "from the others, or is too small for sums in steps of 2^-60; leave one out, or "
                "rescale the column"
            )
        slopes: Array = np.linalg.solve(between, total[size:].reshape(q, p)).astype(np.float64)
        return replace(pooled, slopes=slopes)

    return Part("centred cross-products", size + q * p, of, learn)


def _floored(between: Array) -> Array:
    """Returns the nearest matrix that a solver can take: noise can make eigenvalues negative."""
    values, vectors = np.linalg.eigh(between)
    floor = max(VARIANCE_FLOOR, VARIANCE_FLOOR * float(np.abs(values).max()))
    rebuilt: Array = (vectors * np.maximum(values, floor)) @ vectors.T
    return rebuilt


def _has_inverse(between: Array) -> bool:
    if not (np.diag(between) >= SMALLEST_SQUARES).all():
        return False
    spread = np.sqrt(np.diag(between))
    # Correlations, so that units do not matter.
    return bool(np.linalg.cond(between / np.outer(spread, spread)) < MAX_CONDITION)


def check_site(
    features: Array, covariates: Array, *, name: str, columns: Sequence[int] | None = None
) -> None:
    """Refuses records of a site that no location and scale can be fitted to.

    Args:
        features: (n, p), without a claim.
        covariates: (n, q).
        name: of the site.
        columns: numbers of the features in the records, for a refusal; 0 and so on by default.

    Raises:
        DataError: one record or none, a feature that is constant, or a value that is no number.
    """
    at_site = f"data.harmonise: at site {name!r}"
    if len(features) < 2:
        raise DataError(
            f"{at_site} ComBat would fit a scale to {len(features)} training records; it takes 2: "
            "leave the site out"
        )
    if not (np.isfinite(features).all() and np.isfinite(covariates).all()):
        raise DataError(f"{at_site} a value is not finite; clean the records first")
    constant = np.flatnonzero(features.max(axis=0) == features.min(axis=0))
    if len(constant):
        column = constant[0] if columns is None else columns[constant[0]]
        raise DataError(
            f"{at_site} column {column} is constant, so that it has no scale; leave it out of "
            "`features`"
        )


def site_effect(
    moments: Moments, pooled: Pooled, *, empirical_bayes: bool, claim: bool
) -> SiteEffect:
    """Returns the location and scale of a site; both stay there.

    Args:
        moments: of the site's training records.
        pooled: what all sites share.
        empirical_bayes: whether both are shrunk towards their means across features; needs two
            features or more.
        claim: whether the moments are noised: the scale is held within declared limits.
    """
    location = (moments.residual_mean(pooled.slopes) - pooled.mean) / np.sqrt(pooled.variance)
    squares = moments.residual_squares(pooled.slopes) / pooled.variance
    scale = squares / max(moments.n - 1, 1.0)
    if claim:
        scale = np.clip(scale, 1 / MAX_RATIO, MAX_RATIO)
    effect = SiteEffect(location, scale)
    return _shrunk(effect, moments.n) if empirical_bayes else effect


def _shrunk(effect: SiteEffect, n: float) -> SiteEffect:
    """Returns the posterior means of location and scale under the priors across features.

    The iteration, and the test that ends it, are those of the reference implementations.
    """
    location, scale = effect
    prior_mean = location.mean()
    prior_variance = location.var(ddof=1)
    mean, variance = scale.mean(), max(scale.var(ddof=1), _TINY)
    shape = (2 * variance + mean**2) / variance
    rate = (mean * variance + mean**3) / variance
    old = effect
    for _ in range(MAX_ITERATIONS):
        weight = prior_variance * n
        new_location = (weight * location + old.scale * prior_mean) / (weight + old.scale)
        # The squared deviations from a location that is not the mean.
        squares = (n - 1) * scale + n * (location - new_location) ** 2
        new_scale = (0.5 * squares + rate) / (n / 2 + shape - 1)
        new = SiteEffect(new_location, new_scale)
        if max(_change(new.location, old.location), _change(new.scale, old.scale)) <= CONVERGED:
            return new
        old = new
    return old


def _change(new: Array, old: Array) -> float:
    """Returns the largest relative change; one from 0 is infinite, none at all is 0."""
    difference = np.abs(new - old)
    moved = difference > 0
    if not moved.any():
        return 0.0
    with np.errstate(divide="ignore"):
        # The sign of `old` stays, as in the reference: a negative location never counts.
        return float((difference[moved] / old[moved]).max())


def adjusted(features: Array, covariates: Array, pooled: Pooled, effect: SiteEffect) -> Array:
    """Returns a site's features (n, p) without its location and scale.

    Args:
        features: (n, p).
        covariates: (n, q), of the same records.
        pooled: what all sites share.
        effect: of this site.
    """
    expected = pooled.mean + covariates @ pooled.slopes
    spread = np.sqrt(pooled.variance)
    standard = (features - expected) / spread
    rest: Array = (standard - effect.location) / np.sqrt(effect.scale) * spread + expected
    return rest
