"""Robust aggregation: pure functions from rows (n, d) to one estimate (d,)."""

from defenses.rules import (
    krum,
    krum_minimum_rows,
    mean,
    median,
    trimmed_mean,
    trimmed_mean_minimum_rows,
)
from defenses.screen import screen

__all__ = [
    "krum",
    "krum_minimum_rows",
    "mean",
    "median",
    "screen",
    "trimmed_mean",
    "trimmed_mean_minimum_rows",
]
