"""An attack that sends nothing wrong: it repeats one honest row."""

import torch
from torch import Tensor

from attacks.poisoning.checks import check_count, check_rows, repeated


def mimic(rows: Tensor, f: int) -> Tensor:
    """Repeats the honest row that lies furthest out along the rows' main direction.

    A rule that works while honest rows are alike thereby over-counts one client where they differ.

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary sees.
        f: rows to send, >= 1.

    Returns:
        (f, d), all equal to the row with the largest |<row - mean, z>|, the first of equals. Here z
        is the first principal direction of the rows.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: Karimireddy, He and Jaggi, Byzantine-Robust Learning on Heterogeneous Datasets via
        Bucketing, ICLR 2022. Convention: z and the row are chosen from the rows of each round,
        where the source learns them over its first rounds and then repeats one client for good.
        A round thus depends on its rows only. Where clients are alike, a different one is
        over-counted every round, which makes this weaker than the source's.
    """
    check_rows(rows)
    check_count("mimic", f)
    exact = torch.nan_to_num(rows.double())
    centred = exact - exact.mean(dim=0)
    # The (h, h) Gram matrix has the same projections as the (d, d) covariance, for less.
    _, directions = torch.linalg.eigh(centred @ centred.T)
    projections = directions[:, -1].abs()  # eigenvalues ascend: the last direction is the main one
    return repeated(rows[int(projections.argmax())], f, rows)
