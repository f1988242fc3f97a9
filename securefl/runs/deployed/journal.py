"""What an agent must never forget, kept in its site's folder before anything leaves.

journal.begin(number, round)            # before the agent acts
journal.keep(digest, reply, number)     # before the reply leaves

answered.json   numbers of envelopes, stages of masked rounds: they only grow
reply.bin       the last reply, so that the same envelope gets it also after a restart
audit.jsonl     what left
"""

from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.channels.monotonic import Monotonic, Progress
from securefl.errors import RunFolderError
from securefl.files import write_atomic
from securefl.privacy.chain import GENESIS
from securefl.privacy.ledger import Ledger
from securefl.runs.deployed.audit_log import AuditLog, Event
from securefl.runs.deployed.envelope import DIGEST_BYTES
from securefl.runs.deployed.receipts import Blind, Files, Receipt, read_witness, write_witness

REPLY = "reply.bin"
ANSWERED = "answered.json"
AUDIT = "audit.jsonl"

_NUMBERS = b"envelopes of "


class Journal:
    """The memory of one site under one charter.

    Args:
        folder: of the site.
        charter: SHA-256 of the charter.
        site: its number.
        key: its Ed25519 key.
        log: the audit log.
        monotonic: numbers that only grow.
        ledger: of the data set; None without one.
        figures: the ledger of this run's figures; None where none has noise.
        witness: a file on another volume, for the newest receipt; None without one.
    """

    def __init__(
        self,
        folder: Path,
        charter: bytes,
        site: int,
        key: Ed25519PrivateKey,
        *,
        log: AuditLog,
        monotonic: Monotonic,
        ledger: Ledger | None,
        figures: Ledger | None = None,
        witness: Path | None = None,
    ) -> None:
        self._folder = folder
        self._charter = charter
        self._site = site
        self._key = key
        self._blind = Blind(key)
        self.log = log
        self._monotonic = monotonic
        self._ledger = ledger
        self._figures = figures
        self._witness = witness

    def last_number(self) -> int:
        """Returns the number of the last envelope that was acted on; -1 before the first.

        Raises:
            ProtocolError: the numbers cannot be read.
        """
        return self._last(self._charter)

    def begin(self, number: int, round: int) -> None:
        """Notes for good that an envelope is acted on.

        Raises:
            ProtocolError: a copy of this agent has gone further, or the disk refuses.
        """
        progress = Progress(round=number, stage=round)
        self._monotonic.advance(_NUMBERS + self._charter, progress)

    def receipt(self, number: int) -> bytes:
        """Returns a signed receipt of the present state."""
        return self._receipt(number).signed(self._key)

    def keep(self, envelope: bytes, reply: bytes, number: int, **facts: Any) -> None:
        """Keeps a reply, and notes that it leaves.

        Args:
            envelope: SHA-256 of the envelope that it answers.
            reply: the bytes.
            number: of the envelope.
            facts: further fields of the audit log's line.

        Raises:
            OSError: something is not on disk, and the reply must not leave.
        """
        write_atomic(self._folder / REPLY, envelope + reply, secret=True)
        self._note_sent(reply, number, facts)

    def kept(self, envelope: bytes, number: int) -> bytes | None:
        """Returns the reply to an envelope that an earlier process kept; None without one.

        Raises:
            OSError: it cannot be noted that the reply leaves, so it must not.
        """
        try:
            data = (self._folder / REPLY).read_bytes()
        except FileNotFoundError:
            return None
        reply = data[DIGEST_BYTES:]
        if data[:DIGEST_BYTES] != envelope:
            return None
        # The crash may have come before the line.
        if not self.log.has_sent(reply):
            self._note_sent(reply, number, {"kind": "kept reply"})
        return reply

    def require_current(self, receipt: bytes | None = None) -> None:
        """Checks that no file is older than a receipt, the witness or the audit log.

        Args:
            receipt: from the coordinator; the log and the witness if there is none.

        Raises:
            ProtocolError: the coordinator's is not of this site.
            RunFolderError: a file is older, or the witness cannot be read.
        """
        if receipt is None:
            require_ledger(self._folder, self.log, self._ledger)
        public = self._key.public_key().public_bytes_raw()
        if receipt is not None:
            known = Receipt.opened(receipt, public, site=self._site)
        elif self._witness is not None:
            known = read_witness(self._witness, public, site=self._site)
        else:
            return
        ledger = (GENESIS,) if self._ledger is None else self._ledger.heads
        tags = partial(self._blind.tags, known)
        files = Files(self._folder, tags(ledger), tags(self.log.heads), self._last_or_none)
        files.require(known)

    def testify(self) -> None:
        """Writes the present state to the witness, if there is one. Raises OSError."""
        if self._witness is not None:
            write_witness(self._witness, self.receipt(self._last_or_none(self._charter)))

    def _last(self, charter: bytes) -> int:
        return self._monotonic.last(_NUMBERS + charter).round

    def _last_or_none(self, charter: bytes) -> int:
        # Receipts have no negative numbers, and envelopes begin with 1.
        return max(0, self._last(charter))

    def _receipt(self, number: int) -> Receipt:
        ledger = GENESIS if self._ledger is None else self._ledger.head
        tags = (self._blind.tag(self._charter, number, head) for head in (ledger, self.log.head))
        return Receipt(self._charter, self._site, number, *tags)

    def _note_sent(self, reply: bytes, number: int, facts: dict[str, Any]) -> None:
        charter = self._charter.hex()
        for name, ledger in (("ledger", self._ledger), ("figures", self._figures)):
            facts[name] = None if ledger is None else ledger.head
        self.log.note(Event.SENT, sent=reply, charter=charter, number=number, **facts)
        self.testify()


def require_ledger(folder: Path, log: AuditLog, ledger: Ledger | None) -> None:
    """Raises RunFolderError: the ledger lacks what it held when something left last.

    A ledger that was removed, or restored alone, would let its budget be spent twice.
    """
    head = log.ledger_head()
    if ledger is not None and head is not None and head not in ledger.heads:
        raise RunFolderError(
            f"{folder / 'ledger'} is older than {folder / AUDIT}, or was removed: restore the "
            "newest files, or leave the federation"
        )
