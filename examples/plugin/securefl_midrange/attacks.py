"""An attack that hides at the edge of the honest rows."""

import torch
from torch import Tensor

from securefl.scenario import AttackEntry, Sees


def crowded(rows: Tensor, *, f: int, generator: torch.Generator, spread: float = 0.01) -> Tensor:
    """Returns rows close to the smallest value that each coordinate has among the known rows.

    Args:
        rows: (h, d), the honest rows that the adversary knows.
        f: number of corrupt clients.
        generator: draws how the rows differ, so that no two are equal.
        spread: standard deviation of that.

    Returns:
        (f, d)
    """
    smallest = rows.min(dim=0).values
    noise = torch.randn((f, rows.shape[1]), generator=generator, dtype=rows.dtype)
    return smallest + spread * noise


crowd = AttackEntry(crowded, sees=Sees.KNOWN, needs=("f", "generator"))
