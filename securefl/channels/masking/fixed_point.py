"""Fixed point: real coordinates as words of a ring, such that no sum of the agreed size wraps around.

Source: the quantisation of Bonawitz et al., "Federated learning with autotuned communication-efficient secure
aggregation", 2019, without its rotation.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.stream import WORDS
from securefl.rng import Keystream

_BLOCK = 32_768  # coordinates encoded at a time, so that the steps stay in the processor's cache
_FINEST = 2**44  # levels; float64 carries the values to within 2^-7 of such a level
_FLOAT64 = 2.0**-7


@dataclass(frozen=True)
class FixedPoint:
    """Coordinates in [-clip, clip] as multiples of clip / levels, for sums of at most `most` clients.

    Guarantees:
        - most * levels < 2^(ring - 1): no sum of honest vectors wraps around.
        - One coordinate is off by at most half a step ("nearest"), or by less than a step and on average by less than
          2^-32 of one ("stochastic"), beyond what clipping takes and float64's own rounding, at most 2^-7 of a step.

    Args:
        ring: bits of a word: 16, 32 or 64.
        clip: bound on one coordinate, > 0.
        rounding: to the nearest level, or up and down at random without bias.
        most: clients in one sum, at least 1.

    Raises:
        ValueError: an argument is out of its range, or the ring is too small for any level.
    """

    ring: int
    clip: float
    rounding: Literal["nearest", "stochastic"]
    most: int

    def __post_init__(self) -> None:
        if self.ring not in WORDS:
            raise ValueError(f"ring must be 16, 32 or 64, got {self.ring}")
        if not (math.isfinite(self.clip) and self.clip > sys.float_info.min * _FINEST):
            raise ValueError(f"clip must be a positive number, got {self.clip}")
        if self.rounding not in ("nearest", "stochastic"):
            raise ValueError(f"rounding must be nearest or stochastic, got {self.rounding!r}")
        if self.most < 1 or self.levels < 1:
            raise ValueError(f"a ring of 2^{self.ring} holds no sum of {self.most} clients")

    @property
    def word(self) -> np.dtype[Any]:
        """The type of a word, little-endian."""
        return WORDS[self.ring]

    @property
    def _signed(self) -> np.dtype[Any]:
        return np.dtype(self.word.str.replace("u", "i"))

    @property
    def levels(self) -> int:
        """The whole number that stands for `clip`."""
        return min(((1 << (self.ring - 1)) - 1) // self.most, _FINEST)

    @property
    def step(self) -> float:
        """The distance of two neighbouring values."""
        return self.clip / self.levels

    def encode(
        self, values: NDArray[np.float32], *, scale: float, stream: Keystream, out: NDArray[Any]
    ) -> None:
        """Write scale * values (d,), clipped first and rounded last, as words into out (d,).

        Args:
            values: (d,) float32.
            scale: the client's share of the largest weight, in (0, 1].
            stream: decides stochastic rounding; not read for "nearest".
            out: (d,) words of the ring.

        Infinities are clipped and NaNs become 0, by the same steps as any value: an error, or a slower path, would
        tell that a client's training overflowed, and so something about its records.

        Raises:
            ValueError: scale is not in (0, 1].
        """
        if not 0 < scale <= 1:
            raise ValueError(f"scale must be in (0, 1], got {scale}")
        signed, bound = out.view(self._signed), self.levels * scale  # clipped before it is scaled
        scaled, level, flags = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK, dtype=np.bool_)
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            x, q, flag = scaled[: len(block)], level[: len(block)], flags[: len(block)]
            np.multiply(block, scale / self.step, out=x, dtype=np.float64)
            np.clip(x, -bound, bound, out=x)
            np.copyto(x, 0.0, where=np.isnan(block, out=flag))
            if self.rounding == "nearest":
                np.rint(x, out=q)
            else:
                np.floor(x, out=q)
                x -= q
                x *= 2.0**32
                np.less(np.frombuffer(stream.bytes(4 * len(block)), dtype="<u4"), x, out=flag)
                q += flag
            signed[start : start + len(block)] = q

    def decode(self, total: NDArray[Any]) -> NDArray[np.float64]:
        """(d,) the real sum behind the words (d,) of a sum."""
        signed: NDArray[np.float64] = total.view(self._signed).astype(np.float64)
        return signed * self.step

    def bound(self, clients: int) -> float:
        """How far one coordinate of a sum of `clients` vectors can be from the sum of the clipped ones."""
        return clients * self.step * ((0.5 if self.rounding == "nearest" else 1.0) + _FLOAT64)
