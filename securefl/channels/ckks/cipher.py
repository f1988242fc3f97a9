"""CKKS by TenSEAL: 2048 numbers a ciphertext, sums of ciphertexts, and nothing else.

Ring degree N = 4096 with coefficient moduli of 54 and 55 bits. Their 109 bits are the most that
128-bit security allows (Albrecht et al., Homomorphic Encryption Standard 2018, table 1, ternary
secrets). Sums need no further level.

Clients encrypt with the secret key, which each of them holds. Compared with a public key this takes
a third of the time and leaves a fifth of the noise, and nobody without the key can encrypt.

Source: Cheon, Kim, Kim and Song, ASIACRYPT 2017. TenSEAL is imported in this file only.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
import tenseal
from numpy.typing import NDArray

from securefl.channels.ckks.terms import DEGREE, KEY_ID_BYTES, MODULUS_BITS, SCALE_BITS, SLOTS
from securefl.channels.ckks.wire import Wire
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

_SCALE = 2.0**SCALE_BITS
_MAX_KEY_BYTES = 2**18


@dataclass(frozen=True)
class KeyHolder:
    """The secret key of a session, which every client holds and the server never gets.

    Make one with `generate`, and give its `to_bytes` to the other clients over a channel that the
    server cannot read.
    """

    _secret: bytes = field(repr=False)
    _context: Any = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> "KeyHolder":
        """Returns a fresh key from the library's system-seeded generator."""
        context = _fresh_context()
        return cls(_serialized(context, secret=True), context)

    @classmethod
    def from_bytes(cls, secret: bytes) -> "KeyHolder":
        """Returns the key that another client made.

        Raises:
            ProtocolError: the bytes are no key, or a key of other parameters.
        """
        context = _key_context(secret)
        if context is None:
            raise ProtocolError("these are not the bytes of a CKKS key of our parameters")
        return cls(secret, context)

    def to_bytes(self) -> bytes:
        """Returns the secret key. Its readers can open every update of the session."""
        return self._secret

    def public_parameters(self) -> bytes:
        """Returns the server's part: the parameters, and no key of any kind."""
        return _parameters(self._context)

    @cached_property
    def key_id(self) -> bytes:
        """32 bytes that name the key without revealing it.

        Messages under another key are refused by their key id.
        """
        return hashlib.sha256(b"securefl/ckks/key id\0" + self._secret).digest()[:KEY_ID_BYTES]

    def encrypt(self, values: NDArray[np.float64]) -> list[bytes]:
        """Returns ceil(n / 2048) ciphertexts of values (n,), the last one padded with zeros."""
        padded = np.zeros(SLOTS * math.ceil(len(values) / SLOTS))
        padded[: len(values)] = values
        parts = padded.reshape(-1, SLOTS)
        return Ciphertexts.dump([tenseal.ckks_vector(self._context, part) for part in parts])

    def open(self, ciphertexts: Sequence[Any]) -> NDArray[np.float64]:
        """Returns the numbers (2048 x ciphertexts,) in ciphertexts of this holder's loader."""
        return np.concatenate([np.array(ciphertext.decrypt()) for ciphertext in ciphertexts])

    def ciphertexts(self) -> "Ciphertexts":
        """Returns a loader of ciphertexts that `open` can decrypt."""
        return Ciphertexts(self._context)


class Ciphertexts:
    """Loads ciphertexts and adds them; it cannot decrypt unless its context holds the key.

    Args:
        context: of TenSEAL.
    """

    def __init__(self, context: Any) -> None:
        self._context = context

    @classmethod
    def without_key(cls, public_parameters: bytes) -> "Ciphertexts":
        """Returns the server's loader."""
        return cls(tenseal.context_from(public_parameters, n_threads=1))

    def load(self, message: Packet) -> Any:
        """Returns one ciphertext of 2048 numbers.

        Raises:
            ProtocolError: it is no ciphertext of our parameters, or it encrypts nothing.
        """
        try:
            vector = tenseal.ckks_vector_from(self._context, _wire().unpack(message))
        except RuntimeError:  # a coefficient is not below the modulus
            raise ProtocolError("this is not a ciphertext of our parameters") from None
        # A transparent ciphertext is a plaintext in disguise: all but its first part is zero.
        if vector.ciphertext()[0].is_transparent():
            raise ProtocolError("this ciphertext can be read by everybody")
        return vector

    def add(self, total: list[Any], messages: Sequence[Packet]) -> None:
        """Adds ciphertext by ciphertext in place, all or none.

        One message is unpacked at a time, whatever the size of the update.

        Raises:
            ProtocolError: as `load`, or a message is the negation of the sum. The total is what it
                was before.
        """
        for done, (ciphertext, message) in enumerate(zip(total, messages, strict=True)):
            try:
                total[done] = ciphertext + self.load(message)
            except (ProtocolError, RuntimeError) as reason:
                # Subtracting is exact: ciphertexts are vectors of residues.
                for i, added in enumerate(messages[:done]):
                    total[i] = total[i] - self.load(added)
                raise ProtocolError(f"an update that cannot be added: {reason}") from None

    @staticmethod
    def dump(ciphertexts: Sequence[Any]) -> list[bytes]:
        """Returns the ciphertexts as they travel, `CIPHERTEXT_BYTES` each."""
        return [_wire().pack(ciphertext.serialize()) for ciphertext in ciphertexts]


def _fresh_context() -> Any:
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        poly_modulus_degree=DEGREE,
        coeff_mod_bit_sizes=list(MODULUS_BITS),
        encryption_type=tenseal.ENCRYPTION_TYPE.SYMMETRIC,
        n_threads=1,
    )
    context.global_scale = _SCALE
    return context


def _key_context(secret: bytes) -> Any | None:
    """Returns the context of a secret key of our parameters; None for any other bytes."""
    if len(secret) > _MAX_KEY_BYTES:  # before the library parses and allocates
        return None
    try:
        context = tenseal.context_from(secret, n_threads=1)
        is_ours = context.has_secret_key() and _parameters(context) == _our_parameters()
    except (RuntimeError, ValueError, TypeError):
        return None
    return context if is_ours else None


def _parameters(context: Any) -> bytes:
    """Returns ring, moduli, scale and kind of encryption; no key of any kind.

    Equal parameters give equal bytes.
    """
    return _serialized(context, secret=False)


def _serialized(context: Any, *, secret: bool) -> bytes:
    data: bytes = context.serialize(
        save_public_key=False, save_secret_key=secret, save_galois_keys=False, save_relin_keys=False
    )
    return data


@cache
def _our_parameters() -> bytes:
    return _parameters(_fresh_context())


@cache
def _wire() -> Wire:
    """Returns the frame of our ciphertexts, read off one under a key that is thrown away."""
    return Wire(tenseal.ckks_vector(_fresh_context(), [0.0] * SLOTS).serialize())
