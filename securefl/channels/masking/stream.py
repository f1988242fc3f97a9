"""The mask stream: AES-256 in counter mode, chunk by chunk, added into one vector.

Chunk j of exactly 262,144 bytes is AES-256-CTR from the first counter block j (12 bytes,
big-endian) || 00000002, with a 32-bit counter. Its words are little-endian; the last chunk is cut.

These bytes equal the ciphertext of zeros under AES-256-GCM with the nonce j, its tag dropped.
OpenSSL has a faster path for GCM on processors with wide AES instructions. The quicker of the two
ways is measured once a process.

Source: NIST SP 800-38A (CTR) and SP 800-38D, section 6.5 (the counter within GCM).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from securefl.channels.masking.keys import KEY_BYTES, TAG_BYTES
from securefl.channels.masking.long_integers import LONG, add_long, subtract_long

CHUNK_BYTES = 262_144
WORDS: Mapping[int, np.dtype[Any]] = {  # bits of the ring -> word
    16: np.dtype("<u2"),
    32: np.dtype("<u4"),
    64: np.dtype("<u8"),
}

Write = Callable[
    [int, int, memoryview], object
]  # chunk, bytes, buffer: writes a chunk's first bytes
Path = Callable[[bytes], Write]  # key -> how its chunks are written
_ZEROS = memoryview(bytes(CHUNK_BYTES))
_TIMED_RUNS = 5


def by_ctr(key: bytes) -> Write:
    """Returns a writer that uses counter mode, the definition of the stream."""
    cipher = algorithms.AES256(key)

    def write(chunk: int, size: int, buffer: memoryview) -> object:
        counter = modes.CTR(_nonce(chunk) + b"\0\0\0\2")
        return Cipher(cipher, counter).encryptor().update_into(_ZEROS[:size], buffer)

    return write


def by_gcm(key: bytes) -> Write:
    """Returns a writer that gets the same bytes from Galois/counter mode; their tag is not used."""
    aead = AESGCM(key)

    def write(chunk: int, size: int, buffer: memoryview) -> object:
        # GCM writes its tag behind the ciphertext.
        out = buffer[: size + TAG_BYTES]
        return aead.encrypt_into(_nonce(chunk), _ZEROS[:size], None, out)

    return write


def _nonce(chunk: int) -> bytes:
    return chunk.to_bytes(12, "big")


@cache
def fastest() -> Path:
    """Returns the quicker way on this machine, by the best of five short runs each."""
    return min((by_ctr, by_gcm), key=_seconds)


def _seconds(path: Path) -> float:
    vector = np.zeros(CHUNK_BYTES // 4, dtype=WORDS[32])
    durations = []
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        add_masks(vector, plus=[bytes(KEY_BYTES)], path=path)
        durations.append(time.perf_counter() - started)
    return min(durations)


def add_words(total: NDArray[Any], words: NDArray[Any]) -> None:
    """Adds words (m,) to others of the same ring in place."""
    if total.dtype == LONG:
        add_long(total, words)
    else:
        np.add(total, words, out=total)


def subtract_words(total: NDArray[Any], words: NDArray[Any]) -> None:
    """Subtracts words (m,) from others of the same ring in place."""
    if total.dtype == LONG:
        subtract_long(total, words)
    else:
        np.subtract(total, words, out=total)


class Masks:
    """Mask streams, some to be added to a vector and some to be subtracted, chunk by chunk.

    Args:
        plus: keys of 32 bytes whose streams are added. A key must be used for nothing else.
        minus: keys whose streams are subtracted.
        path: how the bytes are made; the quicker way by default.

    Raises:
        ValueError: a key is not 32 bytes.
    """

    def __init__(
        self, *, plus: Sequence[bytes] = (), minus: Sequence[bytes] = (), path: Path | None = None
    ) -> None:
        for key in (*plus, *minus):
            if len(key) != KEY_BYTES:
                raise ValueError(f"a mask stream needs a key of {KEY_BYTES} bytes, got {len(key)}")
        make = path or fastest()
        added = [(make(key), add_words) for key in plus]
        subtracted = [(make(key), subtract_words) for key in minus]
        self._streams = added + subtracted
        self._buffer = bytearray(CHUNK_BYTES + TAG_BYTES)

    def add_to(self, part: NDArray[Any], *, chunk: int) -> None:
        """Adds this chunk of every stream to `part` in place, modulo the ring.

        Args:
            part: unsigned little-endian words of 16, 32, 64 or 128 bits, at most a chunk of them.
            chunk: the number of the chunk.

        Raises:
            ValueError: part is not one of these word types, or is longer than a chunk.
        """
        if part.dtype != LONG and part.dtype not in WORDS.values():
            raise ValueError(
                f"a mask is added to words of 16, 32, 64 or 128 bits, got {part.dtype}"
            )
        if part.nbytes > CHUNK_BYTES:
            raise ValueError(f"a chunk has at most {CHUNK_BYTES} bytes, got {part.nbytes}")
        words = np.frombuffer(self._buffer, dtype=part.dtype, count=len(part))
        buffer = memoryview(self._buffer)
        # All streams go through one buffer, so that `part` stays in the processor's cache.
        for write, combine in self._streams:
            write(chunk, part.nbytes, buffer)
            combine(part, words)


def add_masks(
    vector: NDArray[Any],
    *,
    plus: Sequence[bytes] = (),
    minus: Sequence[bytes] = (),
    path: Path | None = None,
) -> None:
    """Adds and subtracts whole streams, as `Masks` does; reads each part of the vector once.

    Raises:
        ValueError: vector is not of one of the word types, or a key is not 32 bytes.
    """
    masks = Masks(plus=plus, minus=minus, path=path)
    for chunk, part in enumerate(chunks(vector)):
        masks.add_to(part, chunk=chunk)


def chunks(vector: NDArray[Any]) -> list[NDArray[Any]]:
    """Returns the vector (m,) as views of one chunk each; one empty view if m is 0."""
    step = CHUNK_BYTES // vector.dtype.itemsize
    starts = range(0, max(len(vector), 1), step)
    return [vector[start : start + step] for start in starts]
