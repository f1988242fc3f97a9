"""Which rows are fit for a rule: a row that is not finite, or absurdly large, never gets a say."""

import torch
from torch import Tensor

from defenses.rows import check, columns_of, marked


def screen(rows: Tensor) -> Tensor:
    """True for each row that has to be set aside.

    Args:
        rows: (n, d), float32 or float64, n >= 1.

    Returns:
        (n,), bool; True marks a row with a coordinate that is NaN, infinite, or beyond 1e18 in magnitude.

    Raises:
        ValueError: rows is not 2-D, has no row, or is neither float32 nor float64.
    """
    check(rows)
    return torch.from_numpy(marked(columns_of(rows))).to(rows.device)
