"""Receipts: what a site's files held when it replied, signed, for somebody else to keep.

    tag = partial(blind.tag, charter.digest, number)
    receipt = Receipt(charter.digest, site, number, tag(ledger.head), tag(log.head))
    part = receipt.signed(key)   # the coordinator keeps the newest and returns it

A site whose folder was restored from a backup has files that are older than its receipt: a budget
that was spent would be spent again. It refuses to train. A coordinator that withholds receipts
changes nothing for a site with a witness, a file on another volume; one that forges them lacks the
site's key.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from securefl.errors import ProtocolError, RunFolderError
from securefl.files import read_json, write_atomic, write_json

_FORM = struct.Struct("<32sIQ32s32s")
_NUMBER = struct.Struct("<Q")
_LABEL = b"securefl receipt 1"
_BLIND = b"securefl receipt secret 1"
RECEIPTS = "receipts.json"
SIGNATURE_BYTES = 64
RECEIPT_BYTES = _FORM.size + SIGNATURE_BYTES


@dataclass(frozen=True)
class Receipt:
    """The state of a site's files when it sealed a reply.

    Args:
        charter: SHA-256 of the charter.
        site: which site.
        number: of the envelope that the reply answers.
        ledger: `Blind.tag` of the head of the data set's ledger.
        log: `Blind.tag` of the head of the audit log.
    """

    charter: bytes
    site: int
    number: int
    ledger: str
    log: str

    def signed(self, key: Ed25519PrivateKey) -> bytes:
        """Returns the receipt's bytes with the site's signature."""
        heads = (bytes.fromhex(self.ledger), bytes.fromhex(self.log))
        body = _FORM.pack(self.charter, self.site, self.number, *heads)
        return body + key.sign(_LABEL + body)

    @classmethod
    def opened(cls, data: bytes, public: bytes, *, site: int) -> Self:
        """Returns a receipt, once its signature is checked.

        Args:
            data: the bytes.
            public: the site's Ed25519 public key.
            site: which site.

        Raises:
            ProtocolError: it is malformed, forged or another site's.
        """
        body = data[: _FORM.size]
        try:
            if len(data) != RECEIPT_BYTES:
                raise ValueError("not the size of a receipt")
            Ed25519PublicKey.from_public_bytes(public).verify(data[_FORM.size :], _LABEL + body)
        except (InvalidSignature, ValueError):
            raise ProtocolError("this is no receipt of this site") from None
        charter, signer, number, ledger, log = _FORM.unpack(body)
        if signer != site:
            raise ProtocolError("this is no receipt of this site")
        return cls(charter, site, number, ledger.hex(), log.hex())


class Blind:
    """Hides the heads of a site's files from everybody who holds its receipts.

    A head is a hash of few unknown bits: whoever knows all but a reason or a time could try them
    all. Only the site can compute a tag. Each receipt has tags of its own: one head with one tag
    would show when a file grew, and so that the site works for others, too.

    Args:
        key: the site's Ed25519 key, from which a secret is derived.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        # A signature that nothing else makes, and that is the same after a restart.
        self._secret = hashlib.sha256(key.sign(_BLIND)).digest()

    def tag(self, charter: bytes, number: int, head: str) -> str:
        """Returns the tag of a head in a receipt, in hexadecimal."""
        message = charter + _NUMBER.pack(number) + head.encode()
        return hmac.digest(self._secret, message, "sha256").hex()

    def tags(self, receipt: Receipt, heads: Sequence[str]) -> "Tags":
        """Returns the tags that the heads of a file have in a receipt."""
        return Tags(partial(self.tag, receipt.charter, receipt.number), heads)


@dataclass(frozen=True)
class Tags:
    """The tags of all heads of a file.

    Args:
        tag: head -> its tag.
        heads: the oldest first.
    """

    tag: Callable[[str], str]
    heads: Sequence[str]

    def __contains__(self, tag: object) -> bool:
        """Whether a head has this tag: the newest are tried first, since receipts name those."""
        return any(self.tag(head) == tag for head in reversed(self.heads))


@dataclass(frozen=True)
class Files:
    """What a site's files hold, to compare a receipt with.

    Args:
        folder: of the site, for messages.
        ledger: the tag of every head of the data set's ledger.
        log: the tag of every head of the audit log.
        last_number: SHA-256 of a charter -> number of the last envelope that was acted on.
    """

    folder: Path
    ledger: Container[str]
    log: Container[str]
    last_number: Callable[[bytes], int]

    def require(self, receipt: Receipt) -> None:
        """Checks that no file is older than a receipt.

        Raises:
            RunFolderError: one is, and the sentence names it; the site must not train.
        """
        checks = (
            ("ledger", receipt.ledger in self.ledger),
            ("audit.jsonl", receipt.log in self.log),
            ("answered.json", self.last_number(receipt.charter) >= receipt.number),
        )
        for name, is_current in checks:
            if not is_current:
                raise RunFolderError(
                    f"{self.folder / name} is older than a receipt of this site, of envelope "
                    f"{receipt.number}: restore the newest files, or leave the federation; a "
                    "backup would spend its budget twice"
                )


class ReceiptBook:
    """The coordinator's copy of every site's newest receipt, in one file.

    Args:
        path: of the file; read if it exists.
        keys: site -> its Ed25519 public key.

    Raises:
        RunFolderError: the file is damaged.
    """

    def __init__(self, path: Path, keys: Mapping[int, bytes]) -> None:
        self._path = path
        self._keys = keys
        self._newest: dict[int, bytes] = {}
        self._is_written = True
        if path.exists():
            try:
                kept = {int(site): bytes.fromhex(text) for site, text in read_json(path).items()}
            except (ValueError, TypeError):
                raise RunFolderError(f"{path} is damaged: it holds no receipts") from None
            for site, data in kept.items():
                # A site that joined again has another key, and its old receipts bind nobody.
                with suppress(ProtocolError, KeyError):
                    self.take(site, data)
            self._is_written = True

    def newest(self, site: int) -> bytes | None:
        """Returns a site's newest receipt; None before its first."""
        return self._newest.get(site)

    def take(self, site: int, data: bytes) -> None:
        """Takes a receipt from a reply. Raises ProtocolError: the site did not sign it."""
        Receipt.opened(data, self._keys[site], site=site)
        self._newest[site] = data
        self._is_written = False

    def write(self) -> None:
        """Puts new receipts on disk. Raises RunFolderError: the disk refuses."""
        if self._is_written:
            return
        try:
            write_json(self._path, {str(site): self._newest[site].hex() for site in self._newest})
            self._is_written = True
        except OSError as reason:
            raise RunFolderError(f"cannot write {self._path}: {reason.strerror}") from None


def write_witness(path: Path, receipt: bytes) -> None:
    """Replaces the receipt on another volume. Raises OSError: nothing may leave then."""
    write_atomic(path, receipt)


def read_witness(path: Path, public: bytes, *, site: int) -> Receipt:
    """Returns the receipt on another volume, which the site's first approval put there.

    Raises:
        RunFolderError: it cannot be read, or is not this site's. A volume that is not mounted must
            not pass for a site that never replied.
    """
    try:
        return Receipt.opened(path.read_bytes(), public, site=site)
    except OSError as reason:
        raise RunFolderError(f"cannot read the witness {path}: {reason.strerror}") from None
    except ProtocolError:
        raise RunFolderError(f"the witness {path} is damaged, or another site's") from None
