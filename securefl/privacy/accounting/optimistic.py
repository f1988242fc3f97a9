"""A lower end for the privacy loss of a sampled Gaussian release.

It is as tight as the upper end of Connect the Dots.

The profile of a pair of distributions, delta over alpha = e^epsilon, is convex, falls from 1 at
alpha = 0, and is never below max(0, 1 - alpha). Every such curve belongs to some pair. A curve that
lies below belongs to a pair with less loss, also when pairs are composed.

Connect the Dots takes the chords between grid points, which lie above the profile. Here the chords
are drawn a share c of the way down to max(0, 1 - alpha). As soon as the chords' height over the
profile is nowhere more than that, they lie below the profile. A mixture of two curves is a curve,
and the second one says nothing, so the price is c in the number of steps: half of c in epsilon.

Source: Doroshenko et al., PETS 2022 (curves and pairs, chords); Zhu, Dong and Wang, AISTATS 2022
(composition).
"""

import math
from typing import NamedTuple

import numpy as np
from dp_accounting.pld import pld_pmf
from numpy.typing import NDArray
from scipy.special import ndtr

from securefl.privacy.accounting.gaussian import MAX_EXPONENT, largest_loss

Array = NDArray[np.float64]

# The share c of the way down.
LOWERED_SHARE = 1e-3
# Share of a height that floating point may get wrong.
HEIGHT_ROUNDING = 1e-12
# A loss further out, in deviations of the noise, counts as no more than the loss there.
MAX_DEVIATIONS = 9.0


class Branch(NamedTuple):
    """Height of the profile above max(0, 1 - alpha) on one side of alpha = 1, from there outwards.

    Attributes:
        heights: (m,), falling.
        slopes: (m,) of the heights, <= 0 and rising.
        steps: (m - 1,) distances in alpha between points.
    """

    heights: Array
    slopes: Array
    steps: Array


def optimistic(
    sample_rate: float,
    noise_multiplier: float,
    interval: float,
) -> pld_pmf.DensePLDPmf | None:
    """Returns the loss of one release on a grid, with a record against without it.

    Guarantees:
        - delta is never above the true one, at any epsilon, however often releases are composed.

    Args:
        sample_rate: in (0, 1].
        noise_multiplier: > 0.
        interval: width of a cell of the loss.

    Returns:
        None where the grid is too coarse.
    """
    losses_above, losses_below = _losses(sample_rate, noise_multiplier, interval)
    above = _lowered(_branch(losses_above, sample_rate, noise_multiplier))
    below = _lowered(_branch(losses_below, sample_rate, noise_multiplier))
    if above is None or below is None:
        return None
    masses_above, first_above = _masses(above, losses_above)
    masses_below, first_below = _masses(below, losses_below)
    middle = 1 + first_above + first_below
    # Lines this steep meet at an angle that no profile has.
    if middle < 0:
        return None
    # Of the distribution without the record, from the lowest cell to the highest.
    masses = np.concatenate([masses_below[::-1], [middle], masses_above])
    lowest_cell = 1 - len(below)
    alphas = np.exp(interval * np.arange(lowest_cell, len(above)))
    # alpha x mass without the record is the mass with it; rounding must not make it negative.
    probabilities = np.maximum(0.0, alphas * masses)
    return pld_pmf.DensePLDPmf(
        interval,
        lowest_cell,
        probabilities,
        infinity_mass=0.0,
        pessimistic_estimate=False,
    )


def _losses(sample_rate: float, noise_multiplier: float, interval: float) -> tuple[Array, Array]:
    """Returns the grid points of the loss from 0 upwards, and those from 0 downwards."""
    largest = min(
        MAX_EXPONENT,
        largest_loss(sample_rate, noise_multiplier, deviations=MAX_DEVIATIONS),
    )
    smallest = -largest
    if sample_rate < 1:
        # No loss is below log(1 - q): a record that was not sampled leaves no trace.
        smallest = max(smallest, math.log1p(-sample_rate))
    cells_above = math.floor(largest / interval)
    # The limit itself is never reached, so the last cell ends strictly above it.
    cells_below = math.ceil(-smallest / interval) - 1
    above = interval * np.arange(cells_above + 1, dtype=np.float64)
    below = -interval * np.arange(cells_below + 1, dtype=np.float64)
    return above, below


def _branch(losses: Array, sample_rate: float, noise_multiplier: float) -> Branch:
    """Returns the branch at losses (m,) outwards from 0.

    Its heights come from the chance of a higher loss (above 0) or a lower one (below 0), with and
    without the record.
    """
    reach = np.expm1(losses) + sample_rate  # alpha - (1 - q)
    # The noise, in deviations, at which the release has this loss.
    deviations = noise_multiplier * np.log(reach / sample_rate) + 0.5 / noise_multiplier
    sign = 1.0 if losses[-1] >= 0 else -1.0
    without = ndtr(-sign * deviations)
    with_record = ndtr(-sign * (deviations - 1 / noise_multiplier))
    heights = sign * (sample_rate * with_record - reach * without)
    steps = np.abs(np.diff(np.expm1(losses)))
    return Branch(np.maximum(0.0, heights), -without, steps)


def _lowered(branch: Branch) -> Array | None:
    """Returns heights (k,), ending in 0, whose chords lie below the branch.

    Returns:
        None where not even one cell allows it.
    """
    near = branch.heights[:-1]
    far = branch.heights[1:]
    is_fine = ~(_gaps(branch) + HEIGHT_ROUNDING * near > LOWERED_SHARE * far)
    # The chords end before the first cell that is too coarse.
    end = len(is_fine) if is_fine.all() else int(is_fine.argmin())
    if end == 0:
        return None
    heights = (1 - LOWERED_SHARE) * branch.heights[: end + 1]
    heights[end] = 0.0
    # From each point, the distance to the end.
    distances = branch.steps[:end][::-1].cumsum()[::-1]
    rises = heights[:-1] / distances
    # From where the line out of the end touches the curve, the line replaces it: the curve stays
    # convex.
    touch = int(rises.argmin())
    heights[touch:-1] = rises[touch] * distances[touch:]
    return heights


def _gaps(branch: Branch) -> Array:
    """Returns (m - 1,) bounds on each cell's chord above the curve.

    The curve lies above the tangents at both ends of the cell; the gap is largest where they meet.
    """
    near = branch.slopes[:-1]
    far = branch.slopes[1:]
    chord = np.diff(branch.heights) / branch.steps
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = branch.steps * (far - chord) * (chord - near) / (far - near)
    # A straight cell has no gap, and divides by zero above.
    return np.where(far > near, np.abs(gaps), 0.0)


def _masses(heights: Array, losses: Array) -> tuple[Array, float]:
    """Returns the change of slope at every point except the first, (k - 1,), and the first slope.

    Args:
        heights: (k,).
        losses: (m,) grid points of the branch, m >= k.
    """
    steps = np.abs(np.diff(np.exp(losses[: len(heights)])))
    slopes = np.append(np.diff(heights) / steps, 0.0)
    return np.diff(slopes), float(slopes[0])
