"""Intervals of 95 % around an accuracy and an AUC, from the figures and the number of records.

They are about the sampling of test records, and about nothing else: neither another site nor
another time.
"""

import math
from typing import NamedTuple

Z = 1.959963984540054  # of 95 %, two-sided


class Interval(NamedTuple):
    """Its ends, within [0, 1]."""

    low: float
    high: float


def wilson(share: float, records: int) -> Interval | None:
    """Returns the interval around a share of records; None without records.

    Source: Wilson, JASA 1927; Newcombe, Statistics in Medicine 1998, method 3.
    """
    if records < 1:
        return None
    square = Z * Z
    middle = (share + square / (2 * records)) / (1 + square / records)
    spread = math.sqrt(share * (1 - share) / records + square / (4 * records**2))
    half = Z * spread / (1 + square / records)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def auc_interval(auc: float, largest: int, smallest: int) -> Interval | None:
    """Returns the interval around the AUC of two classes; None where one has no record.

    The error is that of negative-exponential scores. It depends on which class is positive, which
    the figures do not say: this is the wider of the two.

    Args:
        auc: in [0, 1].
        largest: records of the larger class.
        smallest: records of the smaller class.

    Source: Hanley and McNeil, Radiology 1982, equation 2.
    """
    if min(largest, smallest) < 1:
        return None
    error = max(_error(auc, largest, smallest), _error(auc, smallest, largest))
    return Interval(max(0.0, auc - Z * error), min(1.0, auc + Z * error))


def _error(auc: float, positive: int, negative: int) -> float:
    """Returns the standard error of an AUC."""
    # Below one half the roles of the classes are exchanged.
    area = max(auc, 1 - auc)
    two_positives = area / (2 - area)
    two_negatives = 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area)
        + (positive - 1) * (two_positives - area**2)
        + (negative - 1) * (two_negatives - area**2)
    ) / (positive * negative)
    return math.sqrt(max(0.0, variance))
