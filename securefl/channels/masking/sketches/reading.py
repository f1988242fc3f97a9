"""The server's requests of a round with sketches, as members read them.

What depends on a member's own secrets is in `steps`.
"""

from collections.abc import Mapping
from typing import ClassVar

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.keys import open_signed
from securefl.channels.masking.reading import RequestKind, RoundReader
from securefl.channels.masking.requests import KeyTable, ShareDelivery, SurvivorList, UnmaskRequest
from securefl.channels.masking.shared import Kept
from securefl.channels.masking.sketches.dealing import proof_bytes
from securefl.channels.masking.sketches.field import ELEMENT_BYTES, unpacked
from securefl.channels.masking.sketches.replies import Acceptance, PublicDealing
from securefl.channels.masking.sketches.requests import (
    AcceptanceList,
    BlameRequest,
    Challenge,
    DealingList,
    PromisedInvitation,
    UploadList,
)
from securefl.channels.masking.wire import Table
from securefl.errors import ProtocolError


class SketchReader(RoundReader):
    """Reads the requests of rounds that choose the clients of their sum."""

    kinds: ClassVar[tuple[RequestKind, ...]] = (
        PromisedInvitation,
        KeyTable,
        ShareDelivery,
        UploadList,
        DealingList,
        AcceptanceList,
        SurvivorList,
        UnmaskRequest,
        BlameRequest,
        Challenge,
    )

    def __init__(self) -> None:
        super().__init__()
        self._dealings = Kept[Mapping[int, PublicDealing]](2)  # of sketches, of pair sketches
        self._acceptances = Kept[None]()

    def dealings(
        self,
        table: Table,
        *,
        round: int,
        context: bytes,
        holders: tuple[int, ...],
        zeros: int,
        terms: Agreement,
    ) -> Mapping[int, PublicDealing]:
        """Returns dealer -> its dealing, all signatures verified.

        Raises:
            ProtocolError: a dealing is not one that its dealer signed for this round, about this
                context, to these holders.
        """
        if not set(table) <= set(holders):
            raise ProtocolError("a dealing came from a client whose update did not arrive")

        def opened() -> Mapping[int, PublicDealing]:
            return {
                dealer: public_dealing(
                    dealer,
                    signed,
                    round=round,
                    context=context,
                    holders=holders,
                    zeros=zeros,
                    terms=terms,
                )
                for dealer, signed in table.items()
            }

        key = (tuple(table.items()), round, context, holders, zeros, terms.session, terms.digest)
        return self._dealings.get(key, opened)

    def check_acceptances(self, request: AcceptanceList, dealings: bytes, terms: Agreement) -> None:
        """Raises ProtocolError unless each client that accepts signed this digest."""

        def check() -> None:
            for client, signed in request.acceptances.items():
                acceptance = Acceptance.from_bytes(
                    open_signed(signed, terms.roster[client], terms=terms.digest)
                )
                head = (acceptance.session, acceptance.round, acceptance.sender)
                if head != (request.session, request.round, client):
                    raise ProtocolError("an acceptance of another session, round or sender")
                if acceptance.digest != dealings:
                    raise ProtocolError(f"client {client} was shown other dealings")

        signed = tuple(request.acceptances.items())
        key = (signed, request.session, request.round, dealings, terms.digest)
        self._acceptances.get(key, check)


def public_dealing(
    dealer: int,
    signed: bytes,
    *,
    round: int,
    context: bytes,
    holders: tuple[int, ...],
    zeros: int,
    terms: Agreement,
) -> PublicDealing:
    """Returns the public part of a dealing, as server and clients read it.

    Args:
        dealer: who should have signed it.
        signed: the dealing with its signature.
        round: its number.
        context: digest of what it should be about.
        holders: the clients that hold shares, ascending.
        zeros: sharings of zero in it.
        terms: of the session.

    Raises:
        ProtocolError: its dealer did not sign this; or it is of another session, round or context,
            or to other holders.
    """
    body = open_signed(signed, terms.roster[dealer], terms=terms.digest)
    proof = proof_bytes(terms.corrupt, zeros)
    dealing = PublicDealing.from_bytes(body, proof=proof, most=len(holders))
    if (dealing.session, dealing.round, dealing.sender) != (terms.session, round, dealer):
        raise ProtocolError("a dealing of another session, round or dealer")
    unpacked(dealing.proof, proof // ELEMENT_BYTES)  # drops elements that are not below the prime
    if dealing.context != context or tuple(dealing.table) != holders:
        raise ProtocolError("a dealing about other uploads, or to other holders")
    return dealing
