"""Random numbers: one AES-256-CTR keystream, keyed by the system or, for repeatable runs, by a seed."""

import hashlib
import math
import secrets
from collections.abc import Callable

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

_MANTISSA = 53  # bits of a float64 significand


class Keystream:
    """Bytes, integers, uniforms and normals from AES-256-CTR under one key.

    Guarantees:
        - Whoever does not know the key cannot tell the output from random (AES as a PRF).
        - The same key gives the same numbers on every machine.

    Args:
        key: 32 bytes, used for nothing else.

    Raises:
        ValueError: key is not 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError(f"a keystream needs a key of 32 bytes, got {len(key)}")
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def bytes(self, size: int) -> bytes:
        """The next `size` bytes."""
        return self._encryptor.update(bytes(size))

    def integers(self, size: int) -> NDArray[np.uint64]:
        """(size,) uniform 64-bit integers."""
        return np.frombuffer(self.bytes(8 * size), dtype="<u8")

    def uniform(self, size: int) -> NDArray[np.float64]:
        """(size,) uniforms on the 2^53 multiples of 2^-53 in (0, 1]."""
        kept = (self.integers(size) >> np.uint64(64 - _MANTISSA)).astype(np.float64)
        return (kept + 1.0) * 2.0**-_MANTISSA

    def normal(self, size: int) -> NDArray[np.float64]:
        """(size,) standard normals, float64.

        Source: Box and Muller, Annals of Mathematical Statistics 1958.
        """
        half = (size + 1) // 2
        radius = np.sqrt(-2.0 * np.log(self.uniform(half)))
        angle = (2.0 * math.pi) * self.uniform(half)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]

    def bernoulli(self, size: int, *, probability: float) -> NDArray[np.bool_]:
        """(size,) independent coins; each is True with `probability` rounded down to a multiple of 2^-64."""
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}")
        threshold = int(math.ldexp(probability, 64))
        if threshold >= 2**64:
            return np.ones(size, dtype=np.bool_)
        return self.integers(size) < np.uint64(threshold)

    def permutation(self, size: int) -> NDArray[np.int64]:
        """(size,) the integers below size in random order (two equal 64-bit draws would keep theirs)."""
        return np.argsort(self.integers(size), kind="stable").astype(np.int64)

    def torch_generator(self) -> torch.Generator:
        """A torch generator for shuffles and initial weights; never for noise that claims DP."""
        return torch.Generator().manual_seed(int(self.integers(1)[0] >> np.uint64(1)))


StreamFor = Callable[[str, int, int], Keystream]  # purpose, client, round


def system_keystream() -> Keystream:
    """A keystream under a fresh key from the system's CSPRNG."""
    return Keystream(secrets.token_bytes(32))


def seeded_keystream(seed: int, purpose: str, *path: int) -> Keystream:
    """The keystream that seed, purpose and path name; repeatable, so worthless as DP noise."""
    name = "/".join(["securefl", str(seed), purpose, *map(str, path)])
    return Keystream(hashlib.sha256(name.encode()).digest())
