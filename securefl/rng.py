"""Random numbers from one AES-256-CTR keystream.

The system keys it or, for repeatable runs, a seed.
"""

import copy
import hashlib
import math
import secrets
from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES = 32
AES_BYTES = 16  # a block of the cipher
# Of a float64.
SIGNIFICAND_BITS = 53
# Uniforms in a block of a few arrays that fit the cache of a processor together.
BLOCK = 8192
_ZEROS = bytes(8 * BLOCK)


class Keystream:
    """Bytes, integers, uniforms and normals from AES-256-CTR under one key.

    Guarantees:
        - Without the key, the output cannot be told from random (AES as a PRF).
        - The same key gives the same bytes, integers and uniforms on every machine. Normals need a
          logarithm and a cosine, and are the same for all x86 processors under one torch.

    Args:
        key: 32 bytes, used for nothing else.

    Raises:
        ValueError: key is not 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a keystream needs a key of 32 bytes, got {len(key)}")
        self._key = key
        self._position = 0
        # A counter from zero is safe because a key has one stream, never two.
        self._encryptor = self._encryptor_at(0)

    def _encryptor_at(self, block: int) -> CipherContext:
        counter = modes.CTR(block.to_bytes(AES_BYTES, "big"))
        return Cipher(algorithms.AES(self._key), counter).encryptor()

    def bytes(self, size: int) -> bytes:
        """Returns the next `size` bytes."""
        return bytes(self._next(size))

    def _next(self, size: int) -> memoryview:
        """Returns the next `size` bytes, in memory of their own."""
        self._position += size
        buffer = memoryview(bytearray(size + AES_BYTES))
        # The encryption of zeros is the keystream itself.
        self._encryptor.update_into(_ZEROS[:size] if size <= len(_ZEROS) else bytes(size), buffer)
        return buffer[:size]

    def _ahead(self, size: int) -> Self:
        """Returns a second reader of this stream, `size` bytes further on."""
        reader = copy.copy(self)
        reader._position += size
        block, rest = divmod(reader._position, AES_BYTES)
        reader._encryptor = self._encryptor_at(block)
        reader._encryptor.update(bytes(rest))
        return reader

    def integers(self, size: int) -> NDArray[np.uint64]:
        """Returns (size,) uniform 64-bit integers."""
        return np.frombuffer(self._next(8 * size), dtype="<u8")

    def uniform(self, size: int) -> NDArray[np.float64]:
        """Returns (size,) uniforms on the 2^53 multiples of 2^-53 in (0, 1]."""
        high_bits = self.integers(size) >> np.uint64(64 - SIGNIFICAND_BITS)
        # One more, so that zero is never drawn: the normals take a logarithm.
        values = high_bits.astype(np.float64)
        values += 1.0
        values *= 2.0**-SIGNIFICAND_BITS
        return values

    def normal(self, size: int) -> NDArray[np.float64]:
        """Returns (size,) standard normals, float64."""
        total = np.zeros(size)
        self.add_normal(total)
        return total

    def add_normal(self, total: NDArray[np.float64]) -> None:
        """Adds a standard normal to every entry of total (size,).

        The stream gives the radii of all pairs, then their angles. A second reader takes the
        angles, so that a block of both fits the processor's cache.

        Source: Box and Muller, Annals of Mathematical Statistics 1958.
        """
        half = (total.size + 1) // 2
        cosines, sines = total[:half], total[half:]
        # Where all radii are one block, the angles follow it.
        angles = self if half <= BLOCK else self._ahead(8 * half)
        for start in range(0, half, BLOCK):
            block = slice(start, min(start + BLOCK, half))
            size = block.stop - start
            radius = torch.from_numpy(self.uniform(size)).log_().mul_(-2.0).sqrt_()
            angle = torch.from_numpy(angles.uniform(size)).mul_(2.0 * math.pi)
            cosines[block] += (radius * angle.cos()).numpy()
            # An odd size leaves the last sine out.
            last = sines[block]
            last += (radius * angle.sin()).numpy()[: last.size]
        self._position, self._encryptor = angles._position, angles._encryptor

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
