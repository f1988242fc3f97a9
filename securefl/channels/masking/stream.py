"""The mask stream: AES-256 in counter mode, chunk by chunk, added into one vector.

Chunk j of exactly 262,144 bytes is AES-256-CTR from the first counter block j (12 bytes, big-endian) || 00000002 with a
32-bit counter; its words are little-endian, the last chunk is cut. That is the ciphertext of zeros under AES-256-GCM
with the nonce j, tag dropped, and OpenSSL has a faster path for GCM on processors with wide AES instructions. Both
give the same bytes; which one runs is measured once a process.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

CHUNK_BYTES = 262_144
WORDS: Mapping[int, np.dtype[Any]] = {
    16: np.dtype("<u2"),
    32: np.dtype("<u4"),
    64: np.dtype("<u8"),
}  # ring -> word

Write = Callable[
    [int, int, memoryview], object
]  # chunk, size, buffer: write the first bytes of that chunk
Path = Callable[[bytes], Write]  # key -> how its chunks are written
_ZEROS = memoryview(bytes(CHUNK_BYTES))
_SPARE = 16  # room behind a chunk for the tag that GCM writes there


def by_ctr(key: bytes) -> Write:
    """Counter mode, the definition."""
    cipher = algorithms.AES256(key)

    def write(chunk: int, size: int, buffer: memoryview) -> object:
        counter = modes.CTR(_nonce(chunk) + b"\0\0\0\2")
        return Cipher(cipher, counter).encryptor().update_into(_ZEROS[:size], buffer)

    return write


def by_gcm(key: bytes) -> Write:
    """The same bytes from Galois/counter mode; the tag behind them is not used."""
    aead = AESGCM(key)
    return lambda chunk, size, buffer: aead.encrypt_into(
        _nonce(chunk), _ZEROS[:size], None, buffer[: size + _SPARE]
    )


def _nonce(chunk: int) -> bytes:
    return chunk.to_bytes(12, "big")


@cache
def fastest() -> Path:
    """The quicker of the two on this machine, by the best of five short runs each."""
    return min((by_ctr, by_gcm), key=_seconds)


def _seconds(path: Path) -> float:
    vector = np.zeros(CHUNK_BYTES // 4, dtype=WORDS[32])
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        add_masks(vector, plus=[bytes(32)], path=path)
        taken.append(time.perf_counter() - started)
    return min(taken)


class Masks:
    """The streams of some keys, to be added to a vector chunk by chunk, and those of others to be subtracted.

    Args:
        plus: keys of 32 bytes, each used for nothing else.
        minus: the same.
        path: how the bytes are made; the quicker way by default.

    Raises:
        ValueError: a key is not 32 bytes.
    """

    def __init__(
        self, *, plus: Sequence[bytes] = (), minus: Sequence[bytes] = (), path: Path | None = None
    ) -> None:
        if wrong := [key for key in (*plus, *minus) if len(key) != 32]:
            raise ValueError(f"a mask stream needs a key of 32 bytes, got {len(wrong[0])}")
        make = path or fastest()
        self._streams = [(make(key), np.add) for key in plus] + [
            (make(key), np.subtract) for key in minus
        ]
        self._buffer = bytearray(CHUNK_BYTES + _SPARE)

    def add_to(self, part: NDArray[Any], *, chunk: int) -> None:
        """Add this chunk of every stream to `part` in place, modulo 2^16, 2^32 or 2^64.

        Args:
            part: unsigned little-endian words of 16, 32 or 64 bits, at most a chunk of them.
            chunk: the number of the chunk.

        Raises:
            ValueError: part is not one of the three word types, or is longer than a chunk.
        """
        if part.dtype not in WORDS.values():
            raise ValueError(f"a mask is added to words of 16, 32 or 64 bits, got {part.dtype}")
        if part.nbytes > CHUNK_BYTES:
            raise ValueError(f"a chunk has at most {CHUNK_BYTES} bytes, got {part.nbytes}")
        words = np.frombuffer(self._buffer, dtype=part.dtype, count=len(part))
        buffer, size = memoryview(self._buffer), part.nbytes
        for write, combine in self._streams:
            write(chunk, size, buffer)
            combine(part, words, out=part)


def add_masks(
    vector: NDArray[Any],
    *,
    plus: Sequence[bytes] = (),
    minus: Sequence[bytes] = (),
    path: Path | None = None,
) -> None:
    """Add and subtract whole streams, as `Masks` does; each part of the vector is read from memory once.

    Raises:
        ValueError: vector is not one of the three word types, or a key is not 32 bytes.
    """
    masks = Masks(plus=plus, minus=minus, path=path)
    for chunk, part in enumerate(chunks(vector)):
        masks.add_to(part, chunk=chunk)


def chunks(vector: NDArray[Any]) -> list[NDArray[Any]]:
    """The vector (m,) as views of one chunk each; one empty view where m is 0."""
    step = CHUNK_BYTES // vector.dtype.itemsize
    return [vector[start : start + step] for start in range(0, max(len(vector), 1), step)]
