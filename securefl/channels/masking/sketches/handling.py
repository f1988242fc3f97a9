"""How a client seals its dealings, and judges those of the others: in the stages 4, 5, 9 and 10."""

from collections.abc import Mapping

from securefl.channels.masking.sketches.dealing import Dealing, Shares, check_dealing
from securefl.channels.masking.sketches.reading import SketchReader
from securefl.channels.masking.sketches.replies import PublicDealing, SealedDealing
from securefl.channels.masking.sketches.state import SketchState
from securefl.channels.masking.stages import Member
from securefl.errors import ProtocolError


def signed_dealing(
    member: Member,
    state: SketchState,
    dealing: Dealing,
    boxes: Mapping[int, bytes],
    *,
    context: bytes,
) -> tuple[bytes, bytes]:
    """Returns a dealing as its dealer sends it, and its signed public part.

    Args:
        member: the dealer.
        state: its memory.
        dealing: what it deals.
        boxes: holder -> its shares, sealed.
        context: digest of what the dealing is about.
    """
    head = (member.terms.session, state.round, member.client)
    public = member.signed(PublicDealing(*head, context, dealing.proof, dealing.table).to_bytes())
    return member.signed(SealedDealing(*head, public, boxes).to_bytes()), public


def accepted_shares(
    member: Member,
    state: SketchState,
    dealings: Mapping[int, PublicDealing],
    contents: Mapping[int, bytes],
    *,
    values: int,
    zeros: int,
) -> dict[int, Shares]:
    """Returns dealer -> this client's shares, of the dealings that fit; the others are left out."""
    point = state.block.index(member.client) + 1
    accepted: dict[int, Shares] = {}
    for dealer, dealing in dealings.items():
        shares = check_dealing(
            contents.get(dealer, b""),
            holder=member.client,
            point=point,
            sender=dealer,
            context=dealing.context,
            table=dealing.table,
            proof=dealing.proof,
            values=values,
            zeros=zeros,
            degree=member.terms.corrupt,
        )
        if shares is not None:
            accepted[dealer] = shares
    return accepted


def check_own(
    member: Member,
    dealings: Mapping[int, bytes],
    boxes: Mapping[int, bytes],
    public: bytes | None,
) -> None:
    """Raises ProtocolError unless a client's own dealing is there, if any, and a box of each other.

    Args:
        member: the client.
        dealings: dealer -> its signed dealing.
        boxes: dealer -> the box for this client.
        public: this client's own signed dealing; None if it dealt none.
    """
    if dealings.get(member.client) != public:
        raise ProtocolError("the dealings do not hold this client's own")
    if set(boxes) != set(dealings) - {member.client}:
        raise ProtocolError("there is not one box for each dealing of another client")


def reader_of(member: Member) -> SketchReader:
    """Returns the reader of a client. Raises ValueError: it reads no such rounds."""
    if not isinstance(member.reader, SketchReader):
        raise ValueError("this client reads no requests of rounds with sketches")
    return member.reader
