"""What every attack on rows checks and shares."""

import math

import torch
from torch import Tensor


def deviations(rows: Tensor) -> Tensor:
    """(d,) the sample deviation of every coordinate of rows (h, d); 0 of a single row."""
    return rows.std(dim=0) if len(rows) > 1 else torch.zeros_like(rows[0])


def check_positive(attack: str, name: str, value: float) -> None:
    """Raise ValueError unless value is finite and positive."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{attack} needs {name} finite and > 0, got {name}={value}")


def check_count(attack: str, f: int) -> None:
    """Raise ValueError unless there is a row to send."""
    if f < 1:
        raise ValueError(f"{attack} needs f >= 1 rows to send, got f={f}")


def repeated(row: Tensor, f: int, rows: Tensor) -> Tensor:
    """(f, d) of one row, in the kind of rows."""
    return row.to(rows.dtype).repeat(f, 1)


def check_rows(rows: Tensor) -> None:
    """Raise ValueError unless rows is a table of floats with a row in it."""
    if rows.ndim != 2 or len(rows) == 0:
        raise ValueError(f"rows must be 2-D, (f, d), with f >= 1, got shape {tuple(rows.shape)}")
    if rows.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"rows must be float32 or float64, got {rows.dtype}")
