"""Distances between rows, once and shared: every rule that chooses by distance computes on (n, n) from here."""

import numpy as np

from defenses.columns import Columns, Numbers
from defenses.device import DeviceColumns

_ROUNDING = 16 * 2.0**-53  # of a difference of scalar products, relative to the squared norms
_WANTED = 1e-6  # relative accuracy of a squared distance


def squared_distances(columns: Columns | DeviceColumns) -> Numbers:
    """(n, n) squared distances between rows, right to a millionth; zero between equal ones.

    They come from one matrix of scalar products in float64. A pair whose distance was lost to cancellation, because it
    is short beside its distance from the origin, is measured again by its difference; whoever makes other pairs cancel
    costs time and moves no result.

    Means of rows are as far apart as their weights say: -1/2 (u - v) D (u - v) for the rows' own squared distances D.
    """
    if columns.mix is None or not np.allclose(columns.mix.sum(axis=1), 1.0, rtol=0.0, atol=1e-9):
        return _measured(columns.gram(), columns)
    own = squared_distances(columns.unmixed())
    squared = np.stack([_quadratic(columns.mix - row, own) for row in columns.mix])
    np.fill_diagonal(squared, 0.0)
    return (squared + squared.T) / 2


def _quadratic(differences: Numbers, own: Numbers) -> Numbers:
    """-1/2 u D u for every row u of the differences, at least zero."""
    squared: Numbers = np.maximum(-0.5 * np.einsum("ij,ij->i", differences @ own, differences), 0.0)
    return squared


def _measured(gram: Numbers, columns: Columns | DeviceColumns) -> Numbers:
    """From scalar products, and from differences where those cancel."""
    norms = gram.diagonal()
    reach = norms[:, None] + norms
    squared = np.maximum(reach - 2 * gram, 0.0)
    lost = [(int(i), int(j)) for i, j in np.argwhere(_ROUNDING * reach > _WANTED * squared) if i < j]
    for (i, j), exact in zip(lost, columns.apart(lost) if lost else [], strict=True):
        squared[i, j] = squared[j, i] = exact
    np.fill_diagonal(squared, 0.0)
    return squared
