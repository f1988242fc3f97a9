"""The checks and the answer of a client in the stages 9 and 10 of a round with sketches.

They follow where the sum and the sketches disagree, and find out who lied. A client cannot check
that they do: both stages open nothing of honest clients that the server could not compute itself,
see `blame`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from securefl.channels.masking.boxes import opened_with, sealed_with
from securefl.channels.masking.sketches.blame import opened_shares, partners
from securefl.channels.masking.sketches.context import Facts, points_of, sketching_of
from securefl.channels.masking.sketches.dealing import deal
from securefl.channels.masking.sketches.handling import (
    accepted_shares,
    check_own,
    reader_of,
    signed_dealing,
)
from securefl.channels.masking.sketches.matrix import Matrix
from securefl.channels.masking.sketches.replies import BlameShares, bits_of
from securefl.channels.masking.sketches.requests import BlameRequest, Challenge
from securefl.channels.masking.sketches.state import BLAMED, SketchState
from securefl.channels.masking.stages import Answer, Member
from securefl.errors import ProtocolError

# Matrix, partner -> key of the pair mask -> integers, k for each partner.
PairSketchesOf = Callable[[Matrix, Mapping[int, bytes]], Sequence[int]]


def deal_pairs(
    member: Member, request: BlameRequest, state: SketchState, sketches_of: PairSketchesOf
) -> Answer:
    """Stage 9: deals the sketches of this client's pair masks with the other chosen clients."""
    if member.client not in state.survivors:
        raise ProtocolError("this client was not chosen, and has no part in the sum")
    keys = {other: state.pair_keys[other] for other in partners(member.client, state.survivors)}
    facts = Facts(member.terms, state.round, state.nonce, state.model_hash, state.digests)
    dealing = deal(
        sketches_of(facts.matrix, keys),
        zeros=0,
        degree=member.terms.corrupt,
        points=points_of(state.block, state.uploaders),
        context=state.pair_context,
        sender=member.client,
    )
    own = dealing.shares.pop(member.client)
    boxes = sealed_with(state.keys_to, state.own, state.peers, dealing.shares)
    reply, public = signed_dealing(member, state, dealing, boxes, context=state.pair_context)
    after = replace(
        state, stage=BLAMED, own_pairs=own, pair_public=public, pair_keys={}, keys_to={}
    )
    return Answer(reply, after)


def show(member: Member, request: Challenge, state: SketchState) -> Answer:
    """Stage 10: sends shares of what must be zero, and of what the server can compute itself."""
    is_chosen = member.client in state.survivors
    if is_chosen != (state.stage == BLAMED):
        raise ProtocolError("a stage was asked for twice or out of order")
    dealings = reader_of(member).dealings(
        request.dealings,
        round=state.round,
        context=state.pair_context,
        holders=state.uploaders,
        zeros=0,
        terms=member.terms,
    )
    check_own(member, request.dealings, request.boxes, state.pair_public if is_chosen else None)
    if not set(dealings) <= set(state.survivors):
        raise ProtocolError("a dealing came from a client that was not chosen")
    contents = opened_with(state.keys_from, state.own, state.peers, request.boxes)
    if is_chosen:
        contents[member.client] = state.own_pairs
    size = sketching_of(member.terms).size
    pairs = accepted_shares(
        member, state, dealings, contents, values=(len(state.survivors) - 1) * size, zeros=0
    )
    # Without the shares of a client's sketch there is nothing to add up.
    usable = [dealer for dealer in dealings if dealer in pairs and dealer in state.accepted]
    opened = opened_shares(
        {
            client: state.accepted[client].values if client in state.accepted else [0] * size
            for client in state.survivors
        },
        {dealer: pairs[dealer].values if dealer in usable else None for dealer in dealings},
        challenge=request.challenge,
    )
    elements = [opened.pairs[pair] for pair in combinations(usable, 2)]
    for dealer in usable:
        elements += opened.sums[dealer]
    rejected = {state.block.index(dealer) for dealer in opened.rejected}
    head = (member.terms.session, state.round, member.client)
    reply = BlameShares(*head, bits_of(rejected), elements)
    return Answer(member.signed(reply.to_bytes()), None)
