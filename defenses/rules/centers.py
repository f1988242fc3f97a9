"""Rules that look for a center: the geometric median, and clipping around a start."""

import numpy as np
from torch import Tensor

from defenses.kernels.geometry import centred_gram
from defenses.kernels.protocol import Numbers
from defenses.needs import check_positive
from defenses.rows import Choice, Rows, admit
from defenses.rules import weights as choose

MAX_WEISZFELD_STEPS = 1000
# Weiszfeld's steps end at one shorter than this, relative to the typical distance.
STEP_TOLERANCE = 1e-11


def geometric_median(rows: Rows, *, smoothing: float = 1e-6) -> Tensor:
    """Returns the point whose distances to the rows have the least sum.

    Weiszfeld's steps find it, on scalar products of the rows.

    Args:
        rows: (n, d); a row that `screen` marks is set aside.
        smoothing: no distance counts as less than this part of the typical one, > 0; it keeps the
            steps finite where the median is a row.

    Returns:
        (d,), bounded by the honest rows while fewer than half of the rows are corrupt.

    Raises:
        ValueError: no row is left, or smoothing is not positive and finite.

    Cost: scalar products, n^2 d, and steps on n x n.
    Withstands: fewer than half of the rows, whatever they hold.
    Fails against: rows near the honest ones; a shift of the order of the honest spread remains.

    Source: Pillutla, Kakade and Harchaoui, IEEE TSP 2022 (smoothed Weiszfeld). Their smoothing is a
    length. Here it is relative to the median distance to the row in the middle, so that scaled rows
    give a scaled median.
    """
    return _geometric_median(rows, smoothing).estimate()


def geometric_median_weights(rows: Rows, *, smoothing: float = 1e-6) -> Tensor:
    """Returns the weights (n,) of `geometric_median`, positive and of sum one.

    Arguments and errors are those of `geometric_median`.
    """
    return _geometric_median(rows, smoothing).per_row()


def _geometric_median(rows: Rows, smoothing: float) -> Choice:
    check_positive("geometric_median", "smoothing", smoothing)
    admitted = admit("geometric_median", rows, distances=True)
    centred = centred_gram(admitted.store)
    typical = float(np.median(centred.lengths))
    # More than half of the rows are one point: it is the median, and no length is left to scale by.
    if typical == 0.0:
        return Choice(admitted, np.eye(admitted.n)[centred.middle])
    # The nearer half of the rows is a start that a minority of far rows cannot drag away.
    near = np.flatnonzero(centred.lengths <= typical)
    weights = choose.weiszfeld(
        centred.gram,
        choose.average(near, admitted.n),
        smoothing=smoothing * typical,
        tolerance=STEP_TOLERANCE * typical,
        steps=MAX_WEISZFELD_STEPS,
    )
    return Choice(admitted, weights)


def centered_clipping(
    rows: Rows,
    *,
    radius: float,
    start: Tensor | None = None,
    iterations: int = 1,
) -> Tensor:
    """Moves a start by the mean of the rows' differences to it, each cut to the radius.

    Further iterations begin from the moved start.

    Args:
        rows: (n, d); a row that `screen` marks is set aside.
        radius: longest difference that counts in full, > 0.
        start: (d,), finite; zero by default. Over rounds, the estimate of the round before.
        iterations: times the start is moved, >= 1.

    Returns:
        (d,), no further from the start than iterations x radius.

    Raises:
        ValueError: no row is left, radius is not positive and finite, iterations < 1, or start has
            another shape or is not finite.

    Cost: two passes an iteration.
    Withstands: rows of any length: each moves the estimate by radius / n.
    Fails against: many small, steady lies; a start that is off by many radii.

    Source: Karimireddy, He and Jaggi, ICML 2021.
    """
    check_positive("centered_clipping", "radius", radius)
    if iterations < 1:
        raise ValueError(f"centered_clipping needs iterations >= 1, got {iterations}")
    store = admit("centered_clipping", rows).store
    remaining = iterations
    if start is None:
        # From zero, differences are the rows themselves, whose norms the screen measured already.
        center = store.combine(_clipped_shares(store.squared_norms(), radius))
        remaining -= 1
    else:
        center = start.detach().to(store.dtype)
        _check_start(center, store.d)
    for _ in range(remaining):
        shares = _clipped_shares(store.distances_to(center), radius)
        # center + sum of shares x (row - center), without writing the differences out.
        center = store.combine(shares).add_(center, alpha=1.0 - float(shares.sum()))
    return center


def _check_start(start: Tensor, d: int) -> None:
    if start.shape != (d,):
        problem = str(tuple(start.shape))
    elif not start.isfinite().all():
        problem = "one that is not finite"
    else:
        return
    raise ValueError(f"centered_clipping needs a finite start of shape ({d},), got {problem}")


def _clipped_shares(squared: Numbers, radius: float) -> Numbers:
    """Returns (n,) shares: 1/n within the radius, less for a row further away."""
    norms = np.sqrt(squared)
    factors = np.divide(radius, norms, out=np.ones_like(norms), where=norms > radius)
    shares: Numbers = factors / len(norms)
    return shares
