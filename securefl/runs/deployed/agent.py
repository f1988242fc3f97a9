"""A site's agent: it answers the coordinator's envelopes, and nothing else.

    agent = Agent(charter, 2, key, speaker, limit=limit, journal=journal, rules=rules)
    reply = agent.answer(data)  # None: dropped, and counted

The link carries the bytes, the speaker has records and secrets, the journal remembers on disk.
"""

import hashlib
import threading
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.errors import BudgetExceeded, NotReady, ProtocolError, RunFolderError, SecureflError
from securefl.runs.deployed.audit_log import Event
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.envelope import MAX_PARTS, Direction, Envelope, Kind, Part, opened
from securefl.runs.deployed.journal import Journal
from securefl.runs.deployed.rules import Rules


class Takes(Protocol):
    """Takes the parts of envelopes: a `Speaker`, or one for a site that is not ready."""

    def take(self, part: Part) -> bytes | None:
        """Takes one part; returns the answer to a request, None to all else."""


# Requests: each gets an answer of its own.
_ASKING = (Kind.SET_UP, Kind.REQUEST)


class Agent:
    """Answers envelopes of the coordinator, each once; any number of threads may call it.

    Guarantees:
        - The same bytes get the same reply, as long as no other envelope came in between: also
          while the first are being answered, and after a restart if the reply was ready before.
        - Anything old, forged, foreign, too large or malformed is counted and gets no reply.
        - The number of an envelope is on disk before the agent acts on it, and a line of the audit
          log before the reply leaves.
        - A refusal says that the site declines, and not why: the reason is in the audit log.
        - Whatever breaks is such a refusal, too.

    Args:
        charter: names the coordinator's key.
        site: this site.
        key: its Ed25519 key.
        speaker: answers the parts.
        limit: most bytes of an envelope.
        journal: remembers what was answered.
        rules: of the site's policy.

    Attributes:
        answered: envelopes that got a reply.
        dropped: messages that got none.
        finished: whether the coordinator has ended the run.
        stale: names the file that is older than a receipt; the agent trains no more.
    """

    def __init__(
        self,
        charter: Charter,
        site: int,
        key: Ed25519PrivateKey,
        speaker: Takes,
        *,
        limit: int,
        journal: Journal,
        rules: Rules,
    ) -> None:
        self._charter = charter.digest
        self._server = charter.server_key
        self._site = site
        self._key = key
        self._speaker = speaker
        self._limit = limit
        self._journal = journal
        self._rules = rules
        self._last = b""  # SHA-256 of the last envelope that was answered
        self._reply = b""
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self.answered = 0
        self.dropped = 0
        self.finished = False
        self.stale: RunFolderError | None = None

    def answer(self, data: bytes) -> bytes | None:
        """Returns the reply to an envelope; None if it is dropped, or nothing can be noted."""
        # Before the turn: garbage is not kept waiting while this site trains.
        try:
            envelope = opened(
                data,
                self._server,
                charter=self._charter,
                direction=Direction.TO_SITE,
                site=self._site,
                limit=self._limit,
            )
        except ProtocolError:
            self._drop()
            return None
        digest = hashlib.sha256(data).digest()
        # One at a time: whoever brings the same bytes meanwhile finds the reply ready.
        with self._turn:
            if digest == self._last:
                return self._reply
            try:
                reply = self._reply_to(envelope, digest)
            except (OSError, SecureflError):
                # What cannot be noted for good is not said.
                self._drop()
                return None
            self._last = digest
            self._reply = reply
            self.answered += 1
            return reply

    def _reply_to(self, envelope: Envelope, digest: bytes) -> bytes:
        """Returns the reply, once it is noted. Raises OSError, SecureflError: there is none."""
        last = self._journal.last_number()
        if envelope.number < last:
            raise ProtocolError("the envelope is old")
        if envelope.number == last:
            return self._kept(envelope, digest)
        # Before the number is kept: the file of numbers is held against receipts, too.
        doubt = self._doubt(envelope)
        # Before anything is done: what fails halfway is not begun again under this number.
        latest = max((part.round for part in envelope.parts), default=0)
        self._journal.begin(envelope.number, latest)
        parts = self._act(envelope, doubt)
        receipt = Part(Kind.RECEIPT, content=self._journal.receipt(envelope.number))
        reply = Envelope(
            self._charter,
            Direction.TO_COORDINATOR,
            self._site,
            envelope.number,
            (*parts, receipt),
        ).sealed(self._key)
        kind = " ".join(part.kind.name.lower() for part in parts)
        self._journal.keep(digest, reply, envelope.number, kind=kind, round=latest)
        return reply

    def _kept(self, envelope: Envelope, digest: bytes) -> bytes:
        """Returns the reply that was ready before a restart. Raises as `_reply_to`."""
        self._rules.check()
        reply = self._journal.kept(digest, envelope.number)
        if reply is None:
            raise ProtocolError("the envelope was begun, and its reply is lost")
        self.finished |= _ends(envelope)
        return reply

    def _doubt(self, envelope: Envelope) -> SecureflError | None:
        """Returns why returned receipts do not fit: a file of this site is older, or a forgery."""
        for part in envelope.parts:
            if part.kind is Kind.RETURNED_RECEIPT:
                try:
                    self._journal.require_current(bytes(part.content))
                except RunFolderError as reason:
                    self.stale = reason
                except ProtocolError as reason:
                    return reason
        return self.stale

    def _act(self, envelope: Envelope, doubt: SecureflError | None) -> tuple[Part, ...]:
        """Returns the answers: one a request, in their order."""
        try:
            self._check(envelope, doubt)
        except Exception as reason:
            self._note(envelope.number, reason)
            refused = [_refusal_of(part) for part in envelope.parts if part.kind in _ASKING]
            return tuple(refused[: MAX_PARTS - 1]) or (Part(Kind.DECLINED),)
        return self._answers(envelope)

    def _check(self, envelope: Envelope, doubt: SecureflError | None) -> None:
        """Refuses the whole envelope: the site may not act now, or its files are old."""
        if self.stale is not None:
            self.finished = True
        if doubt is not None:
            raise doubt
        self._rules.check()
        # Each part may get an answer, if only that it is refused; one more is the receipt's.
        taken = sum(part.kind is not Kind.RETURNED_RECEIPT for part in envelope.parts)
        if taken >= MAX_PARTS:
            raise ProtocolError(f"an envelope has {taken} parts to answer")

    def _answers(self, envelope: Envelope) -> tuple[Part, ...]:
        """Hands the parts on, and returns the answers."""
        self.finished |= _ends(envelope)
        answers: list[Part] = []
        refused: set[tuple[int, int]] = set()  # no other part of such a round is looked at
        for part in envelope.parts:
            if part.kind in (Kind.RETURNED_RECEIPT, Kind.FINISH):
                continue  # held against the files before; taken above
            answer = None if part.place in refused else self._answer_to(part, envelope.number)
            if answer is None:
                continue
            answers.append(answer)
            if answer.kind is not Kind.ANSWER:
                refused.add(part.place)
        return tuple(answers) or (Part(Kind.DONE),)

    def _answer_to(self, part: Part, number: int) -> Part | None:
        """Returns the answer to one part, or that it is refused; None where none is needed."""
        try:
            answer = self._speaker.take(part)
        except BudgetExceeded as reason:
            self._note(number, reason, part)
            # Budgets follow from declared constants: this tells nothing about a record.
            return Part(Kind.OUT_OF_BUDGET, part.round, lane=part.lane)
        except NotReady as reason:
            self._note(number, reason, part)
            return Part(Kind.NOT_READY, part.round, lane=part.lane)
        except Exception as reason:
            # One code for everything: which error it was might depend on a record.
            self._note(number, reason, part)
            return _refusal_of(part)
        return None if answer is None else Part(Kind.ANSWER, part.round, answer, part.lane)

    def _note(self, number: int, reason: Exception, part: Part | None = None) -> None:
        """Writes to the audit log why something is refused. Raises OSError."""
        what: dict[str, Any] = (
            {} if part is None else {"kind": part.kind.name.lower(), "round": part.round}
        )
        self._journal.log.note(
            Event.REFUSED,
            charter=self._charter.hex(),
            number=number,
            reason=_in_words(reason),
            **what,
        )

    def _drop(self) -> None:
        with self._counting:
            self.dropped += 1


def _ends(envelope: Envelope) -> bool:
    return any(part.kind is Kind.FINISH for part in envelope.parts)


def _in_words(reason: Exception) -> str:
    """Returns the sentence of an error of ours; of others the kind, as they may quote a record."""
    name = type(reason).__name__
    return f"{name}: {reason}" if isinstance(reason, OSError | SecureflError) else name


def _refusal_of(part: Part) -> Part:
    return Part(Kind.DECLINED, part.round, lane=part.lane)
