"""A client's update in fixed point, of a norm whose sketch does not wrap around."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.protocol import ClientUpdate
from securefl.rng import Keystream

# A sum of this many times the clients fits into a word, so that a coordinate of a sketch, which
# adds up half of all coordinates with random signs, fits as well.
ROOM = 8
_LARGEST_NORM = 4 / 3  # times clip and clients
_BLOCK_COORDINATES = 32_768  # of a norm, at a time


def encoded_words(
    update: ClientUpdate, weight: int, terms: Agreement, *, stream: Keystream
) -> NDArray[Any]:
    """Returns the words (m,) of an update before any mask, as its sketch and its upload take them.

    A coordinate of an honest sketch is normal with a standard deviation of at most 2^31 / 8.4, so
    that it wraps around with a probability below 2^-55.

    Args:
        update: delta (d,).
        weight: of this client.
        terms: of the session.
        stream: decides stochastic rounding.
    """
    code = terms.code
    if not isinstance(code, FixedPoint):
        raise ValueError("sketches are taken of updates in fixed point")
    values = update.delta.detach().numpy().astype(np.float32, copy=False)
    scale = weight / terms.max_weight
    words = np.empty(terms.words, dtype=code.word)
    factor = _factor(values, scale, code)
    code.encode(values, scale=scale * factor, stream=stream, out=words)
    return words


def _factor(values: NDArray[np.float32], scale: float, code: FixedPoint) -> float:
    """Returns the factor, at most 1, that brings values (d,) to the largest norm.

    A longer update is shortened, never refused: everybody would see a refusal, and learn that this
    client's update is long.
    """
    largest = _LARGEST_NORM * code.clip * (code.most // ROOM)
    blocks = range(0, len(values), _BLOCK_COORDINATES)
    clipped = (_clipped(values[i : i + _BLOCK_COORDINATES], code.clip) for i in blocks)
    norm = scale * math.sqrt(math.fsum(float(block @ block) for block in clipped))
    return largest / max(norm, largest)


def _clipped(values: NDArray[np.float32], clip: float) -> NDArray[np.float64]:
    """Returns the coordinates that `FixedPoint.encode` would encode, in float64."""
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0)
    return np.clip(finite, -clip, clip, out=finite)
