"""Identities, round keys and sealed boxes: Ed25519, X25519, HKDF-SHA256 and AES-256-GCM, put together.

Every primitive is the cryptography library's; what stands here is which key is used for what.
"""

import hashlib
import secrets
import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

KEY_BYTES = 32
SIGNATURE_BYTES = 64
NONCE_BYTES = 12
TAG_BYTES = 16
PROOF_BYTES = 16
SHARE_COMMITMENT_BYTES = 16
MAX_TAGGED_BYTES = 2**31 - 1  # more at once AES-GCM of the cryptography library refuses

PAIR_MASK = b"securefl masking 1, pair mask"
SELF_MASK = b"securefl masking 1, self mask"
SEALING = b"securefl masking 1, sealing"
UPLOAD = b"securefl masking 1, upload"
POSSESSION = b"securefl masking 1, possession of both keys"
_SIGNED = b"securefl masking 1, signed message"
_COMMITTED = b"securefl masking 1, self mask commitment"
_SHARED = b"securefl masking 1, share commitment"


class Identity:
    """A long-lived Ed25519 key that signs this party's messages.

    Args:
        key: the private key; where it is kept between sessions is the owner's affair.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> "Identity":
        """A new identity from the system's CSPRNG."""
        return cls(Ed25519PrivateKey.generate())

    def signature(self, message: Packet, *, terms: bytes) -> bytes:
        """64 bytes over a label, the digest of the agreed terms and SHA-256 of the message."""
        return self._key.sign(_SIGNED + terms + hashlib.sha256(message).digest())


def open_signed(data: Packet, public: bytes, *, terms: bytes) -> memoryview:
    """The message in `data` (message, then 64 bytes of signature), if the owner of `public` signed it under the terms.

    Raises:
        ProtocolError: it did not; the error does not say why.
    """
    message, signature = memoryview(data)[:-SIGNATURE_BYTES], bytes(data[-SIGNATURE_BYTES:])
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(
            signature, _SIGNED + terms + hashlib.sha256(message).digest()
        )
    except (InvalidSignature, ValueError):
        raise ProtocolError(
            "the signature of a message of the masked channel does not verify"
        ) from None
    return message


@dataclass(frozen=True)
class Info:
    """What a derived key is bound to: session, round, and both ends (id, public key) in order."""

    session: bytes
    round: int
    one: int
    other: int
    key_of_one: bytes
    key_of_other: bytes

    def to_bytes(self) -> bytes:
        """48 bytes and more: session, round, both ids, both public keys."""
        ids = struct.pack("<III", self.round, self.one, self.other)
        return self.session + ids + self.key_of_one + self.key_of_other


def derive(secret: bytes, label: bytes, info: Info) -> bytes:
    """32 bytes of HKDF-SHA256 without salt. Source: RFC 5869."""
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=label + info.to_bytes()).derive(secret)


@dataclass(frozen=True)
class RoundKey:
    """An X25519 key pair that lives for one round.

    Args:
        private: 32 bytes, as RFC 7748 takes them.
    """

    private: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> "RoundKey":
        """A fresh key from the system's CSPRNG."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return X25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw()

    def agree(self, publics: list[bytes]) -> list[bytes]:
        """The shared secrets with several public keys, 32 bytes each.

        Raises:
            ProtocolError: one of them is a point of low order.
        """
        own = X25519PrivateKey.from_private_bytes(self.private)
        try:
            return [own.exchange(X25519PublicKey.from_public_bytes(public)) for public in publics]
        except ValueError:
            raise ProtocolError("a public key of the masked channel is unusable") from None


def is_reduced(public: bytes) -> bool:
    """Whether this X25519 key is written in its one reduced form; another writing gives the same secrets."""
    return int.from_bytes(public, "little") < 2**255 - 19


def commitment(seed: bytes, *, session: bytes, round: int, client: int) -> bytes:
    """32 bytes that fix a self-mask seed of 32 random bytes without telling it."""
    return hashlib.sha256(_COMMITTED + session + struct.pack("<II", round, client) + seed).digest()


def share_commitment(
    share: bytes, *, session: bytes, round: int, dealer: int, holder: int, place: int
) -> bytes:
    """Fixes one share of 33 bytes without telling it, in 16 bytes.

    A share is as unpredictable as a 256-bit key to everybody with fewer shares than the threshold. A holder that wants
    another share to fit needs a second preimage, 2^128 hashes.

    Args:
        share: 33 bytes.
        session: 16 bytes that name the session.
        round: its round.
        dealer: the client whose secret is shared.
        holder: the client that the share is for.
        place: 0 for a share of the self-mask seed, 1 for one of the mask key.
    """
    ids = struct.pack("<IIIB", round, dealer, holder, place)
    return hashlib.sha256(_SHARED + session + ids + share).digest()[:SHARE_COMMITMENT_BYTES]


def seal(key: bytes, plaintext: bytes, *, associated: bytes) -> bytes:
    """Nonce, AES-256-GCM ciphertext and tag."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, associated)


def tag(key: bytes, message: Packet) -> bytes:
    """16 bytes of AES-256-GMAC; the key is good for one message."""
    return AESGCM(key).encrypt(bytes(NONCE_BYTES), b"", message)


def open_tagged(key: bytes, data: Packet) -> memoryview:
    """The message in `data` (message, then its tag), if whoever has the key made it. Raises ProtocolError."""
    message = memoryview(data)[:-TAG_BYTES]
    try:
        AESGCM(key).decrypt(bytes(NONCE_BYTES), bytes(data[-TAG_BYTES:]), message)
    except InvalidTag:
        raise ProtocolError("the tag of an upload does not verify") from None
    return message


def open_sealed(key: bytes, sealed: bytes, *, associated: bytes) -> bytes | None:
    """The plaintext; None, and never a reason, if it does not open."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        return None
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except InvalidTag:
        return None
