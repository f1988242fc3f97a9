"""Intervals of 95 % around an accuracy and an AUC, from the figures and the number of records.

They are about the sampling of test records, and about nothing else: neither another site nor
another time.
"""

import math
from typing import NamedTuple

Z = 1.959963984540054  # of 95 %, two-sided
HALVINGS = 60  # leave less than the rounding of a number within [0, 1]


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

    It holds every area whose own standard error allows the measured one. So it has a width at an
    AUC of 0 or 1, too, where the error of the measured area is none.

    Args:
        auc: in [0, 1].
        largest: records of the larger class.
        smallest: records of the smaller class.

    Source: Newcombe, Statistics in Medicine 2006, 25:559-573, method 5: the error of Hanley and
    McNeil, Radiology 1982, equation 2, with the mean size of both classes in the place of each.
    """
    if min(largest, smallest) < 1:
        return None

    def end(outside: float) -> float:
        """Returns the last area on the way to `outside` that the measured one allows."""
        inside = auc
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            if abs(auc - middle) <= Z * _error(middle, largest, smallest):
                inside = middle
            else:
                outside = middle
        return inside

    return Interval(0.0 if auc == 0.0 else end(0.0), 1.0 if auc == 1.0 else end(1.0))


def _error(area: float, first: int, second: int) -> float:
    """Returns the standard error of a measured AUC, where `area` is the true one."""
    others = (first + second) / 2 - 1
    pairs = 1 + others * ((1 - area) / (2 - area) + area / (1 + area))
    return math.sqrt(area * (1 - area) * pairs / (first * second))
