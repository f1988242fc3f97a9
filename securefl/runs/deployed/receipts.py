"""Receipts: what a site's files held when it replied, signed, for somebody else to keep.

    receipt = Receipt(charter.digest, site, number, ledger.head, log.head)
    part = receipt.signed(key)   # the coordinator keeps the newest and returns it

A site whose folder was restored from a backup has files that are older than its receipt: a budget
that was spent would be spent again. It refuses to train. A coordinator that withholds receipts
changes nothing for a site with a witness, a file on another volume; one that forges them lacks the
site's key.
"""

import struct
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from securefl.errors import ProtocolError, RunFolderError
from securefl.files import write_atomic

_FORM = struct.Struct("<32sIQ32s32s")
_LABEL = b"securefl receipt 1"
SIGNATURE_BYTES = 64
RECEIPT_BYTES = _FORM.size + SIGNATURE_BYTES


@dataclass(frozen=True)
class Receipt:
    """The state of a site's files when it sealed a reply.

    Args:
        charter: SHA-256 of the charter.
        site: which site.
        number: of the envelope that the reply answers.
        ledger: head of the data set's ledger, in hexadecimal.
        log: head of the audit log, in hexadecimal.
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


@dataclass(frozen=True)
class Files:
    """What a site's files hold, to compare a receipt with.

    Args:
        folder: of the site, for messages.
        ledger: every head of the data set's ledger.
        log: every head of the audit log.
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
