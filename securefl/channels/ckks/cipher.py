"""CKKS by TenSEAL: 2048 numbers a ciphertext, sums of ciphertexts, and nothing else.

Ring degree N = 4096 with coefficient moduli of 54 and 55 bits, 109 in all, which is the most that 128-bit security
allows (Albrecht et al., Homomorphic Encryption Standard 2018, table 1, ternary secrets). Sums need no further level.
Encryption is with the secret key, which every client holds: it takes a third of the time, leaves a fifth of the noise,
and nobody without the key can encrypt.

Source: Cheon, Kim, Kim and Song, ASIACRYPT 2017. TenSEAL is imported here and nowhere else.
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
_MOST_KEY_BYTES = 2**18


@dataclass(frozen=True)
class KeyHolder:
    """The secret key of a session, which every client holds and the server never gets.

    Make one with `generate` and give its `to_bytes` to the other clients over a way that the server cannot read.
    """

    _secret: bytes = field(repr=False)
    _context: Any = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> "KeyHolder":
        """A fresh key from the library's system-seeded generator."""
        context = _fresh_context()
        return cls(_serialized(context, secret=True), context)

    @classmethod
    def from_bytes(cls, secret: bytes) -> "KeyHolder":
        """The key that another client made. Raises ProtocolError where it is none, or one of other parameters."""
        try:
            context = (
                tenseal.context_from(secret, n_threads=1)
                if len(secret) <= _MOST_KEY_BYTES
                else None
            )
            ours = (
                context is not None
                and context.has_secret_key()
                and _parameters(context) == _our_parameters()
            )
        except (RuntimeError, ValueError, TypeError):
            ours = False
        if not ours:
            raise ProtocolError("these are not the bytes of a CKKS key of our parameters")
        return cls(secret, context)

    def to_bytes(self) -> bytes:
        """The secret key; whoever reads it can open every update of the session."""
        return self._secret

    def public_parameters(self) -> bytes:
        """What the server gets: parameters, and no key of any kind."""
        return _parameters(self._context)

    @cached_property
    def key_id(self) -> bytes:
        """Names the key, so that messages under another one are refused; 32 bytes that tell nothing of it."""
        return hashlib.sha256(b"securefl/ckks/key id\0" + self._secret).digest()[:KEY_ID_BYTES]

    def encrypt(self, values: NDArray[np.float64]) -> list[bytes]:
        """ceil(n / 2048) ciphertexts of values (n,), the last one filled up with zeros."""
        padded = np.zeros(SLOTS * math.ceil(len(values) / SLOTS))
        padded[: len(values)] = values
        return Ciphertexts.dump(
            [tenseal.ckks_vector(self._context, part) for part in padded.reshape(-1, SLOTS)]
        )

    def open(self, ciphertexts: Sequence[Any]) -> NDArray[np.float64]:
        """The numbers (2048 x ciphertexts,) in ciphertexts that this holder's `Ciphertexts` loaded."""
        return np.concatenate([np.array(one.decrypt()) for one in ciphertexts])

    def ciphertexts(self) -> "Ciphertexts":
        """Loads ciphertexts such that `open` can decrypt them."""
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
        """The server's."""
        return cls(tenseal.context_from(public_parameters, n_threads=1))

    def load(self, message: Packet) -> Any:
        """One ciphertext of 2048 numbers. Raises ProtocolError where it is none, or encrypts nothing."""
        try:
            vector = tenseal.ckks_vector_from(self._context, _wire().unpack(message))
        except RuntimeError:  # a coefficient is not below the modulus
            raise ProtocolError("this is not a ciphertext of our parameters") from None
        if vector.ciphertext()[0].is_transparent():
            raise ProtocolError("this ciphertext can be read by everybody")
        return vector

    def add(self, total: list[Any], messages: Sequence[Packet]) -> None:
        """Add ciphertext by ciphertext, all or none: what was added before a bad one is taken off again.

        One message is unpacked at a time, whatever the size of the update. Raises ProtocolError as `load` does, and
        where a message is the negation of the sum.
        """
        for done, (one, message) in enumerate(zip(total, messages, strict=True)):
            try:
                total[done] = one + self.load(message)
            except (ProtocolError, RuntimeError) as reason:
                for i, added in enumerate(messages[:done]):
                    total[i] = total[i] - self.load(
                        added
                    )  # exact: sums and differences are those of residues
                raise ProtocolError(f"an update that cannot be added: {reason}") from None

    @staticmethod
    def dump(ciphertexts: Sequence[Any]) -> list[bytes]:
        """As they travel, `CIPHERTEXT_BYTES` each."""
        return [_wire().pack(one.serialize()) for one in ciphertexts]


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


def _parameters(context: Any) -> bytes:
    """Ring, moduli, scale and kind of encryption as bytes, the same for the same parameters; no key of any kind."""
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
    """Made from a ciphertext under a key that is thrown away; only its frame is kept."""
    return Wire(tenseal.ckks_vector(_fresh_context(), [0.0] * SLOTS).serialize())
