"""Which rows are fit for a rule: a row that is not finite, or absurdly large, never gets a say."""

import torch
from torch import Tensor

LIMIT = 1e18  # sums stay finite in float32, and squared distances in float64


def screen(rows: Tensor) -> Tensor:
    """True for each row that has to be set aside.

    Args:
        rows: (n, d), float32 or float64, n >= 1.

    Returns:
        (n,), bool; True marks a row with a coordinate that is NaN, infinite, or beyond 1e18 in magnitude.

    Raises:
        ValueError: rows is not 2-D, has no row, or is neither float32 nor float64.
    """
    _check_rows(rows)
    return ~(rows.abs() <= LIMIT).all(dim=1)  # written as "not <=", because every comparison with NaN is False


def _check_rows(rows: Tensor) -> None:
    """Refuse what is not a table of at least one row of floats; every public function starts here."""
    if rows.ndim != 2:
        raise ValueError(f"rows must be 2-D, (n, d), got shape {tuple(rows.shape)}")
    if len(rows) == 0:
        raise ValueError(f"rows must have n >= 1, got shape {tuple(rows.shape)}")
    if rows.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rows must be float32 or float64, got {rows.dtype}")
