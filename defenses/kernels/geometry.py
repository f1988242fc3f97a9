"""Distances between rows, computed once and shared: rules that go by distance start here."""

from typing import NamedTuple

import numpy as np

from defenses.kernels.protocol import Numbers, RowStore

# Rounding error of a difference of scalar products, relative to the squared norms.
CANCELLATION = 16 * 2.0**-53
# Largest relative error of a squared distance that is accepted.
DISTANCE_TOLERANCE = 1e-6
# Rows no further from the origin than this many typical distances keep ten digits in their
# scalar products; further out the products are taken around a row in the middle.
MAX_ORIGIN_DISTANCE = 1e3


def squared_distances(rows: RowStore) -> Numbers:
    """Returns the (n, n) squared distances between rows; zero between equal ones.

    The distances come from one matrix of scalar products in float64, and are right to a millionth.
    A pair is measured a second time, by its difference, where cancellation lost its distance: it is
    short compared with its distance from the origin. An attacker who makes other pairs cancel costs
    time and moves no result.

    For means u and v of rows, the distance follows from the rows' squared distances D:
    -1/2 (u - v) D (u - v).
    """
    if rows.mix is None:
        return rows.distances_once(lambda: _measured(rows))
    if not is_stochastic(rows.mix):
        return _measured(rows)
    row_distances = squared_distances(rows.unmixed())
    squared = np.stack([_quadratic(rows.mix - mean, row_distances) for mean in rows.mix])
    np.fill_diagonal(squared, 0.0)
    return (squared + squared.T) / 2


def is_stochastic(mix: Numbers) -> bool:
    """Returns whether the sums are means, which move along when all rows are shifted."""
    return np.allclose(mix.sum(axis=1), 1.0, rtol=0.0, atol=1e-9)


class Centred(NamedTuple):
    """Scalar products around a point among the rows.

    Attributes:
        gram: (n, n) scalar products.
        middle: index of the row in the middle.
        lengths: (n,) distances to the row in the middle.
    """

    gram: Numbers
    middle: int
    lengths: Numbers


def centred_gram(rows: RowStore) -> Centred:
    """Returns scalar products in which no offset common to all rows costs digits.

    The row in the middle has the least median distance to the others: fewer than half the rows
    cannot place it far from the honest ones. Where the origin lies far from that row, a row in the
    middle replaces the origin.
    """
    lengths = np.sqrt(squared_distances(rows))
    middle = _middle(lengths)
    gram = rows.gram()
    typical = float(np.median(lengths[middle]))
    is_far = gram[middle, middle] > (MAX_ORIGIN_DISTANCE * typical) ** 2
    # Sums that are no means do not move along with their rows: no stored row can be their origin.
    if is_far and (rows.mix is None or is_stochastic(rows.mix)):
        origin = middle
        if rows.mix is not None:
            origin = _middle(squared_distances(rows.unmixed()))
        gram = rows.gram_around(origin)
    return Centred(gram, middle, lengths[middle])


def _middle(lengths: Numbers) -> int:
    return int(np.median(lengths, axis=1).argmin())


def _quadratic(differences: Numbers, distances: Numbers) -> Numbers:
    """Returns -1/2 u D u for every row u of the differences, at least zero."""
    forms = np.einsum("ij,ij->i", differences @ distances, differences)
    squared: Numbers = np.maximum(-0.5 * forms, 0.0)
    return squared


def _measured(rows: RowStore) -> Numbers:
    """Returns squared distances from scalar products, and from differences where those cancel."""
    gram = rows.gram()
    norms = gram.diagonal()
    reach = norms[:, None] + norms
    squared = np.maximum(reach - 2 * gram, 0.0)
    cancelled = np.argwhere(CANCELLATION * reach > DISTANCE_TOLERANCE * squared)
    pairs = [(int(i), int(j)) for i, j in cancelled if i < j]
    exact_distances = rows.apart(pairs) if pairs else []
    for (i, j), exact in zip(pairs, exact_distances, strict=True):
        squared[i, j] = exact
        squared[j, i] = exact
    np.fill_diagonal(squared, 0.0)
    return squared
