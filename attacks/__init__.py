"""Attacks: pure functions that rewrite what the corrupt clients send."""

from attacks.byzantine import (
    a_little_is_enough,
    gaussian,
    inner_product,
    most_deviations,
    non_finite,
    sign_flip,
    zero,
)
from attacks.optimized import min_max, min_sum

__all__ = [
    "a_little_is_enough",
    "gaussian",
    "inner_product",
    "min_max",
    "min_sum",
    "most_deviations",
    "non_finite",
    "sign_flip",
    "zero",
]
