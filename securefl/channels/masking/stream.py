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
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

CHUNK_BYTES = 262_144
WORDS: Mapping[int, np.dtype[Any]] = {16: np.dtype("<u2"), 32: np.dtype("<u4"), 64: np.dtype("<u8")}  # ring -> word

Path = Callable[[algorithms.AES256, int], CipherContext]  # key, chunk -> a context that encrypts that chunk
_ZEROS = bytes(CHUNK_BYTES)
_NONCE_BYTES = 12
_SPARE = 15  # update_into wants room for one block less a byte


def by_ctr(key: algorithms.AES256, chunk: int) -> CipherContext:
    """Counter mode, the definition."""
    return Cipher(key, modes.CTR(chunk.to_bytes(_NONCE_BYTES, "big") + b"\0\0\0\2")).encryptor()


def by_gcm(key: algorithms.AES256, chunk: int) -> CipherContext:
    """The same bytes from Galois/counter mode; its tag is never computed."""
    return Cipher(key, modes.GCM(chunk.to_bytes(_NONCE_BYTES, "big"))).encryptor()


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


def add_masks(
    vector: NDArray[Any], *, plus: Sequence[bytes] = (), minus: Sequence[bytes] = (), path: Path | None = None
) -> None:
    """Add the streams of some keys to `vector` in place and subtract those of others, modulo 2^16, 2^32 or 2^64.

    Chunk by chunk with all keys, so that each part of the vector is read from memory once.

    Args:
        vector: (m,) unsigned little-endian words of 16, 32 or 64 bits, changed in place.
        plus: keys of 32 bytes, each used for nothing else.
        minus: the same.
        path: how the bytes are made; the quicker way by default.

    Raises:
        ValueError: vector is not one of the three word types, or a key is not 32 bytes.
    """
    if vector.dtype not in WORDS.values():
        raise ValueError(f"a mask is added to words of 16, 32 or 64 bits, got {vector.dtype}")
    ciphers = [(_aes(key), np.add) for key in plus] + [(_aes(key), np.subtract) for key in minus]
    make, step = path or fastest(), CHUNK_BYTES // vector.dtype.itemsize
    buffer = bytearray(min(CHUNK_BYTES, vector.nbytes) + _SPARE)
    words = np.frombuffer(buffer, dtype=vector.dtype, count=(len(buffer) - _SPARE) // vector.dtype.itemsize)
    zeros = memoryview(_ZEROS)
    for chunk, start in enumerate(range(0, len(vector), step)):
        part = vector[start : start + step]
        for cipher, combine in ciphers:
            make(cipher, chunk).update_into(zeros[: part.nbytes], buffer)
            combine(part, words[: len(part)], out=part)


def _aes(key: bytes) -> algorithms.AES256:
    if len(key) != 32:
        raise ValueError(f"a mask stream needs a key of 32 bytes, got {len(key)}")
    return algorithms.AES256(key)
