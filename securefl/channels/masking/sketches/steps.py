"""The checks and the answer of a client in the stages 4 to 8 of a round with sketches.

There is one function a stage, as in `masking.stages`, whose first three stages come before these.

    4 `deal`     shares of its sketch, once the uploads are fixed
    5 `accept`   a signed account of all dealings
    6 `measure`  a share of each squared distance, once enough clients saw the same dealings
    7 `agree`    a signed account of the chosen clients
    8 `reveal`   shares that open the sum of the chosen clients, and the sum of their sketches
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from securefl.channels.masking.replies import Consent
from securefl.channels.masking.requests import SurvivorList, UnmaskRequest
from securefl.channels.masking.shamir import SHARE_BYTES
from securefl.channels.masking.sketches.context import (
    SEALED_PAIR_SKETCHES,
    SEALED_SKETCHES,
    Facts,
    digest_of_dealings,
    fewest_chosen,
    points_of,
    promise_of,
    sketching_of,
    statement_on,
)
from securefl.channels.masking.sketches.dealing import (
    PAIR_SKETCHES,
    SKETCHES,
    Shares,
)
from securefl.channels.masking.sketches.dealing import (
    deal as dealing_of,
)
from securefl.channels.masking.sketches.distances import pair_values
from securefl.channels.masking.sketches.field import P
from securefl.channels.masking.sketches.handling import (
    accepted_shares,
    check_own,
    reader_of,
    signed_dealing,
)
from securefl.channels.masking.sketches.matrix import Matrix
from securefl.channels.masking.sketches.replies import (
    Acceptance,
    DistanceShares,
    OpeningShares,
    bits_of,
)
from securefl.channels.masking.sketches.requests import AcceptanceList, DealingList, UploadList
from securefl.channels.masking.sketches.state import (
    ACCEPTED,
    AGREED,
    DEALT,
    MEASURED,
    OPENED,
    SketchState,
)
from securefl.channels.masking.stages import Answer, Member, check_clients
from securefl.channels.masking.statement import statement_of
from securefl.errors import ProtocolError

SketchOf = Callable[[Matrix, NDArray[Any]], Sequence[int]]  # matrix, words (m,) -> integers (k,)


def deal(member: Member, request: UploadList, state: SketchState, sketch_of: SketchOf) -> Answer:
    """Stage 4: deals the sketch of this client's words under a matrix that nobody chose."""
    terms = member.terms
    if request.digests.get(member.client) != state.upload:
        raise ProtocolError("the list of uploads does not hold this client's own")
    if promise_of(request.nonce) != state.promise:
        raise ProtocolError("the nonce is not the one that was promised")
    check_clients(member, tuple(request.digests), block=state.block, within=state.sharing)
    round, digests = state.round, request.digests
    facts = Facts(terms, round, request.nonce, state.model_hash, digests)
    after = replace(
        state,
        stage=DEALT,
        nonce=request.nonce,
        digests=digests,
        context=facts.context(SKETCHES),
        pair_context=facts.context(PAIR_SKETCHES),
    )
    sketch = sketch_of(facts.matrix, _words_of(state))
    dealing = dealing_of(
        sketch,
        zeros=len(after.uploaders) - 1,
        degree=terms.corrupt,
        points=points_of(state.block, after.uploaders),
        context=after.context,
        sender=member.client,
    )
    own = dealing.shares.pop(member.client)
    boxes = state.secrets.seal(state.own, state.peers, dealing.shares, label=SEALED_SKETCHES)
    reply, public = signed_dealing(member, after, dealing, boxes, context=after.context)
    return Answer(reply, replace(after, words=None, own_sketch=own, public=public))


def accept(member: Member, request: DealingList, state: SketchState) -> Answer:
    """Stage 5: checks all dealings, and signs which ones there are and which do not fit."""
    dealings = reader_of(member).dealings(
        request.dealings,
        round=state.round,
        context=state.context,
        holders=state.uploaders,
        zeros=len(state.uploaders) - 1,
        terms=member.terms,
    )
    check_own(member, request.dealings, request.boxes, state.public)
    contents = state.secrets.opened(state.own, state.peers, request.boxes, label=SEALED_SKETCHES)
    accepted = accepted_shares(
        member,
        state,
        dealings,
        {**contents, member.client: state.own_sketch},
        values=sketching_of(member.terms).size,
        zeros=len(state.uploaders) - 1,
    )
    rejected = {state.block.index(dealer) for dealer in dealings if dealer not in accepted}
    digest = digest_of_dealings(request.dealings)
    reply = Acceptance(member.terms.session, state.round, member.client, digest, bits_of(rejected))
    after = replace(
        state,
        stage=ACCEPTED,
        dealings=digest,
        dealers=tuple(dealings),
        accepted=accepted,
        own_sketch=b"",
    )
    return Answer(member.signed(reply.to_bytes()), after)


