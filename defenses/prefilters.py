"""Pre-filters prepare rows for a rule: mixing with neighbours, buckets, clipping.

Each returns a `Mixture`, weighted sums that are never written out. A rule takes it like rows, and
its `tensor()` writes it out. So a chain of pre-filters and a rule that goes by distances costs
arithmetic on (n, n) and one weighted sum.
"""

import numpy as np
import torch

from defenses.kernels.geometry import squared_distances
from defenses.kernels.protocol import Numbers
from defenses.needs import MAJORITY, check_positive, check_whole
from defenses.rows import Mixture, Rows, admit, admit_with_f
from defenses.rules import weights as choose


def nearest_neighbor_mixing(rows: Rows, *, f: int) -> Mixture:
    """Replaces each row by the mean of its n - f nearest rows, the row itself among them.

    Args:
        rows: (n, d); a row that `screen` marks is set aside and counts against f.
        f: corrupt rows tolerated; needs n >= 2 f + 1.

    Returns:
        (rows that stay, d), for a rule to take; its `tensor()` writes it out.

    Raises:
        ValueError: n < 2 f + 1, f < 0, or more than f rows are set aside.

    Cost: scalar products, n^2 d; written out, another n^2 d.
    Withstands: the spread of clients that differ, in which lies hide from the rule behind it.
    Fails against: more than f corrupt rows.

    Source: Allouah et al., AISTATS 2023 (NNM).
    """
    admitted = admit_with_f(
        "nearest_neighbor_mixing",
        rows,
        f,
        need=MAJORITY,
        distances=True,
    )
    squared = squared_distances(admitted.store)
    return admitted.mixture(choose.nearest(squared, admitted.n - admitted.f))


def bucketing(rows: Rows, *, size: int, generator: torch.Generator) -> Mixture:
    """Deals rows into buckets at random and returns the mean of each bucket.

    The last bucket may be smaller than the others.

    Args:
        rows: (n, d); a row that `screen` marks is set aside.
        size: rows of a bucket, >= 1.
        generator: deals the rows; anybody who knows its state knows the buckets.

    Returns:
        (ceil(n / size), d). A corrupt row spoils one bucket: the rule behind still has to bear f
        corrupt rows.

    Raises:
        ValueError: size < 1, or no row is left.

    Cost: nothing except the sums.
    Withstands: the spread of clients that differ, by averaging it away.
    Fails against: more corrupt rows than buckets of honest ones: f is not divided by the size.

    Source: Karimireddy, He and Jaggi, ICLR 2022 (s-bucketing).
    """
    check_whole("bucketing", "size", size)
    if size < 1:
        raise ValueError(f"bucketing needs a size >= 1, got {size}")
    admitted = admit("bucketing", rows)
    n = admitted.n
    order = torch.randperm(n, generator=generator).numpy()
    buckets = [order[first : first + size] for first in range(0, n, size)]
    return admitted.mixture(np.stack([choose.average(bucket, n) for bucket in buckets]))


def clip_norms(rows: Rows, *, radius: float) -> Mixture:
    """Shortens rows longer than the radius to the radius.

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
    check_positive("clip_norms", "radius", radius)
    admitted = admit("clip_norms", rows)
    norms = np.sqrt(admitted.store.squared_norms())
    return admitted.mixture(np.diag(_clip_factors(norms, radius)))


def adaptive_clipping(rows: Rows, *, f: int) -> Mixture:
    """Shortens the floor(2 f (n - f) / n) longest rows to the norm of the next one.

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
    admitted = admit_with_f("adaptive_clipping", rows, f, need=MAJORITY)
    norms = np.sqrt(admitted.store.squared_norms())
    clipped = 2 * admitted.f * (admitted.n - admitted.f) // admitted.n
    longest_first = np.sort(norms)[::-1]
    return admitted.mixture(np.diag(_clip_factors(norms, longest_first[clipped])))


def _clip_factors(norms: Numbers, radius: float) -> Numbers:
    """Returns each row's factor, exactly one for a row within the radius."""
    factors: Numbers = np.divide(radius, norms, out=np.ones_like(norms), where=norms > radius)
    return factors
