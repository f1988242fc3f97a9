"""Rules of a node that has a row of its own, and hears those of its neighbours.

Each takes the node's own row (d,), the rows (m, d) that came from neighbours, and the weight (m,)
of each neighbour; the own row has the rest of a sum of one. Each returns one row (d,) of the same
dtype, and writes into no input. The own row is trusted; f neighbours may be corrupt. A row that
`screen` marks counts as none: where its neighbour has a weight, that weight falls to the own row.
"""

import math

import torch
from torch import Tensor

from defenses.needs import Need, check_f
from defenses.rules.coordinates import trimmed_mean
from defenses.rules.selection import monna
from defenses.screen import screen

# Rows, the own one among them: more honest neighbours than corrupt ones, and the own row.
_NEIGHBOURS = Need(2, 2)


def gossip(own: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Moves the own row towards each neighbour's by its weight; it is not robust.

    Args:
        own: (d,), finite.
        rows: (m, d), of neighbours; m may be 0.
        weights: (m,), of neighbours; together at most 1.

    Returns:
        (d,), own + sum of weights x (rows - own), accumulated in float64.

    Raises:
        ValueError: the shapes do not fit.

    Cost: one pass.
    Withstands: nothing.
    Fails against: everything: one neighbour moves it at will.

    Source: Lian et al., NeurIPS 2017 (D-PSGD); Boyd et al., 2006, for gossip averages.
    """
    rows, weights = _heard(own, rows, weights)
    return _moved(own, rows, weights)


def nna_minimum_rows(f: int) -> int:
    """Returns the fewest rows, the own one among them, that `nna` needs: 2 f + 2.

    Args:
        f: corrupt neighbours tolerated, >= 0.

    Raises:
        ValueError: f < 0.
    """
    return _NEIGHBOURS.minimum_rows("nna", f)


def nna(own: Tensor, rows: Tensor, weights: Tensor, *, f: int) -> Tensor:
    """Returns the mean of the own row and of the neighbours' rows but for the f furthest (NNA).

    Args:
        own: (d,), finite.
        rows: (m, d), of neighbours; a row that `screen` marks counts against f.
        weights: (m,); not used: all rows that stay count the same.
        f: corrupt neighbours tolerated; needs n >= 2 f + 2 rows, the own one among them.

    Returns:
        (d,).

    Raises:
        ValueError: fewer rows, f < 0, or more than f rows are set aside.

    Cost: two passes.
    Withstands: f corrupt neighbours of each honest node, where all nodes hear all others.
    Fails against: neighbours that agree close to the own row; on sparse graphs nothing is proven.

    Source: Farhadkhani et al., ICML 2023 (nearest-neighbour averaging; MoNNA adds momentum).
    """
    _check_shapes(own, rows, weights)
    _check_rows_of("nna", rows, f, nna_minimum_rows(f))
    return monna(torch.cat([own[None], rows]), f=f, pivot=0)


def trimmed_neighbors(own: Tensor, rows: Tensor, weights: Tensor, *, f: int) -> Tensor:
    """Returns each coordinate's mean without the f largest and f smallest of all rows.

    Args:
        own: (d,), finite.
        rows: (m, d), of neighbours; a row that `screen` marks counts against f.
        weights: (m,); not used: all rows count the same.
        f: corrupt neighbours tolerated; needs n >= 2 f + 1 rows, the own one among them.

    Returns:
        (d,).

    Raises:
        ValueError: fewer rows, f < 0, or more than f rows are set aside.

    Cost: that of `trimmed_mean`.
    Withstands: f corrupt neighbours, one coordinate at a time.
    Fails against: rows within the honest range that agree; it is biased where sites differ.

    Source: Yin et al., ICML 2018, definition 2, over a neighbourhood.
    """
    _check_shapes(own, rows, weights)
    return trimmed_mean(torch.cat([own[None], rows]), f=f)


def self_centered_clipping_minimum_rows(f: int) -> int:
    """Returns the fewest rows, the own one among them, that `self_centered_clipping` needs: f + 2.

    Args:
        f: corrupt neighbours tolerated, >= 0.

    Raises:
        ValueError: f < 0.
    """
    return Need(1, 2).minimum_rows("self_centered_clipping", f)


def self_centered_clipping(own: Tensor, rows: Tensor, weights: Tensor, *, f: int) -> Tensor:
    """Moves the own row towards each neighbour's by its weight, and no further than a radius.

    The radius is the adaptive one. The f furthest neighbours are left out of it, since nobody knows
    which are corrupt: radius^2 = sum of weights x squared distances of the others / the f largest
    weights together.

    Args:
        own: (d,), finite.
        rows: (m, d), of neighbours; a row that `screen` marks counts against f.
        weights: (m,), of neighbours; together at most 1.
        f: corrupt neighbours tolerated; needs n >= f + 2 rows, the own one among them.

    Returns:
        (d,), own + sum of weights x clip(rows - own, radius), accumulated in float64.

    Raises:
        ValueError: fewer rows, f < 0, or more than f rows are set aside.

    Cost: three passes.
    Withstands: corrupt neighbours of little weight, on any connected graph.
    Fails against: many rounds of small pulls in one direction; f neighbours of much weight.

    Source: He, Karimireddy, Jaggi, 2022 (ClippedGossip).
    """
    check_f("self_centered_clipping", f)
    fit, fit_weights = _heard(own, rows, weights)
    _check_rows_of("self_centered_clipping", rows, f, self_centered_clipping_minimum_rows(f))
    left = f - (len(rows) - len(fit))
    if left < 0:
        raise ValueError(f"self_centered_clipping: more than f={f} rows were set aside")
    if left == 0:
        return _moved(own, fit, fit_weights)
    distances = torch.stack([(row.double() - own.double()).norm() for row in fit])
    nearest = distances.argsort(stable=True)[: len(fit) - left]
    heaviest = fit_weights.sort(descending=True).values[:left].sum()
    square = (fit_weights[nearest] * distances[nearest].square()).sum() / heaviest
    scales = (square.sqrt() / distances).clamp(max=1.0).nan_to_num(1.0)  # 0 / 0: nothing to clip
    return _moved(own, fit, fit_weights * scales)


def _heard(own: Tensor, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the rows that are fit, and their weights in float64."""
    _check_shapes(own, rows, weights)
    if not len(rows):
        return rows, weights.double()
    fit = ~screen(rows)
    return rows[fit], weights.double()[fit]


def _moved(own: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Returns own + sum of weights x (rows - own), accumulated in float64."""
    center = own.double()
    total = center.clone()
    for row, weight in zip(rows, weights.tolist(), strict=True):
        total += (row.double() - center).mul_(weight)
    return total.to(own.dtype)


def _check_shapes(own: Tensor, rows: Tensor, weights: Tensor) -> None:
    if own.ndim != 1 or rows.shape[1:] != own.shape or weights.shape != rows.shape[:1]:
        raise ValueError(
            "a node needs its own row (d,), rows (m, d) and weights (m,), got "
            f"{tuple(own.shape)}, {tuple(rows.shape)} and {tuple(weights.shape)}"
        )
    total = math.fsum(weights.tolist())
    if not (bool((weights >= 0).all()) and total <= 1 + 1e-9):
        raise ValueError(f"weights of neighbours are >= 0 and at most 1 together, got {total:g}")


def _check_rows_of(rule: str, rows: Tensor, f: int, needed: int) -> None:
    """Raises ValueError where rows and the own one are fewer than needed."""
    if len(rows) + 1 < needed:
        raise ValueError(
            f"{rule} with f={f} needs {needed} rows, the own one among them, got {len(rows) + 1}"
        )
