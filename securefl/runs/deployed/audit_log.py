"""A site's audit log: what it approved, trained, sent and refused, one line each, in a hash chain.

    log = AuditLog.opened(site / "audit.jsonl")
    log.note(Event.SENT, round=3, size=len(reply), sha256=digest)  # on disk before it returns

Reasons of refusals are written here and nowhere else. The hashes have no key: receipts, which other
parties keep, name the head of the log, so that a log that was written anew is found out.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from securefl.errors import RunFolderError
from securefl.files import DurableLines, cut_to
from securefl.privacy.chain import GENESIS, chain

SECONDS_A_DAY = 86400.0
OVER = "the run is over"  # the kind of an agent's end, once it has heard so


class Event(StrEnum):
    """What a line says."""

    APPROVED = "approved"  # a charter, by the site's administrator
    STARTED = "started"
    TRAINING = "training"  # about to begin: written before, so that no training is missing
    JUDGING = "judging"  # a model, on records that stay here; written before
    SENT = "sent"
    REFUSED = "refused"
    FAILED = "failed"  # the site's own fault
    STOPPED = "stopped"
    CUT = "cut"  # the log's last line was not whole


@dataclass(frozen=True)
class Line:
    """One line of the log; None where something has no place in it.

    Args:
        time: seconds since 1970, UTC, by this machine's clock.
        event: what happened.
        charter: SHA-256 of the charter, in hexadecimal.
        run: that the charter belongs to, where it was approved, or judges a model.
        epoch: of the charter, where it was approved.
        kind: of what left, or of what was refused.
        number: of the envelope.
        round: of the federation.
        size: bytes that left.
        sha256: of the bytes that left, or of the document that was approved.
        reason: why something was refused or failed.
        ledger: head of the data set's ledger when something left.
        figures: head of the ledger of the run's figures when something left.
    """

    time: float
    event: Event
    charter: str | None = None
    run: str | None = None
    epoch: int | None = None
    kind: str | None = None
    number: int | None = None
    round: int | None = None
    size: int | None = None
    sha256: str | None = None
    reason: str | None = None
    ledger: str | None = None
    figures: str | None = None


class AuditLog:
    """An audit log that is being written; build it with `opened`.

    Guarantees:
        - A line is on disk before `note` returns.
        - A write that failed raises OSError and leaves a whole log behind, after the next line.

    Attributes:
        lines: of the file, the oldest first.
        heads: the hash of no line, then of each; the last one names the whole log.
    """

    def __init__(self, path: Path, lines: list[Line], heads: list[str], size: int) -> None:
        self.lines = lines
        self.heads = heads
        self._file = DurableLines(path, size)
        self._clock: Callable[[], float] = time.time

    @classmethod
    def opened(cls, path: Path, clock: Callable[[], float] = time.time) -> Self:
        """Reads and checks a log, or begins one; a last line that is not whole is cut and noted.

        Raises:
            RunFolderError: the file cannot be read, or was changed.
        """
        try:
            data = path.read_bytes() if path.exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            lines, heads = _checked(whole, path)
            if data:
                cut_to(path, len(whole))
            log = cls(path, lines, heads, len(whole))
            log._clock = clock
            # Its line was confirmed to nobody, if a crash cut it; the administrator shall know.
            if len(whole) < len(data):
                reason = f"{len(data) - len(whole)} bytes without an end, after line {len(lines)}"
                log.note(Event.CUT, reason=reason)
        except OSError as reason:
            raise RunFolderError(f"cannot read or write {path}: {reason.strerror}") from None
        return log

    @property
    def head(self) -> str:
        """Hash of the last line."""
        return self.heads[-1]

    def note(self, event: Event, *, sent: bytes | None = None, **facts: Any) -> None:
        """Appends a line, with the size and the SHA-256 of what is sent.

        Args:
            event: what happened.
            sent: the bytes that leave.
            facts: other fields of `Line`.

        Raises:
            OSError: it is not on disk; nothing may leave then.
        """
        if sent is not None:
            facts |= {"size": len(sent), "sha256": hashlib.sha256(sent).hexdigest()}
        line = Line(self._clock(), event, **facts)
        text, head = chain(self.head, _body(line))
        self._file.append(text)
        self.lines.append(line)
        self.heads.append(head)

    def trainings(self, *, charter: str | None = None, since: float = 0.0) -> list[int]:
        """Returns the rounds of trainings, under one charter if it is given, since a time.

        A clock that was set back hides none: trainings of the future count.
        """
        return [
            -1 if line.round is None else line.round
            for line in self.lines
            if line.event is Event.TRAINING
            and line.time >= since
            and (charter is None or line.charter == charter)
        ]

    def judgings(self, run: str) -> list[int | None]:
        """Returns the rounds whose models were judged under any charter of a run."""
        return [
            line.round for line in self.lines if line.event is Event.JUDGING and line.run == run
        ]

    def figures_heads(self) -> dict[str, str]:
        """Returns, for each run, the head that its ledger of figures had when something left."""
        runs = {line.charter: line.run for line in self.lines if line.event is Event.APPROVED}
        heads = ((runs.get(line.charter), line.figures) for line in self.lines)
        return {run: head for run, head in heads if run is not None and head is not None}

    def approved(self, run: str) -> Line | None:
        """Returns the newest approval of a run's charter; None without one."""
        approvals = [
            line for line in self.lines if line.event is Event.APPROVED and line.run == run
        ]
        return max(approvals, key=lambda line: line.epoch or 0, default=None)

    def ledger_head(self) -> str | None:
        """Returns the head that the ledger had when something left last; None before that."""
        heads = (line.ledger for line in reversed(self.lines) if line.ledger is not None)
        return next(heads, None)

    def has_sent(self, data: bytes) -> bool:
        """Whether a line says that these bytes left."""
        sha256 = hashlib.sha256(data).hexdigest()
        return any(line.event is Event.SENT and line.sha256 == sha256 for line in self.lines)


def verified(path: Path, heads: tuple[str, ...] = ()) -> list[Line]:
    """Returns the lines of a log, once every byte is checked; writes nothing.

    Args:
        path: of the log.
        heads: hashes noted elsewhere, in receipts, that must be in it.

    Raises:
        RunFolderError: a byte or a line was changed, removed or inserted, or the file is missing.
    """
    try:
        data = path.read_bytes()
    except OSError as reason:
        raise RunFolderError(f"cannot read {path}: {reason.strerror}") from None
    lines, known = _checked(data, path)
    for head in heads:
        if head not in known:
            raise RunFolderError(f"{path} is older than a receipt of it, or was written anew")
    return lines


def _checked(data: bytes, path: Path) -> tuple[list[Line], list[str]]:
    """Returns the lines and all heads. Raises RunFolderError, which names the line."""
    heads = [GENESIS]
    lines = []
    for number, text in enumerate(_split(data), start=1):
        try:
            body: dict[str, Any] = json.loads(text)
            del body["hash"]
            line = Line(**{**body, "event": Event(body["event"])})
            expected, head = chain(heads[-1], _body(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RunFolderError(f"{path} is damaged at line {number}") from None
        if expected != text:
            raise RunFolderError(
                f"{path} was changed at or before line {number}: its hash chain is broken"
            )
        lines.append(line)
        heads.append(head)
    return lines, heads


def _split(data: bytes) -> Iterator[bytes]:
    """Yields the lines with their newlines; only that byte ends one."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def _body(line: Line) -> dict[str, object]:
    """Returns the keys of a line; those without a value are left out."""
    return {key: value for key, value in asdict(line).items() if value is not None}
