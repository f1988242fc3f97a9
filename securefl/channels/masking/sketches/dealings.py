"""The dealings of one stage, as the server collects and passes them on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.keys import NONCE_BYTES, TAG_BYTES
from securefl.channels.masking.sketches.dealing import proof_bytes, share_bytes
from securefl.channels.masking.sketches.reading import public_dealing
from securefl.channels.masking.sketches.replies import PublicDealing, SealedDealing
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError


@dataclass(frozen=True)
class Dealings:
    """The dealings that arrived. The server reads no share: each holder judges its own.

    Args:
        terms: of the session.
        round: its number.
        holders: the clients that hold shares, ascending.
        context: digest of what the dealings are about.
        values: integers in a dealing.
        zeros: sharings of zero in a dealing.
        signed: dealer -> the public part of its dealing, as it signed it.
    """

    terms: Agreement
    round: int
    holders: tuple[int, ...]
    context: bytes
    values: int
    zeros: int
    signed: dict[int, bytes] = field(default_factory=dict)
    _boxes: dict[int, Mapping[int, bytes]] = field(default_factory=dict)

    def take(self, dealer: int, body: Packet) -> None:
        """Takes a dealing.

        Raises:
            ProtocolError: it is of another session, round or dealer, about something else, or does
                not have one box of the right length for each other holder. Nothing has changed.
        """
        proof = proof_bytes(self.terms.corrupt, self.zeros)
        signed = PublicDealing.signed_length(proof=proof, holders=len(self.holders))
        box = NONCE_BYTES + share_bytes(self.values, self.zeros) + TAG_BYTES
        sent = SealedDealing.from_bytes(body, signed=signed, box=box, most=len(self.holders))
        if (sent.session, sent.round, sent.sender) != (self.terms.session, self.round, dealer):
            raise ProtocolError("another session, round or sender")
        if set(sent.boxes) != set(self.holders) - {dealer}:
            raise ProtocolError("shares go to every other client, once")
        public_dealing(
            dealer,
            sent.signed,
            round=self.round,
            context=self.context,
            holders=self.holders,
            zeros=self.zeros,
            terms=self.terms,
        )
        self.signed[dealer] = sent.signed
        self._boxes[dealer] = sent.boxes

    @property
    def dealers(self) -> tuple[int, ...]:
        """The clients that dealt, ascending."""
        return tuple(sorted(self.signed))

    def boxes_for(self, holder: int) -> dict[int, bytes]:
        """Returns dealer -> the box for this holder."""
        return {dealer: self._boxes[dealer][holder] for dealer in self.dealers if dealer != holder}
