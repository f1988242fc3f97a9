"""The client's side of a masked round: five requests, in order, each checked against this client's own terms.

Source: Bonawitz et al., CCS 2017, figure 4, with the consistency round. The statement that survivors sign holds the
model's hash in answer to Pasquini, Francati and Ateniese, CCS 2022.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement, digest_of_clients, statement_of
from securefl.channels.masking.keys import Identity, open_signed
from securefl.channels.masking.replies import (
    Advertisement,
    Consent,
    MaskedInput,
    RevealedShares,
    SealedShares,
)
from securefl.channels.masking.requests import (
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.round_secrets import RoundSecrets, share_commitments
from securefl.channels.masking.round_state import READY, REVEALED, SUBMITTED, RoundState
from securefl.channels.masking.shamir import SHARE_BYTES
from securefl.channels.masking.stream import CHUNK_BYTES, Masks
from securefl.channels.messages import kind_of
from securefl.channels.monotonic import Monotonic, Progress
from securefl.channels.protocol import ClientUpdate
from securefl.channels.update import check_asked, checked_weight
from securefl.errors import ProtocolError
from securefl.rng import Keystream

_Request = KeyTable | ShareDelivery | SurvivorList | UnmaskRequest


class MaskedClient:
    """The client's side: receives five requests a round, and has one answer to each.

    Guarantees, whatever the server and at most `corrupt` clients of a sum do:
        - Nothing can be opened but the sum over at least max(threshold, min_cohort) clients.
        - Of one client it reveals a share of the self-mask seed or of the mask key, never both.
        - No share leaves before a threshold of clients signed the same keys, survivors and model.
        - A request that is malformed, forged, foreign, old or meant for another changes nothing, nor does an invitation
          that is refused. What the server signed for this client and is illegal erases the round's secrets, so that
          nothing more can be asked of this round. So does a stage that cannot be noted for good.
        - The same request of the round in hand gets the same bytes; nothing is drawn, masked or opened a second time.
          An upload is not kept: it leaves once.
        - Rounds are answered in ascending order and no more of them than were agreed on. Each stage is noted before its
          answer leaves, so that no earlier state of this client answers it again.

    Args:
        client: this client's id.
        identity: its signing key.
        agreement: the terms of the session.
        stream_for: round -> the keystream that decides stochastic rounding.
        monotonic: what this identity has answered so far, in this session and in others.

    Raises:
        ValueError: the roster does not list this client under this identity, or the session was used under other terms.
        ProtocolError: what was answered so far cannot be read.
    """

    def __init__(
        self,
        client: int,
        identity: Identity,
        agreement: Agreement,
        *,
        stream_for: Callable[[int], Keystream],
        monotonic: Monotonic,
    ) -> None:
        if agreement.roster.get(client) != identity.public:
            raise ValueError(f"the roster does not list client {client} under this identity")
        before = monotonic.last(agreement.session)
        if before != Progress() and before.outcome != agreement.digest:
            raise ValueError(
                "this session was used before, and its set-up did not end with these terms"
            )
        self._client, self._identity, self._terms, self._stream_for = (
            client,
            identity,
            agreement,
            stream_for,
        )
        self._monotonic = monotonic
        self._state: RoundState | None = None
        self._replies: Mapping[
            bytes, bytes | None
        ] = {}  # digest of a request of the round in hand -> its answer

    def receive(self, request: bytes) -> bytes | None:
        """The reply to one request; None means train, then submit.

        Raises:
            ProtocolError: the request is malformed, forged, foreign, out of order or illegal.
        """
        message = self._parsed(open_signed(request, self._terms.server, terms=self._terms.digest))
        if message.session != self._terms.session:
            raise ProtocolError("the request belongs to another session")
        digest = hashlib.sha256(request).digest()
        if digest in self._replies:
            return self._again(self._replies[digest])
        if isinstance(message, Invitation):
            reply = self._advertise(message)
            self._replies = {digest: reply}
            return reply
        return self._next(message, digest)

    def _again(self, reply: bytes | None) -> bytes | None:
        """The answer that a request got before; an upload left and is not made again."""
        if reply is None and (self._state is None or self._state.stage != READY):
            raise ProtocolError("this update was asked for before, and left")
        return reply

    def _next(self, message: _Request, digest: bytes) -> bytes | None:
        """The answer to a request that was not heard before."""
        state, replies = self._state, self._replies
        if state is None or message.round != state.round:
            raise ProtocolError(
                f"round {message.round} is not in hand; it was asked for before, or never begun"
            )
        if message.recipient != self._client:
            raise ProtocolError(f"the request is meant for client {message.recipient}")
        self._erase()  # unless the request turns out legal
        reply, after = self._answer(message, state)
        if reply is not None:
            self._note(state.round, REVEALED if after is None else after.stage)
        self._state, self._replies = after, {**replies, digest: reply}
        return reply

    def _note(self, round: int, stage: int) -> None:
        """Keep for good that this stage is answered, before its answer leaves; erase the round where that fails."""
        try:
            before = self._monotonic.last(self._terms.session)
            after = before._replace(outcome=self._terms.digest, round=round, stage=stage)
            self._monotonic.advance(self._terms.session, after)
        except ProtocolError:
            self._erase()
            raise

    def _erase(self) -> None:
        """Forget the round in hand, so that nothing more can be asked of it."""
        self._state, self._replies = None, {}

    def _parsed(self, body: memoryview) -> Invitation | _Request:
        most = len(self._terms.roster)
        for kind in (Invitation, KeyTable, ShareDelivery, SurvivorList, UnmaskRequest):
            if kind_of(body) == kind.KIND:
                return kind.from_bytes(body, most=most)
        raise ProtocolError("a message of this kind is not for a client")

    def _answer(
        self, message: _Request, state: RoundState
    ) -> tuple[bytes | None, RoundState | None]:
        """The reply and the state after it, which is None once everything was revealed."""
        if isinstance(message, KeyTable) and state.stage == 1:
            return self._share(message, state)
        if isinstance(message, ShareDelivery) and state.stage == 2:
            return None, self._prepare(message, state)
        if isinstance(message, SurvivorList) and state.stage == 4:
            return self._consent(message, state)
        if isinstance(message, UnmaskRequest) and state.stage == 5:
            return self._reveal(message, state), None
        raise ProtocolError("a stage was asked for twice or out of order")

    def _advertise(self, invitation: Invitation) -> bytes:
        """Stage 1, AdvertiseKeys: fresh public keys, signed."""
        round = invitation.round
        if round >= self._terms.rounds:
            raise ProtocolError(
                f"round {round} is beyond the {self._terms.rounds} rounds that were agreed on"
            )
        if round <= self._monotonic.last(self._terms.session).round:
            raise ProtocolError(f"round {round} was asked for before")
        if not set(invitation.cohort) <= set(self._terms.roster):
            raise ProtocolError("the cohort holds strangers")
        block = self._terms.block_of(self._client, invitation.cohort)
        if self._client not in block:
            raise ProtocolError("the cohort does not hold this client")
        if len(invitation.cohort) < self._terms.least_invited or len(block) > self._terms.code.most:
            raise ProtocolError(
                f"{len(invitation.cohort)} clients are not a cohort of this session"
            )
        self._check_clients(block, block=block, within=block)
        secrets = RoundSecrets.fresh()
        own = secrets.advertisement(
            self._terms.session,
            round,
            self._client,
            block=digest_of_clients(block),
            server_key=invitation.key,
        )
        signed = self._signed(own.to_bytes())
        self._note(round, 1)
        self._state = RoundState(round, block, secrets, own, signed, invitation.key)
        return signed

    def _share(self, table: KeyTable, state: RoundState) -> tuple[bytes, RoundState]:
        """Stage 2, ShareKeys: check everyone's keys, then share both secrets among them, sealed."""
        if table.advertisements.get(self._client) != state.signed:
            raise ProtocolError("the key table does not hold this client's own keys")
        self._check_clients(tuple(table.advertisements), block=state.block, within=state.block)
        peers = {
            client: self._verified(client, signed, state)
            for client, signed in table.advertisements.items()
        }
        if len(
            {key for peer in peers.values() for key in (peer.mask_key, peer.sealing_key)}
        ) < 2 * len(peers):
            raise ProtocolError("a public key stands twice in the key table")
        points = {client: 1 + state.block.index(client) for client in peers}
        shares = state.secrets.shares(points, threshold=self._terms.threshold(len(state.block)))
        commitments = share_commitments(state.own, shares)
        own_shares = shares.pop(self._client)
        sealed = state.secrets.seal(state.own, peers, shares)
        reply = SealedShares(self._terms.session, state.round, self._client, sealed, commitments)
        after = replace(
            state, stage=2, peers=peers, advertisements=table.advertisements, own_shares=own_shares
        )
        return self._signed(reply.to_bytes()), after

    def _verified(self, client: int, signed: bytes, state: RoundState) -> Advertisement:
        """A peer's advertisement, if it signed it for this session, round and block."""
        peer = Advertisement.from_bytes(
            open_signed(signed, self._terms.roster[client], terms=self._terms.digest)
        )
        if (peer.session, peer.round, peer.sender) != (state.own.session, state.round, client):
            raise ProtocolError(
                f"the keys of client {client} are of another session, round or sender"
            )
        if peer.block != state.own.block:
            raise ProtocolError(f"client {client} was told of another block")
        return peer

    def _prepare(self, delivery: ShareDelivery, state: RoundState) -> RoundState:
        """Stage 3, MaskedInputCollection: note between whom masks are laid, and what to train on."""
        if self._client in delivery.sealed:
            raise ProtocolError("the delivery holds shares from this client itself")
        after = replace(state, stage=3, sealed=delivery.sealed, model_hash=delivery.model_hash)
        self._check_clients(after.sharing, block=state.block, within=state.peers)
        return after

    @property
    def _to_train_for(self) -> RoundState | None:
        """The round in hand, while it waits for this client's update."""
        return self._state if self._state is not None and self._state.stage == READY else None

    def check_model(self, round: int, name: bytes) -> None:
        """Raise ProtocolError unless an update of this round, trained on this very model, was asked for."""
        check_asked(self._to_train_for, name, round=round)

    def submit(self, update: ClientUpdate) -> memoryview:
        """The update as fixed point under all its masks, once a round.

        Raises:
            ProtocolError: nothing was asked for, another model was trained, or the update does not fit the terms.
        """
        state = check_asked(self._to_train_for, update.model_hash)
        terms = self._terms
        weight = checked_weight(
            update, self._client, d=terms.d, weights=terms.weights, max_weight=terms.max_weight
        )
        place = terms.session, state.round, self._client, weight
        upload = MaskedInput.blank(*place, m=terms.d, word=terms.code.word)
        masks, key = self._masks(state)
        encoded = self._encoded(update, weight, self._stream_for(state.round), out=upload.words)
        for chunk, part in enumerate(encoded):
            masks.add_to(part, chunk=chunk)
        self._note(state.round, SUBMITTED)
        self._state = replace(state, stage=4, secrets=state.secrets.after_upload())
        return upload.tagged(key)

    def _masks(self, state: RoundState) -> tuple[Masks, bytes]:
        """All masks of this client, and the key of its upload; a key that is unusable erases the round."""
        secrets = state.secrets
        try:
            masks = secrets.masks(
                state.own, state.peers, list(state.sealed), model_hash=state.model_hash
            )
            return masks, secrets.upload_key(state.own, state.server_key)
        except ProtocolError:
            self._erase()
            raise

    def _encoded(
        self, update: ClientUpdate, weight: int, stream: Keystream, *, out: NDArray[Any]
    ) -> Iterator[NDArray[Any]]:
        """Write w / w_max * delta into out (d,); give chunks of it."""
        terms = self._terms
        values = update.delta.detach().numpy().astype(np.float32, copy=False)
        scale, step = weight / terms.max_weight, CHUNK_BYTES // terms.code.word.itemsize
        for start in range(0, len(out), step):
            part = out[start : start + step]
            terms.code.encode(values[start : start + step], scale=scale, stream=stream, out=part)
            yield part

    def _consent(self, told: SurvivorList, state: RoundState) -> tuple[bytes, RoundState]:
        """Stage 4, ConsistencyCheck: sign the keys, both sets of clients and the model."""
        if self._client not in told.survivors:
            raise ProtocolError("this client's update was left out of the sum")
        self._check_clients(told.survivors, block=state.block, within=state.sharing)
        statement = statement_of(
            state.advertisements.values(),
            sharing=state.sharing,
            survivors=told.survivors,
            model_hash=state.model_hash,
        )
        reply = Consent(self._terms.session, state.round, self._client, statement)
        return self._signed(reply.to_bytes()), replace(
            state, stage=5, survivors=told.survivors, statement=statement
        )

    def _reveal(self, request: UnmaskRequest, state: RoundState) -> bytes:
        """Stage 5, Unmasking: once enough survivors signed the same, one share of every client of U2."""
        if not set(request.consents) <= set(state.survivors):
            raise ProtocolError("a consent came from outside the survivors")
        if len(request.consents) < self._terms.threshold(len(state.block)):
            raise ProtocolError("fewer clients than the threshold agreed on the survivors")
        for client, signed in request.consents.items():
            consent = open_signed(signed, self._terms.roster[client], terms=self._terms.digest)
            if (
                consent
                != Consent(self._terms.session, state.round, client, state.statement).to_bytes()
            ):
                raise ProtocolError(
                    f"client {client} agreed to other keys, other survivors or another model"
                )
        opened = {
            self._client: state.own_shares,
            **state.secrets.open(state.own, state.peers, state.sealed),
        }
        seeds = {
            client: both[:SHARE_BYTES]
            for client, both in opened.items()
            if client in state.survivors
        }
        keys = {
            client: both[SHARE_BYTES:]
            for client, both in opened.items()
            if client not in state.survivors
        }
        return self._signed(
            RevealedShares(self._terms.session, state.round, self._client, seeds, keys).to_bytes()
        )

    def _check_clients(
        self, named: tuple[int, ...], *, block: tuple[int, ...], within: Iterable[int]
    ) -> None:
        """Whom the server names is known from the stage before, and enough for a sum of this block."""
        if not set(named) <= set(within):
            raise ProtocolError("the server names clients that were not there before")
        if len(named) < (fewest := self._terms.fewest(len(block))):
            raise ProtocolError(
                f"{len(named)} clients are too few for a sum of {len(block)}; it takes {fewest}"
            )

    def _signed(self, message: bytes) -> bytes:
        return message + self._identity.signature(message, terms=self._terms.digest)
