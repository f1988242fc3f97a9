"""A public random rotation of updates: random signs, then a Walsh-Hadamard transform.

It spreads a vector over all of its coordinates, so that a small ring holds it on a finer grid.

Source: Kairouz, Liu and Steinke, ICML 2021, section 4; Ailon and Chazelle, STOC 2006.
"""

import hashlib
import math
import struct

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.noise import padded
from securefl.rng import Keystream

_TILE = 32_768  # numbers that are transformed at a time, in the processor's cache
# Roundings that are drawn of each vector. A worst one passes the bound with a chance of .39 a draw.
_DRAWS = 4


class Rotation:
    """The rotation of one round, which every member and the server compute by themselves.

    Args:
        session: 16 bytes that name the session.
        round: its number.
        d: coordinates of a vector.
    """

    def __init__(self, session: bytes, round: int, d: int) -> None:
        name = b"securefl masking 2, rotation" + session + struct.pack("<Q", round)
        bits = Keystream(hashlib.sha256(name).digest()).bytes(-(-d // 8))
        self._flips = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=d).view(np.bool_)

    def turned(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns a vector (d,) rotated, of the next power of two coordinates."""
        d = len(vector)
        turned = np.zeros(padded(d))
        turned[:d] = vector
        np.negative(turned[:d], out=turned[:d], where=self._flips)
        return hadamard(turned)

    def turned_back(self, turned: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the vector (d,) of a rotated one, or of a sum of rotated ones."""
        vector = hadamard(turned)[: len(self._flips)].copy()
        np.negative(vector, out=vector, where=self._flips)
        return vector


def hadamard(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the orthonormal Walsh-Hadamard transform of a vector (n,), n a power of two.

    The vector is a matrix whose columns are transformed, and then its rows. It is its own inverse.
    """
    rows = 1 << (len(vector).bit_length() // 2)
    matrix = vector.reshape(rows, -1)
    for _ in range(2):
        matrix = _columns(matrix).T
    return np.ascontiguousarray(matrix).reshape(-1)


def _columns(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns a matrix (rows, columns) with each column transformed."""
    rows, columns = matrix.shape
    transformed = np.empty((rows, columns))
    width = max(1, _TILE // rows)
    for start in range(0, columns, width):
        tile = np.array(matrix[:, start : start + width], order="C")
        half = 1
        while half < rows:
            pairs = tile.reshape(rows // (2 * half), 2, half, -1)
            difference = pairs[:, 0] - pairs[:, 1]
            pairs[:, 0] += pairs[:, 1]
            pairs[:, 1] = difference
            half *= 2
        tile *= 1 / math.sqrt(rows)
        transformed[:, start : start + width] = tile
    return transformed


def rounded_within(
    vector: NDArray[np.float64], *, largest: int, stream: Keystream
) -> NDArray[np.float64]:
    """Returns a vector (n,) rounded up or down at random, of a squared norm of at most `largest`.

    It is the first of four roundings that is within the bound, and all four are always drawn. A
    loop would take a time that depends on the vector, and so on records. Should none of them be
    within the bound, the vector is rounded towards zero, which makes no norm larger.

    Args:
        vector: (n,), in steps of the grid, of a squared norm below `largest`.
        largest: the bound.
        stream: decides the roundings.

    Source: Kairouz, Liu and Steinke, ICML 2021, section 4, "conditional randomised rounding".
    """
    lower = np.floor(vector)
    fractions = (vector - lower) * 2.0**32
    choices = [np.trunc(vector)]
    is_within = []
    for _ in range(_DRAWS):
        draws = np.frombuffer(stream.bytes(4 * len(vector)), dtype="<u4")
        choice = lower + (draws < fractions)
        # Exact: these are sums of squares of integers below 2^53.
        is_within.append(bool(choice @ choice <= largest))
        choices.append(choice)
    return choices[is_within.index(True) + 1 if True in is_within else 0]
