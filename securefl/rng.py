"""Random numbers from one AES-256-CTR keystream.

The system keys it or, for repeatable runs, a seed.
"""

import hashlib
import math
import secrets
from collections.abc import Callable

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES = 32
# Of a float64.
SIGNIFICAND_BITS = 53


class Keystream:
    """Bytes, integers, uniforms and normals from AES-256-CTR under one key.

    Guarantees:
        - Without the key, the output cannot be told from random (AES as a PRF).
        - The same key gives the same numbers on every machine.

    Args:
        key: 32 bytes, used for nothing else.

    Raises:
        ValueError: key is not 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a keystream needs a key of 32 bytes, got {len(key)}")
        # A counter from zero is safe because a key has one stream, never two.
        first_counter = modes.CTR(bytes(16))
        self._encryptor = Cipher(algorithms.AES(key), first_counter).encryptor()

    def bytes(self, size: int) -> bytes:
        """Returns the next `size` bytes."""
        # The encryption of zeros is the keystream itself.
        return self._encryptor.update(bytes(size))

    def integers(self, size: int) -> NDArray[np.uint64]:
        """Returns (size,) uniform 64-bit integers."""
        return np.frombuffer(self.bytes(8 * size), dtype="<u8")

    def uniform(self, size: int) -> NDArray[np.float64]:
        """Returns (size,) uniforms on the 2^53 multiples of 2^-53 in (0, 1]."""
        high_bits = self.integers(size) >> np.uint64(64 - SIGNIFICAND_BITS)
        # One more, so that zero is never drawn: the normals take a logarithm.
        return (high_bits.astype(np.float64) + 1.0) * 2.0**-SIGNIFICAND_BITS

    def normal(self, size: int) -> NDArray[np.float64]:
        """Returns (size,) standard normals, float64.

        Source: Box and Muller, Annals of Mathematical Statistics 1958.
        """
        half = (size + 1) // 2
        radius = np.sqrt(-2.0 * np.log(self.uniform(half)))
        angle = (2.0 * math.pi) * self.uniform(half)
        cosines = radius * np.cos(angle)
        sines = radius * np.sin(angle)
        return np.concatenate([cosines, sines])[:size]

    def bernoulli(self, size: int, *, probability: float) -> NDArray[np.bool_]:
        """Returns (size,) independent coins, each True with the probability.

        Args:
            size: number of coins.
            probability: in [0, 1]; rounded down to a multiple of 2^-64.

        Raises:
            ValueError: probability is outside [0, 1].
        """
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {probability}")
        threshold = int(math.ldexp(probability, 64))
        # A probability of one has a threshold that 64 bits cannot hold.
        if threshold >= 2**64:
            return np.ones(size, dtype=np.bool_)
        return self.integers(size) < np.uint64(threshold)

    def permutation(self, size: int) -> NDArray[np.int64]:
        """Returns the integers below `size`, (size,), in random order.

        Two equal 64-bit draws would keep their order, which has a negligible chance.
        """
        return np.argsort(self.integers(size), kind="stable").astype(np.int64)

    def torch_generator(self) -> torch.Generator:
        """Returns a torch generator for shuffles and initial weights.

        It must never make noise that claims DP: torch's generator is not cryptographic.
        """
        seed = int(self.integers(1)[0] >> np.uint64(1))
        return torch.Generator().manual_seed(seed)


# (purpose, client, round) -> stream.
StreamFor = Callable[[str, int, int], Keystream]


def system_keystream() -> Keystream:
    """Returns a keystream under a fresh key from the system's CSPRNG."""
    return Keystream(secrets.token_bytes(KEY_BYTES))


def seeded_keystream(seed: int, purpose: str, *path: int) -> Keystream:
    """Returns the keystream named by seed, purpose and path.

    It is repeatable, so it is worthless as DP noise.
    """
    name = "/".join(["securefl", str(seed), purpose, *map(str, path)])
    return Keystream(hashlib.sha256(name.encode()).digest())
