"""A site's agent: it answers the coordinator's envelopes, and nothing else.

    agent = Agent(charter, 2, key, speaker)
    reply = agent.answer(data)  # None: dropped, and counted

It is a state machine without I/O: the link carries the bytes, the speaker has records and secrets.
"""

import hashlib
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.errors import BudgetExceeded, ClientFailure, NotReady, ProtocolError
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.envelope import Direction, Envelope, Kind, Part, opened


class Takes(Protocol):
    """Takes the parts of envelopes: a `Speaker`, or one for a site that is not ready."""

    def take(self, part: Part) -> bytes | None:
        """Takes one part; returns the answer to a request, None to all else."""


class Agent:
    """Answers envelopes of the coordinator, each once.

    Guarantees:
        - The same bytes get the same reply, as long as no other envelope came in between.
        - Anything old, forged, foreign, too large or malformed is counted and gets no reply.
        - A refusal says that the site declines, and not why.

    Args:
        charter: names the coordinator's key.
        site: this site.
        key: its Ed25519 key.
        speaker: answers the parts.
        limit: most bytes of an envelope.

    Attributes:
        answered: envelopes that got a reply.
        dropped: messages that got none.
        finished: whether the coordinator has ended the run.
    """

    def __init__(
        self, charter: Charter, site: int, key: Ed25519PrivateKey, speaker: Takes, *, limit: int
    ) -> None:
        self._charter = charter.digest
        self._server = charter.server_key
        self._site = site
        self._key = key
        self._speaker = speaker
        self._limit = limit
        self._number = 0
        self._last = b""  # SHA-256 of the last envelope that was answered
        self._reply = b""
        self.answered = 0
        self.dropped = 0
        self.finished = False

    def answer(self, data: bytes) -> bytes | None:
        """Returns the reply to an envelope; None, and nothing has changed, if it is dropped."""
        digest = hashlib.sha256(data).digest()
        if digest == self._last:
            return self._reply
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
            self.dropped += 1
            return None
        if envelope.number <= self._number:
            self.dropped += 1
            return None
        # Before anything is done: what fails halfway is not begun again under this number.
        self._number = envelope.number
        self._reply = self._sealed(self._act(envelope), envelope.number)
        self._last = digest
        self.answered += 1
        return self._reply

    def _act(self, envelope: Envelope) -> tuple[Part, ...]:
        """Hands the parts on, and returns the answers: one a request, in their order."""
        answers: list[Part] = []
        refused: set[tuple[int, int]] = set()  # no other part of such a round is looked at
        for part in envelope.parts:
            self.finished |= part.kind is Kind.FINISH
            answer = None if part.place in refused else self._answer_to(part)
            if answer is None:
                continue
            answers.append(answer)
            if answer.kind is not Kind.ANSWER:
                refused.add(part.place)
        return tuple(answers) or (Part(Kind.DONE),)

    def _answer_to(self, part: Part) -> Part | None:
        """Returns the answer to one part, or that it is refused; None where none is needed."""
        try:
            answer = self._speaker.take(part)
        except BudgetExceeded:
            # Budgets follow from declared constants: this tells nothing about a record.
            return Part(Kind.OUT_OF_BUDGET, part.round, lane=part.lane)
        except NotReady:
            return Part(Kind.NOT_READY, part.round, lane=part.lane)
        except (ClientFailure, ProtocolError):
            return Part(Kind.DECLINED, part.round, lane=part.lane)
        return None if answer is None else Part(Kind.ANSWER, part.round, answer, part.lane)

    def _sealed(self, parts: tuple[Part, ...], number: int) -> bytes:
        reply = Envelope(self._charter, Direction.TO_COORDINATOR, self._site, number, parts)
        return reply.sealed(self._key)
