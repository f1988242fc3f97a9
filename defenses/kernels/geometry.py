"""Distances between rows, once and shared: every rule that chooses by distance computes on (n, n) from here."""

from typing import NamedTuple

import numpy as np

from defenses.kernels.blocks import Columns, Numbers
from defenses.kernels.device import DeviceColumns

_ROUNDING = 16 * 2.0**-53  # of a difference of scalar products, relative to the squared norms
_WANTED = 1e-6  # relative accuracy of a squared distance
_FAR = 1e3  # from the origin, over the typical distance: nearer, scalar products around the origin keep ten digits


def squared_distances(columns: Columns | DeviceColumns) -> Numbers:
    """(n, n) squared distances between rows, right to a millionth; zero between equal ones.

    They come from one matrix of scalar products in float64. A pair whose distance was lost to cancellation, because it
    is short beside its distance from the origin, is measured again by its difference; whoever makes other pairs cancel
    costs time and moves no result.

    Means of rows are as far apart as their weights say: -1/2 (u - v) D (u - v) for the rows' own squared distances D.
    """
    if columns.mix is None:
        return _known(columns)
    if not is_stochastic(columns.mix):
        return _measured(columns.gram(), columns)
    own = squared_distances(columns.unmixed())
    squared = np.stack([_quadratic(columns.mix - row, own) for row in columns.mix])
    np.fill_diagonal(squared, 0.0)
    return (squared + squared.T) / 2


def is_stochastic(mix: Numbers) -> bool:
    """Are the sums means, which move with their rows?"""
    return np.allclose(mix.sum(axis=1), 1.0, rtol=0.0, atol=1e-9)


class Centred(NamedTuple):
    """Scalar products (n, n) around a point among the rows, the row in the middle, and how far others lie."""

    gram: Numbers
    middle: int
    lengths: Numbers


def centred_gram(columns: Columns | DeviceColumns) -> Centred:
    """Scalar products such that nothing that all rows have in common costs digits.

    The row in the middle is that of the least median distance to the others: attackers of fewer than half the rows
    cannot place it far from the honest ones. Where the origin lies far from it, a row in the middle takes its place.
    """
    lengths = np.sqrt(squared_distances(columns))
    middle = _middle(lengths)
    gram, typical = columns.gram(), float(np.median(lengths[middle]))
    if gram[middle, middle] > (_FAR * typical) ** 2 and (
        columns.mix is None or is_stochastic(columns.mix)
    ):
        own = middle if columns.mix is None else _middle(squared_distances(columns.unmixed()))
        gram = columns.gram_around(own)
    return Centred(gram, middle, lengths[middle])


def _middle(lengths: Numbers) -> int:
    return int(np.median(lengths, axis=1).argmin())


def _known(columns: Columns | DeviceColumns) -> Numbers:
    """Of rows that are no sums, computed once."""
    if isinstance(columns, DeviceColumns):
        return _measured(columns.gram(), columns)
    if columns.table.distances is None:
        columns.table.distances = _measured(columns.gram(), columns)
    return columns.table.distances


def _quadratic(differences: Numbers, own: Numbers) -> Numbers:
    """-1/2 u D u for every row u of the differences, at least zero."""
    squared: Numbers = np.maximum(-0.5 * np.einsum("ij,ij->i", differences @ own, differences), 0.0)
    return squared


def _measured(gram: Numbers, columns: Columns | DeviceColumns) -> Numbers:
    """From scalar products, and from differences where those cancel."""
    norms = gram.diagonal()
    reach = norms[:, None] + norms
    squared = np.maximum(reach - 2 * gram, 0.0)
    lost = [
        (int(i), int(j)) for i, j in np.argwhere(_ROUNDING * reach > _WANTED * squared) if i < j
    ]
    for (i, j), exact in zip(lost, columns.apart(lost) if lost else [], strict=True):
        squared[i, j] = squared[j, i] = exact
    np.fill_diagonal(squared, 0.0)
    return squared