def measure(member: Member, request: AcceptanceList, state: SketchState) -> Answer:
    """Stage 6: multiplies shares into one element a pair of clients.

    Shares of different dealings would be multiplied into sketches. Two groups of a threshold share
    an honest client, which signs one digest only.
    """
    if not set(request.acceptances) <= set(state.dealers):
        raise ProtocolError("an acceptance came from a client that did not deal")
    if len(request.acceptances) < member.terms.threshold(len(state.block)):
        raise ProtocolError("fewer clients than the threshold saw the same dealings")
    reader_of(member).check_acceptances(request, state.dealings, member.terms)
    pairs = pair_values(state.accepted, _weights_of(member), state.uploaders)
    elements = [pairs[pair] for pair in sorted(pairs)]
    reply = DistanceShares(member.terms.session, state.round, member.client, elements)
    # The sharings of zero have hidden this round's products, and are used up.
    accepted = {dealer: Shares(held.values, []) for dealer, held in state.accepted.items()}
    after = replace(state, stage=MEASURED, accepted=accepted)
    return Answer(member.signed(reply.to_bytes()), after)


def agree(member: Member, request: SurvivorList, state: SketchState) -> Answer:
    """Stage 7: signs all keys, U2, the dealings, the chosen clients and the model.

    A client that was not chosen signs, too: otherwise a few refusals among the chosen would stop
    the round.
    """
    chosen = request.survivors
    if not set(chosen) <= set(state.dealers):
        raise ProtocolError("the server chooses clients that did not deal")
    fewest = fewest_chosen(member.terms)
    if len(chosen) < fewest:
        raise ProtocolError(
            f"{len(chosen)} chosen clients are too few for a sum; it takes {fewest}"
        )
    facts = statement_of(
        state.advertisements.values(),
        sharing=state.sharing,
        survivors=chosen,
        model_hash=state.model_hash,
    )
    statement = statement_on(facts, state.dealings)
    reply = Consent(member.terms.session, state.round, member.client, statement)
    after = replace(state, stage=AGREED, survivors=chosen, statement=statement)
    return Answer(member.signed(reply.to_bytes()), after)


def reveal(member: Member, request: UnmaskRequest, state: SketchState) -> Answer:
    """Stage 8: reveals one share of each client of U2, and of the sum of the chosen sketches.

    Whoever was not chosen is treated as a dropped client: its self mask stays shut.
    """
    if not set(request.consents) <= set(state.dealers):
        raise ProtocolError("a consent came from a client that did not deal")
    if len(request.consents) < member.terms.threshold(len(state.block)):
        raise ProtocolError("fewer clients than the threshold agreed on the chosen clients")
    member.reader.check_consents(request, state.statement, member.terms)
    shares = {
        member.client: state.own_shares,
        **state.secrets.open(state.own, state.peers, state.sealed),
    }
    chosen = set(state.survivors)
    seeds = {client: both[:SHARE_BYTES] for client, both in shares.items() if client in chosen}
    mask_keys = {
        client: both[SHARE_BYTES:] for client, both in shares.items() if client not in chosen
    }
    reply = OpeningShares(
        member.terms.session,
        state.round,
        member.client,
        _share_of_sum(state),
        seeds,
        mask_keys,
    )
    return Answer(member.signed(reply.to_bytes()), _after_opening(member, state))


def _after_opening(member: Member, state: SketchState) -> SketchState:
    """Returns the memory after stage 8, with what the stages 9 and 10 need and nothing else.

    The sealing key is gone, so that the boxes of stage 2, which the network may have recorded, stay
    shut when a client is broken into later.
    """
    partners = [client for client in state.uploaders if client != member.client]
    keys_to, keys_from = state.secrets.box_keys(
        state.own, state.peers, partners, label=SEALED_PAIR_SKETCHES
    )
    is_chosen = member.client in state.survivors
    return replace(
        state,
        stage=OPENED,
        own_shares=b"",
        sealed={},
        secrets=state.secrets.forgotten(),
        keys_to=keys_to if is_chosen else {},
        keys_from={client: keys_from[client] for client in partners if client in state.survivors},
        pair_keys={
            client: key
            for client, key in state.pair_keys.items()
            if is_chosen and client in state.survivors
        },
        accepted={
            client: shares for client, shares in state.accepted.items() if client in state.survivors
        },
    )


def _share_of_sum(state: SketchState) -> list[int]:
    """Returns a share of the sum of the chosen sketches; [] without the shares of all of them."""
    if not set(state.survivors) <= set(state.accepted):
        return []
    columns = zip(*(state.accepted[client].values for client in state.survivors), strict=True)
    return [sum(column) % P for column in columns]


def _weights_of(member: Member) -> Mapping[int, int]:
    if member.terms.weights is None:
        raise ValueError("distances need public weights")
    return member.terms.weights


def _words_of(state: SketchState) -> NDArray[Any]:
    if state.words is None:
        raise ProtocolError("this client has dealt its sketch already")
    return state.words
