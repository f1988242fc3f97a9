"""Identities, round keys and sealed boxes: Ed25519, X25519, HKDF-SHA256 and AES-256-GCM.

Every primitive is the cryptography library's; this file decides which key serves which purpose.

Source: RFC 8032 (Ed25519), RFC 7748 (X25519), RFC 5869 (HKDF), NIST SP 800-38D (GCM and GMAC).
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
MAX_TAGGED_BYTES = 2**31 - 1  # the cryptography library's AES-GCM refuses longer messages

# One label a purpose: a key or a hash made for one of them is worthless for every other.
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
        key: the private key; its owner decides where it is kept between sessions.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> "Identity":
        """Returns a new identity from the system's CSPRNG."""
        return cls(Ed25519PrivateKey.generate())

    def signature(self, message: Packet, *, terms: bytes) -> bytes:
        """Returns 64 bytes over a label, the digest of the agreed terms and the message's SHA-256.

        The terms are signed, too, so that a message of one session is worthless in another.
        """
        return self._key.sign(_SIGNED + terms + hashlib.sha256(message).digest())


def open_signed(data: Packet, public: bytes, *, terms: bytes) -> memoryview:
    """Returns the message of a signed packet: message, then 64 bytes of signature.

    Args:
        data: the packet.
        public: the Ed25519 public key of the expected sender.
        terms: the digest of the agreed terms.

    Raises:
        ProtocolError: the owner of `public` did not sign this under these terms. The error does not
            say why.
    """
    message = memoryview(data)[:-SIGNATURE_BYTES]
    signature = bytes(data[-SIGNATURE_BYTES:])
    signed = _SIGNED + terms + hashlib.sha256(message).digest()
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except (InvalidSignature, ValueError):
        raise ProtocolError(
            "the signature of a message of the masked channel does not verify"
        ) from None
    return message


@dataclass(frozen=True)
class Info:
    """The context that a derived key is bound to: session, round, and both ends in order."""

    session: bytes
    round: int
    one: int
    other: int
    key_of_one: bytes
    key_of_other: bytes

    def to_bytes(self) -> bytes:
        """Returns 48 bytes or more: session, round, both ids, both public keys."""
        ids = struct.pack("<III", self.round, self.one, self.other)
        return self.session + ids + self.key_of_one + self.key_of_other


def derive(secret: bytes, label: bytes, info: Info) -> bytes:
    """Returns 32 bytes of HKDF-SHA256 without salt. Source: RFC 5869."""
    context = label + info.to_bytes()
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=context).derive(secret)


@dataclass(frozen=True)
class RoundKey:
    """An X25519 key pair that lives for one round.

    Args:
        private: 32 bytes, as RFC 7748 takes them.
    """

    private: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> "RoundKey":
        """Returns a fresh key from the system's CSPRNG."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return X25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw()

    def agree(self, publics: list[bytes]) -> list[bytes]:
        """Returns the shared secret with each of several public keys, 32 bytes each.

        Raises:
            ProtocolError: a public key is a point of low order. Its secret would be zero with every
                key, so that everybody knows it (RFC 7748, section 6.1).
        """
        own = X25519PrivateKey.from_private_bytes(self.private)
        try:
            return [own.exchange(X25519PublicKey.from_public_bytes(public)) for public in publics]
        except ValueError:
            raise ProtocolError("a public key of the masked channel is unusable") from None


def is_reduced(public: bytes) -> bool:
    """Whether this X25519 key is written in its one reduced form.

    Every other writing of the key gives the same secrets, and would look like a different key.
    """
    return int.from_bytes(public, "little") < 2**255 - 19


def commitment(seed: bytes, *, session: bytes, round: int, client: int) -> bytes:
    """Returns 32 bytes that fix a self-mask seed of 32 random bytes without revealing it."""
    ids = struct.pack("<II", round, client)
    return hashlib.sha256(_COMMITTED + session + ids + seed).digest()


def share_commitment(
    share: bytes, *, session: bytes, round: int, dealer: int, holder: int, place: int
) -> bytes:
    """Returns 16 bytes that fix one share without revealing it.

    Anybody with fewer shares than the threshold finds a share as hard to guess as a 256-bit key. A
    holder that wants another share to fit needs a second preimage: 2^128 hashes.

    Args:
        share: 33 bytes.
        session: 16 bytes that name the session.
        round: its number.
        dealer: the client whose secret is shared.
        holder: the client that the share is for.
        place: 0 for a share of the self-mask seed, 1 for one of the mask key.
    """
    ids = struct.pack("<IIIB", round, dealer, holder, place)
    return hashlib.sha256(_SHARED + session + ids + share).digest()[:SHARE_COMMITMENT_BYTES]


def seal(key: bytes, plaintext: bytes, *, associated: bytes) -> bytes:
    """Returns nonce, AES-256-GCM ciphertext and tag."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, associated)


def open_sealed(key: bytes, sealed: bytes, *, associated: bytes) -> bytes | None:
    """Returns the plaintext; None, and never a reason, if the box does not open."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        return None
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except InvalidTag:
        return None


def tag(key: bytes, message: Packet) -> bytes:
    """Returns 16 bytes of AES-256-GMAC. The key must tag one message only: its nonce is fixed."""
    return AESGCM(key).encrypt(bytes(NONCE_BYTES), b"", message)


def open_tagged(key: bytes, data: Packet) -> memoryview:
    """Returns the message of a tagged packet: message, then its tag.

    Raises:
        ProtocolError: an owner of the key did not make this tag.
    """
    message = memoryview(data)[:-TAG_BYTES]
    sent_tag = bytes(data[-TAG_BYTES:])
    try:
        AESGCM(key).decrypt(bytes(NONCE_BYTES), sent_tag, message)
    except InvalidTag:
        raise ProtocolError("the tag of an upload does not verify") from None
    return message
