"""What is done to rows before a rule: mixing with neighbours, buckets, clipping.

Each returns a `Mixture`, weighted sums that are never written out: a rule takes it like rows, and `tensor()` writes it.
So a chain of pre-filters and a rule that goes by distances is arithmetic on (n, n) and one weighted sum.
"""

import math

import numpy as np
import torch

from defenses.kernels.blocks import Numbers
from defenses.kernels.geometry import squared_distances
from defenses.rows import Mixture, Rows, check_whole, opened
from defenses.rules import weights as choose
from defenses.rules.selection import mda_minimum_rows


def nearest_neighbor_mixing(rows: Rows, *, f: int) -> Mixture:
    """Each row replaced by the mean of its n - f nearest rows, itself among them.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.

    Returns:
        (rows that stay, d), to be handed to a rule, or written out by its `tensor()`.

    Raises:
        ValueError: n < 2 f + 1, f < 0, or more than f rows are set aside.

    Cost: scalar products, n^2 d; written out, another n^2 d.
    Withstands: the spread of clients that differ, which lets lies hide from the rule behind it.
    Fails against: more than f corrupt rows.

    Source: Allouah et al., AISTATS 2023 (NNM).
    """
    left = opened(
        "nearest_neighbor_mixing",
        rows,
        f,
        distances=True,
        minimum=mda_minimum_rows,
        need="n >= 2f + 1",
    )
    return left.mixture(choose.nearest(squared_distances(left.columns), left.columns.n - left.f))


def bucketing(rows: Rows, *, size: int, generator: torch.Generator) -> Mixture:
    """The means of buckets of rows, dealt at random; the last bucket may be smaller.

    Args:
        rows: (n, d); a row that `screen` marks is set aside.
        size: rows of a bucket, >= 1.
        generator: deals; who knows it knows the buckets.

    Returns:
        (ceil(n / size), d). A corrupt row spoils one bucket: the rule after it still has f of them to bear.

    Raises:
        ValueError: size < 1, or no row is left.

    Cost: nothing beside the sums.
    Withstands: the spread of clients that differ, by averaging it away.
    Fails against: more corrupt rows than buckets of honest ones: f is not divided by the size.

    Source: Karimireddy, He and Jaggi, ICLR 2022 (s-bucketing).
    """
    check_whole("bucketing", "size", size)
    if size < 1:
        raise ValueError(f"bucketing needs a size >= 1, got {size}")
    left = opened("bucketing", rows)
    n, dealt = left.columns.n, torch.randperm(left.columns.n, generator=generator).numpy()
    buckets = [dealt[first : first + size] for first in range(0, n, size)]
    return left.mixture(np.stack([choose.average(bucket, n) for bucket in buckets]))


def clip_norms(rows: Rows, *, radius: float) -> Mixture:
    """Rows longer than the radius shortened to it.

    Args:
        rows: (n, d); a row that `screen` marks is set aside.
        radius: longest norm that stays, > 0.

    Returns:
        (rows that stay, d).

    Raises:
        ValueError: radius is not positive and finite, or no row is left.

    Cost: one pass.
    Withstands: long rows.
    Fails against: directions; a radius above the honest norms.
    """
    if not (radius > 0 and math.isfinite(radius)):
        raise ValueError(f"clip_norms needs a radius > 0, got {radius:g}")
    left = opened("clip_norms", rows)
    return left.mixture(np.diag(_shortened(np.sqrt(left.columns.squared_norms()), radius)))


def adaptive_clipping(rows: Rows, *, f: int) -> Mixture:
    """The floor(2 f (n - f) / n) longest rows shortened to the norm of the next one.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.

    Returns:
        (rows that stay, d).

    Raises:
        ValueError: n < 2 f + 1, f < 0, or more than f rows are set aside.

    Cost: one pass.
    Withstands: long rows, with no radius to choose.
    Fails against: directions.

    Source: Allouah et al., ICLR 2025 (ARC, adaptive robust clipping).
    """
    left = opened("adaptive_clipping", rows, f, minimum=mda_minimum_rows, need="n >= 2f + 1")
    norms = np.sqrt(left.columns.squared_norms())
    clipped = 2 * left.f * (left.columns.n - left.f) // left.columns.n
    return left.mixture(np.diag(_shortened(norms, np.sort(norms)[::-1][clipped])))


def _shortened(norms: Numbers, radius: float) -> Numbers:
    """Each row's factor, exactly one where nothing is to be done."""
    factors: Numbers = np.divide(radius, norms, out=np.ones_like(norms), where=norms > radius)
    return factors
