"""The moments of one site's records, from which every fitted step of harmonisation follows.

moments = exact_moments(features, covariates)
moments = noised_moments(features, covariates, records=200, noise_multiplier=4.0, stream=stream)
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from securefl.privacy.noise.gaussian import hardened_normal
from securefl.rng import Keystream

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Numbers, means and centred cross-products of a site's features and covariates.

    Attributes:
        n: number of records; the declared one under a claim.
        mean: (p,), of the features.
        covariate_mean: (q,), of the covariates.
        squares: (p,), sums of the squared deviations of each feature from its mean.
        between: (q, q), sums of products of the covariates' deviations.
        cross: (q, p), sums of products of covariates' and features' deviations.
    """

    n: float
    mean: Array
    covariate_mean: Array
    squares: Array
    between: Array
    cross: Array

    def residual_mean(self, slopes: Array) -> Array:
        """Returns (p,), the means of the features less their slopes (q, p) on the covariates."""
        return self.mean - self.covariate_mean @ slopes

    def residual_squares(self, slopes: Array) -> Array:
        """Returns (p,), the squared deviations of the same residuals from the site's own means."""
        explained = 2 * np.einsum("qp,qp->p", slopes, self.cross)
        fitted = np.einsum("qp,qr,rp->p", slopes, self.between, slopes)
        rest: Array = self.squares - explained + fitted
        return rest

    def to_json(self) -> dict[str, Any]:
        """Returns the numbers for a file, from which they come back bit for bit."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any], *, p: int, q: int) -> Self:
        """Raises ValueError unless these are finite moments of p features and q covariates."""
        shapes = {
            "mean": (p,),
            "covariate_mean": (q,),
            "squares": (p,),
            "between": (q, q),
            "cross": (q, p),
        }
        if set(values) != {"n", *shapes} or not isinstance(values["n"], float):
            raise ValueError("they are no moments")
        arrays = {
            name: np.array(values[name], dtype=np.float64).reshape(shape)
            for name, shape in shapes.items()
        }
        numbers = [np.array(values["n"]), *arrays.values()]
        if not all(np.isfinite(array).all() for array in numbers):
            raise ValueError("a moment is not finite")
        return cls(n=values["n"], **arrays)


def exact_moments(features: Array, covariates: Array) -> Moments:
    """Returns the moments of features (n, p) and covariates (n, q), for sites without a claim.

    Deviations come from the means, in two passes, so that nothing cancels.

    Raises:
        ValueError: there is no record.
    """
    n = len(features)
    if not n:
        raise ValueError("there is no record to take moments of")
    mean = features.mean(axis=0)
    covariate_mean = covariates.mean(axis=0)
    y = features - mean
    z = covariates - covariate_mean
    return Moments(float(n), mean, covariate_mean, (y * y).sum(axis=0), z.T @ z, z.T @ y)


def sensitivity(p: int, q: int) -> float:
    """Returns the largest L2 norm that one record adds to the sums of `noised_moments`.

    With all p features and q covariates in [-1, 1], a record adds p numbers y, p numbers y^2, q
    numbers z, q (q + 1) / 2 products of covariates and q p products of a covariate and a feature.
    None is above 1 in size, and a record of ones reaches 1 in each.
    """
    return math.sqrt(_length(p, q))


def _length(p: int, q: int) -> int:
    return 2 * p + q + q * (q + 1) // 2 + q * p


def noised_moments(
    features: Array,
    covariates: Array,
    *,
    records: int,
    noise_multiplier: float,
    stream: Keystream,
) -> Moments:
    """Returns moments of the clipped records from sums with Gaussian noise, for a DP claim.

    Guarantees:
        - The sums are one release of a Gaussian mechanism with this noise multiplier, for records
          that are added or removed. Everything else is computed from the sums.
        - The real number of records is never used. No value is refused: NaN counts as 0, and other
          values as the nearest end of [-1, 1].

    The numbers need not be moments of any records: noise can make squares negative. A fit holds
    its variances above a declared floor for that reason.

    Args:
        features: (n, p), in [-1, 1] where nothing is to be clipped.
        covariates: (n, q), as well.
        records: the declared number of records.
        noise_multiplier: standard deviation of the noise over `sensitivity`.
        stream: draws the noise.
    """
    p, q = features.shape[1], covariates.shape[1]
    noise = hardened_normal(_length(p, q), stream)
    sums = clipped_sums(features, covariates) + noise_multiplier * sensitivity(p, q) * noise
    return _from_sums(sums, records=records, p=p, q=q)


def clipped_sums(features: Array, covariates: Array) -> Array:
    """Returns the sums that noise is added to, one vector: y, y^2, z, z z' and z y'."""
    y, z = _clipped(features), _clipped(covariates)
    upper = np.triu_indices(z.shape[1])
    return np.concatenate(
        [
            y.sum(axis=0),
            (y * y).sum(axis=0),
            z.sum(axis=0),
            (z.T @ z)[upper],
            (z.T @ y).ravel(),
        ]
    )


def _clipped(values: Array) -> Array:
    return np.clip(np.nan_to_num(values, nan=0.0), -1.0, 1.0)


def _from_sums(sums: Array, *, records: int, p: int, q: int) -> Moments:
    """Returns the moments behind the sums; the declared number of records divides them."""
    ends = np.cumsum([p, p, q, q * (q + 1) // 2])
    y, y_squared, z, products, cross = np.split(sums, ends)
    # The means of clipped records lie in the range: what noise puts outside is brought back.
    mean, covariate_mean = (np.clip(part / records, -1.0, 1.0) for part in (y, z))
    between = symmetric(products, q) - records * np.outer(covariate_mean, covariate_mean)
    return Moments(
        float(records),
        mean,
        covariate_mean,
        y_squared - records * mean**2,
        between,
        cross.reshape(q, p) - records * np.outer(covariate_mean, mean),
    )


def symmetric(upper: Array, q: int) -> Array:
    """Returns the symmetric (q, q) matrix whose upper triangle is given, row by row."""
    matrix = np.zeros((q, q))
    matrix[np.triu_indices(q)] = upper
    below = np.triu(matrix, 1).T
    return matrix + below
