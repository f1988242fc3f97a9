"""Areas under ROC curves on resampled test records, and the share of a loss that comes back.

Seeds tell how much noise and training vary. They all share the test records, so that the error of a
finite test set is not in them: it comes from drawing the test records anew, with replacement.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.rng import seeded_keystream

Array = NDArray[np.float64]
DRAWS = 2000


class Interval(NamedTuple):
    """A figure, and the 2.5th and 97.5th percentile of the same figure over draws."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Returns the figure with its ends."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def resampled(records: int, draws: int, *, seed: int) -> Array:
    """Returns (draws, records): how often each record is in a sample of as many records."""
    stream = seeded_keystream(seed, "bootstrap", records)
    chosen = (stream.uniform(draws * records) * records).astype(np.int64).reshape(draws, records)
    chosen = np.minimum(chosen, records - 1)
    counts = np.zeros((draws, records))
    np.add.at(counts, (np.arange(draws)[:, None], chosen), 1.0)
    return counts


def areas(scores: Array, labels: NDArray[np.int64], counts: Array) -> Array:
    """Returns (draws,), the AUC of scores under each weighting of the records.

    Args:
        scores: (n, classes); of two classes the second column counts, of more the mean of one class
            against the rest.
        labels: (n,).
        counts: (draws, n), weights >= 0.

    Returns:
        NaN for a draw without records of a class.
    """
    if scores.shape[1] == 2:
        return _area(scores[:, 1], labels == 1, counts)
    columns = [_area(scores[:, c], labels == c, counts) for c in range(scores.shape[1])]
    mean: Array = np.mean(columns, axis=0)
    return mean


def _area(scores: Array, members: NDArray[np.bool_], counts: Array) -> Array:
    """Returns the chance that a member scores above another; equal scores count half."""
    order = np.argsort(scores, kind="stable")
    inside = counts[:, order] * members[order]
    outside = counts[:, order] * ~members[order]
    below = np.cumsum(outside, axis=1)
    # Of records with one score, the last is where all below or equal are counted.
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    up_to = below[:, ends]
    before = np.concatenate([np.zeros((len(counts), 1)), up_to[:, :-1]], axis=1)
    starts = np.concatenate([[0], ends[:-1] + 1])
    tied = np.add.reduceat(inside, starts, axis=1)
    pairs = (tied * (up_to + before) / 2).sum(axis=1)
    with np.errstate(invalid="ignore"):
        area: Array = pairs / (inside.sum(axis=1) * below[:, -1])
    return area


def interval(values: Array) -> Interval:
    """Returns the interval of a figure: its value first, then its values over draws."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return Interval(float(values[0]), float(low), float(high))


def share_lost(
    central: Sequence[Array], other: Sequence[Array], local: Sequence[Array], *, seed: int
) -> Interval:
    """Returns what a place of noise loses against central noise, over what local noise loses.

    Both seeds and test records are drawn anew; the pairs stay together.

    Args:
        central: a seed -> (1 + draws,) AUCs; first those of the records as they are.
        other: the same of the place in question.
        local: the same of local noise.
        seed: of the draws of seeds.
    """
    tables = [np.stack(list(rows)) for rows in (central, other, local)]
    seeds, columns = tables[0].shape
    stream = seeded_keystream(seed, "bootstrap of seeds", seeds)
    chosen = (stream.uniform((columns - 1) * seeds) * seeds).astype(np.int64)
    chosen = np.minimum(chosen, seeds - 1).reshape(columns - 1, seeds).T
    # The first column is the figure itself: every seed once.
    chosen = np.concatenate([np.arange(seeds)[:, None], chosen], axis=1)
    means = [np.take_along_axis(table, chosen, axis=0).mean(axis=0) for table in tables]
    return interval((means[0] - means[1]) / (means[0] - means[2]))
