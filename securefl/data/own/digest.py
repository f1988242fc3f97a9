"""Digests of somebody's records under a secret key, and the key.

A run keeps the digest of its records, so that a resumed run on changed records is refused. A plain
hash would let anybody confirm a guessed record. Under a secret key it says nothing without the key.
"""

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path

from securefl.errors import DataError
from securefl.files import locked, write_atomic

KEY_BYTES = 32
KEY_FILE = "data-digest.key"
# For records that everybody may have: the same content has the same digest on every machine.
PUBLIC_KEY = hashlib.sha256(b"securefl digest of public records").digest()
DIGEST_BYTES = 16
# To wait for another process that makes the key.
PATIENCE_SECONDS = 30.0


def digest_of(key: bytes, parts: Iterable[tuple[str, Iterable[bytes]]]) -> str:
    """Returns a digest of named parts, 32 hexadecimal digits; each part is read in pieces.

    Args:
        key: 32 bytes.
        parts: a name and the content of each, in an order that the content decides. How a content
            is cut into pieces changes nothing.

    Guarantees:
        - Without the key the digest cannot be told from random (keyed BLAKE2b as a PRF).
        - No byte can move from a name to a content, or between two parts.
    """
    whole = hashlib.blake2b(key=key, digest_size=DIGEST_BYTES, person=b"securefl records")
    for name, pieces in parts:
        # Both have a fixed length.
        for content in ([name.encode("utf-8", "surrogatepass")], pieces):
            digest = hashlib.blake2b(key=key, person=b"securefl part")
            for piece in content:
                digest.update(piece)
            whole.update(digest.digest())
    return whole.hexdigest()


def digest_key(folder: Path, *, public: bool = False) -> bytes:
    """Returns this user's key for digests of records, 32 bytes; the first call makes it.

    Args:
        folder: the user's cache, outside of every run folder; made where it is missing.
        public: returns the key that everybody has, and touches no file.

    Raises:
        DataError: the key cannot be read or made, or its file is damaged.
    """
    if public:
        return PUBLIC_KEY
    path = folder / KEY_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Two processes must not end up with two keys.
        with locked(folder, patience=PATIENCE_SECONDS):
            if not path.exists():
                write_atomic(path, secrets.token_bytes(KEY_BYTES), secret=True)
        key = path.read_bytes()
        others = path.stat().st_mode & 0o077
    except OSError as reason:
        raise DataError(f"cannot read or make the key {path}: {reason.strerror}") from None
    # In a cache that several people share, somebody could have put it there, or read it.
    if others:
        raise DataError(
            f"{path} is a secret that others may read or write: delete it to have another one made"
        )
    if len(key) != KEY_BYTES:
        raise DataError(
            f"{path} is damaged: it holds {len(key)} bytes, not {KEY_BYTES}; delete it to have "
            "another one made, after which no run on your own records can be resumed"
        )
    return key
