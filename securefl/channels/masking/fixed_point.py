"""Fixed point: real coordinates as words of a ring; no sum of the agreed size wraps around.

Source: the quantisation of Bonawitz et al., "Federated learning with autotuned
communication-efficient secure aggregation", 2019, without its rotation.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.stream import WORDS
from securefl.rng import Keystream

_BLOCK_COORDINATES = 32_768  # encoded at a time, so that all steps stay in the processor's cache
MAX_LEVELS = 2**44  # float64 then carries a value to within _FLOAT64_STEPS of a level
_FLOAT64_STEPS = 2.0**-7


@dataclass(frozen=True)
class FixedPoint:
    """Coordinates in [-clip, clip] as multiples of clip / levels, for sums of `most` clients.

    Args:
        ring: bits of a word: 16, 32 or 64.
        clip: bound on one coordinate, > 0.
        rounding: "nearest" rounds to the nearest level, "stochastic" up or down without bias.
        most: clients in one sum, at least 1.
        headroom: steps that a sum may be longer, for the noise in it.
        max_levels: the most levels.
        folded: sums beyond half of what words can hold are mirrored back towards zero.

    Raises:
        ValueError: an argument is out of its range, or the ring is too small for any level.

    Guarantees:
        - most * levels + headroom < 2^(ring - 1): no sum of honest vectors wraps around.
        - Folded, honest sums take half of that range, and any two sums are read no further apart
          than they are on the ring. Otherwise a client that does not clip could move a sum to the
          word where the sign turns over, and one step of another client would show as the largest
          difference that there is.
        - "nearest": one coordinate is off by at most half a step.
        - "stochastic": one coordinate is off by less than a step, and on average by less than 2^-32
          of a step.
        - Clipping comes on top of both, and float64's own rounding, at most 2^-7 of a step.
    """

    ring: int
    clip: float
    rounding: Literal["nearest", "stochastic"]
    most: int
    headroom: int = 0
    max_levels: int = MAX_LEVELS
    folded: bool = False

    coordinates: ClassVar[int] = 1  # in a word

    def __post_init__(self) -> None:
        if self.ring not in WORDS:
            raise ValueError(f"ring must be 16, 32 or 64, got {self.ring}")
        # Below this bound clip / levels would be subnormal, and lose digits.
        if not (math.isfinite(self.clip) and self.clip > sys.float_info.min * MAX_LEVELS):
            raise ValueError(f"clip must be a positive number, got {self.clip}")
        if self.rounding not in ("nearest", "stochastic"):
            raise ValueError(f"rounding must be nearest or stochastic, got {self.rounding!r}")
        if self.headroom < 0:
            raise ValueError(f"headroom must be at least 0, got {self.headroom}")
        if self.most < 1 or self.levels < 1:
            raise ValueError(f"a ring of 2^{self.ring} holds no sum of {self.most} clients")

    @property
    def word(self) -> np.dtype[Any]:
        """The type of a word, little-endian."""
        return WORDS[self.ring]

    @property
    def _signed(self) -> np.dtype[Any]:
        """The type that reads a word in two's complement."""
        return np.dtype(self.word.str.replace("u", "i"))

    @property
    def levels(self) -> int:
        """The integer that encodes `clip`."""
        room = (1 << (self.ring - 1 - self.folded)) - 1 - self.headroom
        return min(room // self.most, self.max_levels)

    @property
    def step(self) -> float:
        """The distance of two neighbouring values."""
        return self.clip / self.levels

    def to_json(self) -> list[Any]:
        """Returns all of it as JSON can hold it; room for noise is left out where there is none."""
        fields = [self.ring, self.clip.hex(), self.rounding, self.most]
        if self.folded:
            return [*fields, self.headroom, self.max_levels, "folded"]
        if (self.headroom, self.max_levels) == (0, MAX_LEVELS):
            return fields
        return [*fields, self.headroom, self.max_levels]

    def encode(
        self,
        values: NDArray[np.floating[Any]],
        *,
        scale: float,
        stream: Keystream,
        out: NDArray[Any],
    ) -> None:
        """Writes scale * values (d,), clipped first and rounded last, as words into out (d,).

        Infinities are clipped and NaNs become 0, by the same steps as any other value. An error, or
        a slower path, would reveal that a client's training overflowed, and so something about its
        records.

        Args:
            values: (d,) float32, or float64 where they were changed after training.
            scale: the client's share of the largest weight, in (0, 1].
            stream: decides stochastic rounding; not read for "nearest".
            out: (d,) words of the ring.

        Raises:
            ValueError: scale is not in (0, 1].
        """
        if not 0 < scale <= 1:
            raise ValueError(f"scale must be in (0, 1], got {scale}")
        signed = out.view(self._signed)
        # Buffers are allocated once, and every step writes in place.
        scaled = np.empty(_BLOCK_COORDINATES)
        level = np.empty(_BLOCK_COORDINATES)
        flags = np.empty(_BLOCK_COORDINATES, dtype=np.bool_)
        for start in range(0, len(values), _BLOCK_COORDINATES):
            block = values[start : start + _BLOCK_COORDINATES]
            size = len(block)
            x = scaled[:size]
            flag = flags[:size]
            self._scale_and_clip(block, scale, out=x, is_nan=flag)
            self._round(x, stream, out=level[:size], is_up=flag)
            signed[start : start + size] = level[:size]

    def _scale_and_clip(
        self,
        block: NDArray[np.floating[Any]],
        scale: float,
        *,
        out: NDArray[np.float64],
        is_nan: NDArray[np.bool_],
    ) -> None:
        """Writes scale * block in units of a step, within scale * levels; NaN becomes 0."""
        bound = self.levels * scale
        np.multiply(block, scale / self.step, out=out, dtype=np.float64)
        np.clip(out, -bound, bound, out=out)
        np.copyto(out, 0.0, where=np.isnan(block, out=is_nan))

    def _round(
        self,
        x: NDArray[np.float64],
        stream: Keystream,
        *,
        out: NDArray[np.float64],
        is_up: NDArray[np.bool_],
    ) -> None:
        """Writes x rounded to whole levels; x itself is overwritten."""
        if self.rounding == "nearest":
            np.rint(x, out=out)
            return
        # Up with probability x - floor(x): a 32-bit draw is below 2^32 times that fraction.
        np.floor(x, out=out)
        x -= out
        x *= 2.0**32
        draws = np.frombuffer(stream.bytes(4 * len(x)), dtype="<u4")
        np.less(draws, x, out=is_up)
        out += is_up

    def decode(self, total: NDArray[Any]) -> NDArray[np.float64]:
        """Returns (d,), the real sum behind the words (d,) of a sum."""
        signed = total.view(self._signed)
        if self.folded:
            # In whole numbers: the largest ones have no room in float64.
            signed = self._mirrored(signed)
        values: NDArray[np.float64] = signed.astype(np.float64)
        values *= self.step
        return values

    def _mirrored(self, signed: NDArray[Any]) -> NDArray[Any]:
        """Returns (d,) integers, with those beyond half of the range mirrored there."""
        largest = np.iinfo(signed.dtype).max
        sign = signed >> (self.ring - 1)  # 0, or -1 for negative ones
        # -1 - x is the counterpart of x, so that the smallest number has one, too.
        size: NDArray[Any] = signed ^ sign
        np.minimum(size, largest - size, out=size)
        size ^= sign
        return size

    def bound(self, clients: int) -> float:
        """Returns how far a coordinate of a sum can be from that of the clipped vectors.

        Args:
            clients: vectors in the sum.
        """
        rounding_steps = 0.5 if self.rounding == "nearest" else 1.0
        return clients * self.step * (rounding_steps + _FLOAT64_STEPS)
