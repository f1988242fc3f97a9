"""Robust aggregation: pure functions from rows (n, d) to one estimate (d,)."""

from defenses.choices import dnc_choice, mda_choice, multi_krum_choice
from defenses.prefilters import adaptive_clipping, bucketing, clip_norms, nearest_neighbor_mixing
from defenses.rows import Mixture
from defenses.rules.around import (
    gossip,
    nna,
    nna_minimum_rows,
    self_centered_clipping,
    self_centered_clipping_minimum_rows,
    trimmed_neighbors,
)
from defenses.rules.centers import centered_clipping, geometric_median, geometric_median_weights
from defenses.rules.coordinates import meamed, mean, median, trimmed_mean, trimmed_mean_minimum_rows
from defenses.rules.krum import (
    bulyan,
    bulyan_minimum_rows,
    krum,
    krum_minimum_rows,
    krum_weights,
    multi_krum,
    multi_krum_weights,
)
from defenses.rules.selection import (
    dnc,
    dnc_weights,
    mda,
    mda_minimum_rows,
    mda_weights,
    monna,
    monna_weights,
)
from defenses.screen import screen

__all__ = [
    "Mixture",
    "adaptive_clipping",
    "bucketing",
    "bulyan",
    "bulyan_minimum_rows",
    "centered_clipping",
    "clip_norms",
    "dnc",
    "dnc_choice",
    "dnc_weights",
    "geometric_median",
    "geometric_median_weights",
    "gossip",
    "krum",
    "krum_minimum_rows",
    "krum_weights",
    "mda",
    "mda_choice",
    "mda_minimum_rows",
    "mda_weights",
    "meamed",
    "mean",
    "median",
    "monna",
    "monna_weights",
    "multi_krum",
    "multi_krum_choice",
    "multi_krum_weights",
    "nearest_neighbor_mixing",
    "nna",
    "nna_minimum_rows",
    "screen",
    "self_centered_clipping",
    "self_centered_clipping_minimum_rows",
    "trimmed_mean",
    "trimmed_mean_minimum_rows",
    "trimmed_neighbors",
]
