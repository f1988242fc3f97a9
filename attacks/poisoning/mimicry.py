"""An attack that sends nothing wrong: one honest row over and over."""

import torch
from torch import Tensor

from attacks.poisoning.checks import check_count, check_rows, repeated


def mimic(rows: Tensor, f: int) -> Tensor:
    """The honest row that lies furthest out along the direction in which the rows differ most, f more times.

    Rules that are right where honest rows are alike are led to over-count one client where they are not.

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary knows.
        f: rows to send, >= 1.

    Returns:
        (f, d), all equal to one of rows: the one of largest |<row - mean, z>|, the first of equals, where z is the
        first principal direction of the rows.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: Karimireddy, He and Jaggi, Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing, ICLR 2022.
        Convention: z and the row are chosen anew from the rows of every round, where the source learns them over its
        first rounds and keeps one client for good. A round thus depends on nothing but its rows, and where clients are
        alike, the one that is over-counted changes from round to round: weaker than the source's.
    """
    check_rows(rows)
    check_count("mimic", f)
    known = torch.nan_to_num(rows.double())
    centred = known - known.mean(dim=0)
    _, directions = torch.linalg.eigh(
        centred @ centred.T
    )  # of the (h, h) table; the last is that of most variance
    return repeated(rows[int(directions[:, -1].abs().argmax())], f, rows)
