"""Which rows are fit for a rule: a row that is not finite, or absurdly large, never gets a say."""

import torch
from torch import Tensor

from defenses.rows import check_rows, marked, store_of


def screen(rows: Tensor) -> Tensor:
    """Marks each row that has to be set aside.

    Args:
        rows: (n, d), float32 or float64, n >= 1.

    Returns:
        (n,), bool; True for a row with a coordinate that is NaN, infinite, or beyond 1e18 in
        magnitude.

    Raises:
        ValueError: rows is not 2-D, has no row, or is neither float32 nor float64.
    """
    check_rows(rows)
    mask = torch.from_numpy(marked(store_of(rows)))
    return mask.to(rows.device)
