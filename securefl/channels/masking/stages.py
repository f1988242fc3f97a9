"""The checks and the answer of a client in each stage of a masked round.

There is one function a stage. It takes the state before the stage and returns the reply with the
state after it. None of them notes or erases anything: `client.MaskedClient` decides when a stage
may be answered at all.

Source: Bonawitz et al., CCS 2017, figure 4, with the consistency round.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.keys import Identity
from securefl.channels.masking.reading import RoundReader
from securefl.channels.masking.replies import Consent, RevealedShares, SealedShares
from securefl.channels.masking.requests import (
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.round_secrets import RoundSecrets, share_commitments
from securefl.channels.masking.round_state import CONSENTED, READY, SHARED, RoundState
from securefl.channels.masking.shamir import SHARE_BYTES
from securefl.channels.masking.statement import digest_of_clients, statement_of
from securefl.errors import ProtocolError


@dataclass(frozen=True)
class Member:
    """A client of a session: its id, its signing key, the terms that it agreed to, its reader."""

    client: int
    identity: Identity
    terms: Agreement
    reader: RoundReader

    def signed(self, message: bytes) -> bytes:
        """Returns the message and this client's signature, which is bound to the terms."""
        return message + self.identity.signature(message, terms=self.terms.digest)


class Answer(NamedTuple):
    """The reply to a request, and the state after it.

    The reply is None where the client has to train first; the state is None after the last stage.
    """

    reply: bytes | None
    state: RoundState | None


def invited_block(member: Member, cohort: tuple[int, ...], round: int) -> tuple[int, ...]:
    """Returns the clients that this one is summed with, computed from the invited cohort.

    Raises:
        ProtocolError: the cohort is not one of this session.
    """
    terms = member.terms
    if not terms.lists(cohort):
        raise ProtocolError("the cohort names clients that are not in the roster")
    block = terms.block_of(member.client, cohort, round=round)
    if member.client not in block:
        raise ProtocolError("the cohort does not hold this client")
    # A smaller cohort than agreed on would hide an update among fewer others. A sum of more clients
    # than the ring has room for would wrap around.
    if len(cohort) < terms.least_invited or len(block) > terms.code.most:
        raise ProtocolError(f"{len(cohort)} clients are not a cohort of this session")
    check_clients(member, block, block=block, within=block)
    return block


def advertise(member: Member, invitation: Invitation, block: tuple[int, ...]) -> RoundState:
    """Stage 1, AdvertiseKeys: draws fresh secrets; `signed` of the state is the reply.

    Raises:
        ProtocolError: the server's key is unusable.
    """
    secrets = RoundSecrets.fresh()
    own = secrets.advertisement(
        member.terms.session,
        invitation.round,
        member.client,
        block=digest_of_clients(block),
        server_key=invitation.key,
    )
    signed = member.signed(own.to_bytes())
    return RoundState(invitation.round, block, secrets, own, signed, invitation.key)


def share_keys(member: Member, table: KeyTable, state: RoundState) -> Answer:
    """Stage 2, ShareKeys: checks all keys, then deals sealed shares of both secrets."""
    if table.advertisements.get(member.client) != state.signed:
        raise ProtocolError("the key table does not hold this client's own keys")
    check_clients(member, tuple(table.advertisements), block=state.block, within=state.block)
    opened = member.reader.keys(table, block=state.own.block, terms=member.terms)
    peers = opened.peers
    # Points are places in the block, which every party can compute. They begin at 1, since the
    # secret itself lies at 0.
    points = {client: state.block.index(client) + 1 for client in peers}
    threshold = member.terms.threshold(len(state.block))
    shares = state.secrets.shares(points, threshold=threshold)
    commitments = share_commitments(state.own, shares)
    own_shares = shares.pop(member.client)
    sealed = state.secrets.seal(state.own, peers, shares)
    reply = SealedShares(member.terms.session, state.round, member.client, sealed, commitments)
    after = replace(
        state,
        stage=SHARED,
        peers=peers,
        advertisements=opened.signed,
        own_shares=own_shares,
    )
    return Answer(member.signed(reply.to_bytes()), after)


def prepare(member: Member, delivery: ShareDelivery, state: RoundState) -> Answer:
    """Stage 3, MaskedInputCollection: notes U2 and the model; then the client has to train."""
    if member.client in delivery.sealed:
        raise ProtocolError("the delivery holds shares from this client itself")
    after = replace(state, stage=READY, sealed=delivery.sealed, model_hash=delivery.model_hash)
    check_clients(member, after.sharing, block=state.block, within=state.peers)
    return Answer(None, after)


def consent(member: Member, request: SurvivorList, state: RoundState) -> Answer:
    """Stage 4, ConsistencyCheck: signs all keys, U2, U3 and the model.

    The model's hash answers Pasquini, Francati and Ateniese, CCS 2022: a server that sends
    different models gets no threshold of equal statements.
    """
    if member.client not in request.survivors:
        raise ProtocolError("this client's update was left out of the sum")
    check_clients(member, request.survivors, block=state.block, within=state.sharing)
    statement = statement_of(
        state.advertisements.values(),
        sharing=state.sharing,
        survivors=request.survivors,
        model_hash=state.model_hash,
    )
    reply = Consent(member.terms.session, state.round, member.client, statement)
    after = replace(state, stage=CONSENTED, survivors=request.survivors, statement=statement)
    return Answer(member.signed(reply.to_bytes()), after)


def reveal(member: Member, request: UnmaskRequest, state: RoundState) -> Answer:
    """Stage 5, Unmasking: reveals one share of each client of U2, once enough survivors agree.

    Of a survivor it is a share of the seed, of a dropped client a share of the mask key. Both
    secrets of one client would open its single update.
    """
    if not set(request.consents) <= set(state.survivors):
        raise ProtocolError("a consent came from outside the survivors")
    # Two groups of a threshold share an honest client, which signs one statement only.
    if len(request.consents) < member.terms.threshold(len(state.block)):
        raise ProtocolError("fewer clients than the threshold agreed on the survivors")
    member.reader.check_consents(request, state.statement, member.terms)
    shares = {
        member.client: state.own_shares,
        **state.secrets.open(state.own, state.peers, state.sealed),
    }
    seeds: dict[int, bytes] = {}
    mask_keys: dict[int, bytes] = {}
    for client, both in shares.items():
        if client in state.survivors:
            seeds[client] = both[:SHARE_BYTES]
        else:
            mask_keys[client] = both[SHARE_BYTES:]
    reply = RevealedShares(member.terms.session, state.round, member.client, seeds, mask_keys)
    return Answer(member.signed(reply.to_bytes()), None)


def check_clients(
    member: Member, named: tuple[int, ...], *, block: tuple[int, ...], within: Iterable[int]
) -> None:
    """Raises ProtocolError unless the named clients took part before, and suffice for a sum.

    The client computes the minimum itself, from its own terms: a server cannot lower it.
    """
    if not set(named) <= set(within):
        raise ProtocolError("the server names clients that were not there before")
    fewest = member.terms.fewest(len(block))
    if len(named) < fewest:
        raise ProtocolError(
            f"{len(named)} clients are too few for a sum of {len(block)}; it takes {fewest}"
        )
