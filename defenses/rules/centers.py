"""Rules that look for a center: the geometric median, and clipping around a start."""

import math

import numpy as np
from torch import Tensor

from defenses.kernels.blocks import Numbers
from defenses.kernels.geometry import centred_gram
from defenses.rows import Opened, Rows, opened
from defenses.rules import weights as choose

_STEPS = 1000
_TOLERANCE = 1e-11  # length of a step, over the typical distance


def geometric_median(rows: Rows, *, smoothing: float = 1e-6) -> Tensor:
    """The point whose distances to the rows have the least sum, by Weiszfeld's steps on scalar products.

    Args:
        rows: (n, d); a row that `screen` marks is set aside.
        smoothing: no distance counts as less than this part of the typical one, > 0; it keeps the steps finite where
            the median is a row.

    Returns:
        (d,), bounded by the honest rows while fewer than half of the rows are corrupt.

    Raises:
        ValueError: no row is left, or smoothing is not positive and finite.

    Cost: scalar products, n^2 d, and steps on n x n.
    Withstands: fewer than half of the rows, whatever they hold.
    Fails against: rows near the honest ones; a shift of the order of the honest spread remains.

    Source: Pillutla, Kakade and Harchaoui, IEEE TSP 2022 (smoothed Weiszfeld). Their smoothing is a
    length; here it is relative to the median distance to the row in the middle: scaled rows give a scaled median.
    """
    left, weights = _geometric_median(rows, smoothing)
    return left.columns.combine(weights)


def geometric_median_weights(rows: Rows, *, smoothing: float = 1e-6) -> Tensor:
    """The weights (n,) of `geometric_median`, positive and of sum one. Arguments and errors as there."""
    left, weights = _geometric_median(rows, smoothing)
    return left.spread(weights)


def centered_clipping(
    rows: Rows, *, radius: float, start: Tensor | None = None, iterations: int = 1
) -> Tensor:
    """A start, moved by the mean of the differences of the rows to it, each cut to the radius; again from there.

    Args:
        rows: (n, d); a row that `screen` marks is set aside.
        radius: longest difference that counts in full, > 0.
        start: (d,), finite; zero by default. Over rounds, the estimate of the round before.
        iterations: times the start is moved, >= 1.

    Returns:
        (d,), no further from the start than iterations x radius.

    Raises:
        ValueError: no row is left, radius is not positive and finite, iterations < 1, or start has another shape.

    Cost: two passes an iteration.
    Withstands: rows of any length: each moves the estimate by radius / n.
    Fails against: many small, steady lies; a start that is off by many radii.

    Source: Karimireddy, He and Jaggi, ICML 2021.
    """
    if not (radius > 0 and math.isfinite(radius)):
        raise ValueError(f"centered_clipping needs a radius > 0, got {radius:g}")
    if iterations < 1:
        raise ValueError(f"centered_clipping needs iterations >= 1, got {iterations}")
    columns = opened("centered_clipping", rows).columns
    start = None if start is None else start.detach().to(columns.dtype)
    if start is not None and (start.shape != (columns.d,) or not start.isfinite().all()):
        given = tuple(start.shape) if start.shape != (columns.d,) else "one that is not finite"
        raise ValueError(
            f"centered_clipping needs a finite start of shape ({columns.d},), got {given}"
        )
    center = columns.combine(_cut(columns.squared_norms(), radius)) if start is None else start
    for _ in range(iterations - (start is None)):
        shares = _cut(columns.distances_to(center), radius)
        center = columns.combine(shares).add_(center, alpha=1.0 - float(shares.sum()))
    return center


def _cut(squared: Numbers, radius: float) -> Numbers:
    """What each row counts, 1/n or less, of squared distances (n,)."""
    norms = np.sqrt(squared)
    shares: Numbers = np.divide(radius, norms, out=np.ones_like(norms), where=norms > radius) / len(
        norms
    )
    return shares


def _geometric_median(rows: Rows, smoothing: float) -> tuple[Opened, Numbers]:
    if not (smoothing > 0 and math.isfinite(smoothing)):
        raise ValueError(f"geometric_median needs a smoothing > 0, got {smoothing:g}")
    left = opened("geometric_median", rows, distances=True)
    around = centred_gram(left.columns)
    typical = float(np.median(around.lengths))
    if typical == 0.0:  # more than half of the rows are one point
        return left, np.eye(left.columns.n)[around.middle]
    near = choose.average(np.flatnonzero(around.lengths <= typical), left.columns.n)
    return left, choose.weiszfeld(
        around.gram,
        near,
        smoothing=smoothing * typical,
        tolerance=_TOLERANCE * typical,
        steps=_STEPS,
    )
