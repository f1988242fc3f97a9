"""Checks and arithmetic that attacks on rows share."""

import math

import torch
from torch import Tensor


def check_rows(rows: Tensor) -> None:
    """Raises ValueError unless `rows` is a 2-D tensor of floats with at least one row."""
    if rows.ndim != 2 or len(rows) == 0:
        raise ValueError(f"rows must be 2-D, (f, d), with f >= 1, got shape {tuple(rows.shape)}")
    if rows.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rows must be float32 or float64, got {rows.dtype}")


def check_count(attack: str, f: int) -> None:
    """Raises ValueError unless there is a row to send."""
    if f < 1:
        raise ValueError(f"{attack} needs f >= 1 rows to send, got f={f}")


def check_positive(attack: str, name: str, value: float) -> None:
    """Raises ValueError unless the value is finite and positive."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{attack} needs {name} finite and > 0, got {name}={value}")


def deviations(rows: Tensor) -> Tensor:
    """Returns the sample deviation (d,) of every coordinate of rows (h, d); 0 for one row."""
    if len(rows) == 1:
        return torch.zeros_like(rows[0])
    return rows.std(dim=0)


def squared_distances(rows: Tensor) -> Tensor:
    """Returns the squared distances (h, h) between rows (h, d), in float64."""
    # From differences: scalar products would lose the digits of rows that lie close together.
    exact = rows.double()
    differences = (exact - row for row in exact)  # one (h, d) at a time
    return torch.stack([difference.square().sum(dim=1) for difference in differences])


def repeated(row: Tensor, f: int, rows: Tensor) -> Tensor:
    """Returns the row f times, (f, d), in the dtype of `rows`."""
    return row.to(rows.dtype).repeat(f, 1)
