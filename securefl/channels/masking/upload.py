"""A client's masked upload: its update in fixed point, under its share of noise and all its masks.

Encoding, noise and masks go chunk by chunk, so that each part of a large update is in the
processor's cache once.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.long_integers import LongIntegers
from securefl.channels.masking.noise import SumNoise
from securefl.channels.masking.replies import MaskedInput
from securefl.channels.masking.rotation import Rotation, rounded_within
from securefl.channels.masking.round_state import RoundState
from securefl.channels.masking.stream import CHUNK_BYTES, Masks
from securefl.channels.protocol import ClientUpdate
from securefl.privacy.noise.discrete import discrete_gaussian
from securefl.rng import Keystream

_LARGEST = float(np.finfo(np.float32).max)
_BLOCK_COORDINATES = 32_768  # of a norm, at a time


def masked_input(
    update: ClientUpdate,
    weight: int,
    state: RoundState,
    terms: Agreement,
    *,
    masks: Masks,
    stream: Keystream,
    share_stream: Keystream | None,
) -> MaskedInput:
    """Returns an upload that still lacks its tag.

    Args:
        update: delta (d,).
        weight: of this client, 1 to the largest weight.
        state: of the round, ready to submit.
        terms: of the session.
        masks: this client's self mask and its pair masks.
        stream: decides stochastic rounding.
        share_stream: makes this client's share of noise; None where the terms have none.

    Raises:
        ValueError: the terms have noise, and no stream makes it.
    """
    if (terms.noise is None) != (share_stream is None):
        raise ValueError("a share of noise needs a stream, and only there")
    upload = MaskedInput.blank(
        terms.session, state.round, state.own.sender, weight, m=terms.words, word=terms.code.word
    )
    values = update.delta.detach().numpy().astype(np.float32, copy=False)
    scale = weight / terms.max_weight
    if terms.rotates:
        _write_rotated(values, scale, state.round, terms, stream=stream, out=upload.words)
        parts = iter(_chunks(upload.words))
    else:
        parts = _encoded(values, scale, terms, stream=stream, out=upload.words)
    for chunk, part in enumerate(parts):
        if terms.noise is not None and share_stream is not None:
            add_share(part, terms.noise, stream=share_stream)
        masks.add_to(part, chunk=chunk)
    return upload


def _encoded(
    values: NDArray[np.float32],
    scale: float,
    terms: Agreement,
    *,
    stream: Keystream,
    out: NDArray[Any],
) -> Iterator[NDArray[Any]]:
    """Writes scale * values into out, and yields its chunks as they are done."""
    noise = terms.noise
    factor = None if noise is None else _factor(values, scale, noise)
    width = terms.code.coordinates
    start = 0
    for part in _chunks(out):
        block = values[start : start + len(part) * width]
        if factor is None:
            terms.code.encode(block, scale=scale, stream=stream, out=part)
        else:
            # The largest norm of an update fits into the grid, so no coordinate is cut here.
            terms.code.encode(factor * _finite(block), scale=1.0, stream=stream, out=part)
        start += len(block)
        yield part


def _write_rotated(
    values: NDArray[np.float32],
    scale: float,
    round: int,
    terms: Agreement,
    *,
    stream: Keystream,
    out: NDArray[Any],
) -> None:
    """Writes scale * values, rotated and rounded, into out (m,), m a power of two."""
    code, noise = terms.code, terms.noise
    if isinstance(code, LongIntegers) or noise is None or noise.largest is None:
        raise ValueError("only updates under noise are rotated")
    vector = _finite(values)
    vector *= _factor(values, scale, noise)
    turned = Rotation(terms.session, round, terms.d).turned(vector)
    turned /= code.step
    np.clip(turned, -code.levels, code.levels, out=turned)
    rounded = rounded_within(turned, largest=noise.largest, stream=stream)
    out[:] = rounded.astype(np.int64).astype(out.dtype)


def add_share(part: NDArray[Any], noise: SumNoise, *, stream: Keystream) -> None:
    """Adds one client's share of noise to words (m,) in place, modulo the ring."""
    share = discrete_gaussian(len(part), sigma=noise.share, stream=stream)
    part += share.astype(part.dtype)


def _chunks(words: NDArray[Any]) -> list[NDArray[Any]]:
    step = CHUNK_BYTES // words.dtype.itemsize
    return [words[start : start + step] for start in range(0, len(words), step)]


def _finite(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns values in float64: NaN becomes 0, and an infinity the largest float32."""
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)


def _factor(values: NDArray[np.float32], scale: float, noise: SumNoise) -> float:
    """Returns the factor, at most `scale`, that brings values (d,) to the norm that noise covers.

    A longer update is shortened, never refused: a refusal would tell the server about records. And
    a projection moves no two updates further apart.
    """
    blocks = range(0, len(values), _BLOCK_COORDINATES)
    finite = (_finite(values[start : start + _BLOCK_COORDINATES]) for start in blocks)
    norm = scale * math.sqrt(math.fsum(float(block @ block) for block in finite))
    return scale * (noise.length / max(norm, noise.length))
