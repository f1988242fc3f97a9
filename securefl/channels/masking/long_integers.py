"""Integers of 128 bits as words of a ring: a sum carries, and shows nothing beside itself.

A coordinate of an update is a digit of 16 bits, which float32 holds exactly; eight of them, lowest
first, make one integer. Were digits added each by itself, their totals would tell how often they
carried: for negative numbers in two's complement, how many there are.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from securefl.channels.apart import DIGIT_BITS, DIGITS
from securefl.rng import Keystream

LARGEST_DIGIT = (1 << DIGIT_BITS) - 1
LONG: np.dtype[Any] = np.dtype([("low", "<u8"), ("high", "<u8")])
_DIGIT = np.dtype("<u2")


@dataclass(frozen=True)
class LongIntegers:
    """Digits (8 m,) as integers (m,) modulo 2^128; a sum has the digits of the sum.

    It has the attributes of `FixedPoint`, so that it can stand in its place.

    Args:
        most: clients in one sum, at least 1.
    """

    most: int

    ring = DIGITS * DIGIT_BITS
    clip = float(LARGEST_DIGIT)
    rounding: Literal["nearest"] = "nearest"
    step = 1.0
    coordinates = DIGITS

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"a sum has at least one client, got {self.most}")

    @property
    def word(self) -> np.dtype[Any]:
        """The type of a word, little-endian."""
        return LONG

    def to_json(self) -> list[Any]:
        """Returns all of it as JSON can hold it."""
        return [self.ring, self.clip.hex(), self.rounding, self.most]

    def encode(
        self,
        values: NDArray[np.floating[Any]],
        *,
        scale: float,
        stream: Keystream,
        out: NDArray[Any],
    ) -> None:
        """Writes digits (8 m,) as integers into out (m,).

        What is no digit becomes the nearest one, and NaN 0: an error would tell of records.

        Args:
            values: (8 m,) float32.
            scale: 1; integers carry no weights.
            stream: not read.
            out: (m,) words of the ring.

        Raises:
            ValueError: the scale is another one.
        """
        if scale != 1:
            raise ValueError(f"integers are added without weights, got a scale of {scale}")
        digits = np.clip(np.nan_to_num(np.rint(values), nan=0.0), 0, LARGEST_DIGIT)
        out.view(_DIGIT)[:] = digits.astype(_DIGIT)

    def decode(self, total: NDArray[Any]) -> NDArray[np.float64]:
        """Returns the digits (8 m,) of the integers (m,) of a sum."""
        return total.view(_DIGIT).astype(np.float64)


def add_long(total: NDArray[Any], words: NDArray[Any]) -> None:
    """Adds integers (m,) to others in place, modulo 2^128."""
    total["low"] += words["low"]
    carried = total["low"] < words["low"]
    total["high"] += words["high"]
    total["high"] += carried


def subtract_long(total: NDArray[Any], words: NDArray[Any]) -> None:
    """Subtracts integers (m,) from others in place, modulo 2^128."""
    borrowed = total["low"] < words["low"]
    total["low"] -= words["low"]
    total["high"] -= words["high"]
    total["high"] -= borrowed
