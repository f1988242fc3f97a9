"""A lower end for the privacy loss of a sampled Gaussian release, as tight as the upper end of Connect the Dots.

The profile of a pair of distributions, delta over alpha = e^epsilon, is convex, falls from 1 at alpha = 0, and is never
below max(0, 1 - alpha). Every such curve belongs to some pair, and a curve that lies below belongs to a pair with less
loss, also when pairs are composed. Connect the Dots takes the chords between grid points, which lie above. Here the
chords are drawn a share c of the way down to max(0, 1 - alpha): as soon as the chords' height over the profile is
nowhere more than that, they lie below. A mixture of two curves is a curve, and the second one says nothing, so the
price is c in the number of steps: half of c in epsilon.

Source: Doroshenko et al., PETS 2022 (curves and pairs, chords); Zhu, Dong and Wang, AISTATS 2022 (composition).
"""

import math
from typing import NamedTuple

import numpy as np
from dp_accounting.pld import pld_pmf
from numpy.typing import NDArray
from scipy.special import ndtr

from securefl.privacy.accounting.gaussian import largest_loss

Array = NDArray[np.float64]

_SHARE = 1e-3  # c
_ROUNDING = 1e-12  # of a height, for what floating point may get wrong
_FLOAT = 700.0  # a loss whose exponential is still a float
_DEVIATIONS = 9.0  # of the noise, beyond which a loss counts as no more than there


class Branch(NamedTuple):
    """How far the profile is above max(0, 1 - alpha), on one side of alpha = 1, outwards from there.

    heights: (m,), falling. slopes: (m,) of the heights, <= 0 and rising. steps: (m - 1,) of alpha, between points.
    """

    heights: Array
    slopes: Array
    steps: Array


def optimistic(
    sample_rate: float, noise_multiplier: float, interval: float
) -> pld_pmf.DensePLDPmf | None:
    """The loss of one release, with a record against without it, on a grid; None where the grid is too coarse.

    Guarantees:
        - delta is never above the true one, at any epsilon, however often releases are composed.

    Args:
        sample_rate: in (0, 1].
        noise_multiplier: > 0.
        interval: width of a cell of the loss.
    """
    most = min(_FLOAT, largest_loss(sample_rate, noise_multiplier, deviations=_DEVIATIONS))
    least = max(-most, math.log1p(-sample_rate)) if sample_rate < 1 else -most
    ends = (
        math.floor(most / interval),
        math.ceil(-least / interval) - 1,
    )  # every loss is above log(1 - sample_rate)
    losses = [
        sign * interval * np.arange(end + 1, dtype=np.float64)
        for end, sign in zip(ends, (1, -1), strict=True)
    ]
    right, left = (_lowered(_branch(points, sample_rate, noise_multiplier)) for points in losses)
    if right is None or left is None:
        return None
    steps = [
        np.abs(np.diff(np.exp(points[: len(side)])))
        for points, side in zip(losses, (right, left), strict=True)
    ]
    outer, first = zip(*map(_masses, (right, left), steps), strict=True)
    middle = 1 + first[0] + first[1]
    if middle < 0:  # lines this steep meet at an angle that no profile has
        return None
    masses = np.concatenate(
        [outer[1][::-1], [middle], outer[0]]
    )  # of the distribution without the record
    least_cell = 1 - len(left)
    alphas = np.exp(interval * np.arange(least_cell, len(right)))
    return pld_pmf.DensePLDPmf(interval, least_cell, np.maximum(0.0, alphas * masses), 0.0, False)


def _branch(losses: Array, sample_rate: float, noise_multiplier: float) -> Branch:
    """At losses (m,) outwards from 0: the chance of a higher loss (right) or a lower one (left), with and without."""
    reach = np.expm1(losses) + sample_rate  # alpha - (1 - q)
    at = (
        noise_multiplier * np.log(reach / sample_rate) + 0.5 / noise_multiplier
    )  # of the noise, in deviations
    sign = 1.0 if losses[-1] >= 0 else -1.0
    without, with_it = ndtr(-sign * at), ndtr(-sign * (at - 1 / noise_multiplier))
    heights = sign * (sample_rate * with_it - reach * without)
    return Branch(np.maximum(0.0, heights), -without, np.abs(np.diff(np.expm1(losses))))


def _lowered(branch: Branch) -> Array | None:
    """Heights (k,) whose chords lie below the branch, ending in 0; None where not even one cell allows it."""
    near, far = branch.heights[:-1], branch.heights[1:]
    fine = ~(_gaps(branch) + _ROUNDING * near > _SHARE * far)
    end = len(fine) if fine.all() else int(fine.argmin())
    if end == 0:
        return None
    heights = (1 - _SHARE) * branch.heights[: end + 1]
    heights[end] = 0.0
    left = branch.steps[:end][::-1].cumsum()[::-1]  # from each point to the end
    rise = heights[:-1] / left
    touch = int(
        rise.argmin()
    )  # where the line from the end touches the curve, which stays convex by it
    heights[touch:-1] = rise[touch] * left[touch:]
    return heights


def _gaps(branch: Branch) -> Array:
    """(m - 1,) how far a cell's chord can be above the curve, which lies above the tangents at both ends."""
    a, b, step = branch.slopes[:-1], branch.slopes[1:], branch.steps
    chord = np.diff(branch.heights) / step
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = step * (b - chord) * (chord - a) / (b - a)
    return np.where(b > a, np.abs(gaps), 0.0)


def _masses(heights: Array, steps: Array) -> tuple[Array, float]:
    """(k - 1,) the change of slope at every point but the first, and the first slope."""
    slopes = np.append(np.diff(heights) / steps, 0.0)
    return np.diff(slopes), float(slopes[0])
