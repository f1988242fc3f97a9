"""The client's side of a masked round: five requests, in order, each checked against this client's own terms.

Source: Bonawitz et al., CCS 2017, figure 4, with the consistency round. The statement that survivors sign holds the
model's hash in answer to Pasquini, Francati and Ateniese, CCS 2022.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement, digest_of_clients, statement_of
from securefl.channels.masking.keys import Identity, open_signed
from securefl.channels.masking.replies import Advertisement, Consent, MaskedInput, RevealedShares, SealedShares
from securefl.channels.masking.requests import Invitation, KeyTable, ShareDelivery, SurvivorList, UnmaskRequest
from securefl.channels.masking.round_secrets import RoundSecrets
from securefl.channels.masking.shamir import SHARE_BYTES
from securefl.channels.masking.stream import CHUNK_BYTES, Masks
from securefl.channels.masking.wire import Table
from securefl.channels.messages import kind_of
from securefl.channels.update import check_asked, checked_weight
from securefl.errors import ProtocolError
from securefl.rng import Keystream
from securefl.types import ClientUpdate

_Request = KeyTable | ShareDelivery | SurvivorList | UnmaskRequest


@dataclass(frozen=True)
class _Round:
    """What a client holds between the stages of one round.

    `stage`: 1 advertised, 2 shared, 3 ready to train, 4 submitted, 5 consented.
    """

    round: int
    block: tuple[int, ...]
    secrets: RoundSecrets
    own: Advertisement
    signed: bytes  # the advertisement as it was sent
    server_key: bytes
    stage: int = 1
    answered: frozenset[bytes] = frozenset()  # digests of the requests behind it
    peers: Mapping[int, Advertisement] = field(default_factory=dict)  # U1 of the paper, itself included
    advertisements: Table = field(default_factory=dict)  # the same as they were signed
    own_shares: bytes = field(default=b"", repr=False)
    sealed: Table = field(default_factory=dict)  # from U2 without itself
    model_hash: bytes = b""
    survivors: tuple[int, ...] = ()  # U3
    statement: bytes = b""

    @property
    def sharing(self) -> tuple[int, ...]:
        """U2: the clients between which masks are laid."""
        return tuple(sorted((self.own.sender, *self.sealed)))


class MaskedClient:
    """The client's side: receives five requests a round and answers each once.

    Guarantees, whatever the server and at most `corrupt` clients of a sum do:
        - Nothing can be opened but the sum over at least max(threshold, min_cohort) clients.
        - Of one client it reveals a share of the self-mask seed or of the mask key, never both.
        - No share leaves before a threshold of clients signed the same keys, survivors and model.
        - A request that is malformed, forged, foreign, old, repeated or meant for another changes nothing, nor does an
          invitation that is refused. What the server signed for this client and is illegal erases the round's secrets,
          so that nothing more can be asked of this round.

    Args:
        client: this client's id.
        identity: its signing key.
        agreement: the terms of the session.
        stream_for: round -> the keystream that decides stochastic rounding.

    Raises:
        ValueError: the roster does not list this client under this identity.
    """

    def __init__(
        self, client: int, identity: Identity, agreement: Agreement, *, stream_for: Callable[[int], Keystream]
    ) -> None:
        if agreement.roster.get(client) != identity.public:
            raise ValueError(f"the roster does not list client {client} under this identity")
        self._client, self._identity, self._terms, self._stream_for = client, identity, agreement, stream_for
        self._last_round = -1
        self._state: _Round | None = None

    def receive(self, request: bytes) -> bytes | None:
        """The reply to one request; None means train, then submit.

        Raises:
            ProtocolError: the request is malformed, forged, foreign, out of order or illegal.
        """
        message = self._parsed(open_signed(request, self._terms.server, terms=self._terms.digest))
        if message.session != self._terms.session:
            raise ProtocolError("the request belongs to another session")
        if isinstance(message, Invitation):
            return self._advertise(message)
        if self._state is None or message.round != self._state.round:
            raise ProtocolError(f"round {message.round} is not in hand; it was asked for before, or never begun")
        if message.recipient != self._client:
            raise ProtocolError(f"the request is meant for client {message.recipient}")
        if (digest := hashlib.sha256(request).digest()) in self._state.answered:
            raise ProtocolError("this very request was answered before")
        state, self._state = self._state, None  # erased, unless the request turns out legal
        reply, after = self._answer(message, state)
        self._state = None if after is None else replace(after, answered=state.answered | {digest})
        return reply

    def _parsed(self, body: memoryview) -> Invitation | _Request:
        most = len(self._terms.roster)
        for kind in (Invitation, KeyTable, ShareDelivery, SurvivorList, UnmaskRequest):
            if kind_of(body) == kind.KIND:
                return kind.from_bytes(body, most=most)
        raise ProtocolError("a message of this kind is not for a client")

    def _answer(self, message: _Request, state: _Round) -> tuple[bytes | None, _Round | None]:
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
        if round <= self._last_round:
            raise ProtocolError(f"round {round} was asked for before")
        if not set(invitation.cohort) <= set(self._terms.roster):
            raise ProtocolError("the cohort holds strangers")
        block = self._terms.block_of(self._client, round, invitation.cohort)
        if self._client not in block:
            raise ProtocolError("the cohort does not hold this client")
        if len(invitation.cohort) < self._terms.least_invited or len(block) > self._terms.code.most:
            raise ProtocolError(f"{len(invitation.cohort)} clients are not a cohort of this session")
        self._check_clients(block, block=block, within=block)
        self._last_round = round
        secrets = RoundSecrets.fresh()
        own = secrets.advertisement(self._terms.session, round, self._client, block=digest_of_clients(block))
        signed = self._signed(own.to_bytes())
        self._state = _Round(round, block, secrets, own, signed, invitation.key)
        return signed

    def _share(self, table: KeyTable, state: _Round) -> tuple[bytes, _Round]:
        """Stage 2, ShareKeys: check everyone's keys, then share both secrets among them, sealed."""
        if table.advertisements.get(self._client) != state.signed:
            raise ProtocolError("the key table does not hold this client's own keys")
        self._check_clients(tuple(table.advertisements), block=state.block, within=state.block)
        peers = {client: self._verified(client, signed, state) for client, signed in table.advertisements.items()}
        if len({key for peer in peers.values() for key in (peer.mask_key, peer.sealing_key)}) < 2 * len(peers):
            raise ProtocolError("a public key stands twice in the key table")
        points = {client: 1 + state.block.index(client) for client in peers}
        shares = state.secrets.shares(points, threshold=self._terms.threshold(len(state.block)))
        own_shares = shares.pop(self._client)
        sealed = state.secrets.seal(state.own, peers, shares)
        reply = SealedShares(self._terms.session, state.round, self._client, sealed)
        after = replace(state, stage=2, peers=peers, advertisements=table.advertisements, own_shares=own_shares)
        return self._signed(reply.to_bytes()), after

    def _verified(self, client: int, signed: bytes, state: _Round) -> Advertisement:
        """A peer's advertisement, if it signed it for this session, round and block."""
        peer = Advertisement.from_bytes(open_signed(signed, self._terms.roster[client], terms=self._terms.digest))
        if (peer.session, peer.round, peer.sender) != (state.own.session, state.round, client):
            raise ProtocolError(f"the keys of client {client} are of another session, round or sender")
        if peer.block != state.own.block:
            raise ProtocolError(f"client {client} was told of another block")
        return peer

    def _prepare(self, delivery: ShareDelivery, state: _Round) -> _Round:
        """Stage 3, MaskedInputCollection: note between whom masks are laid, and what to train on."""
        if self._client in delivery.sealed:
            raise ProtocolError("the delivery holds shares from this client itself")
        after = replace(state, stage=3, sealed=delivery.sealed, model_hash=delivery.model_hash)
        self._check_clients(after.sharing, block=state.block, within=state.peers)
        return after

    @property
    def _to_train_for(self) -> _Round | None:
        """The round in hand, while it waits for this client's update."""
        return self._state if self._state is not None and self._state.stage == 3 else None

    def check_model(self, round: int, name: bytes) -> None:
        """Raise ProtocolError unless an update of this round, trained on this very model, was asked for."""
        check_asked(self._to_train_for, round, name)

    def submit(self, update: ClientUpdate) -> memoryview:
        """The update as fixed point under all its masks, once a round.

        Raises:
            ProtocolError: nothing was asked for, another model was trained, or the update does not fit the terms.
        """
        round = -1 if self._state is None else self._state.round
        state = check_asked(self._to_train_for, round, update.model_hash)
        terms = self._terms
        upload = MaskedInput.blank(terms.session, state.round, self._client, m=terms.words, word=terms.code.word)
        masks, key = self._masks(state)
        for chunk, part in enumerate(self._encoded(update, self._stream_for(state.round), out=upload.words)):
            masks.add_to(part, chunk=chunk)
        self._state = replace(state, stage=4, secrets=state.secrets.after_upload())
        return upload.tagged(key)

    def _masks(self, state: _Round) -> tuple[Masks, bytes]:
        """All masks of this client, and the key of its upload; a key that is unusable erases the round."""
        secrets = state.secrets
        try:
            masks = secrets.masks(state.own, state.peers, list(state.sealed), model_hash=state.model_hash)
            return masks, secrets.upload_key(state.own, state.server_key)
        except ProtocolError:
            self._state = None
            raise

    def _encoded(self, update: ClientUpdate, stream: Keystream, *, out: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Write w / w_max * delta into out (m,), w itself behind it where weights are not public; give chunks of it."""
        terms = self._terms
        weight = checked_weight(update, self._client, d=terms.d, weights=terms.weights, max_weight=terms.max_weight)
        values = update.delta.detach().numpy().astype(np.float32, copy=False)
        out[terms.d :] = weight
        scale, step = weight / terms.max_weight, CHUNK_BYTES // terms.code.word.itemsize
        for start in range(0, len(out), step):
            part = out[start : start + step]
            coordinates = part[: terms.d - start]
            terms.code.encode(values[start : start + step], scale=scale, stream=stream, out=coordinates)
            yield part

    def _consent(self, told: SurvivorList, state: _Round) -> tuple[bytes, _Round]:
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
        return self._signed(reply.to_bytes()), replace(state, stage=5, survivors=told.survivors, statement=statement)

    def _reveal(self, request: UnmaskRequest, state: _Round) -> bytes:
        """Stage 5, Unmasking: once enough survivors signed the same, one share of every client of U2."""
        if not set(request.consents) <= set(state.survivors):
            raise ProtocolError("a consent came from outside the survivors")
        if len(request.consents) < self._terms.threshold(len(state.block)):
            raise ProtocolError("fewer clients than the threshold agreed on the survivors")
        for client, signed in request.consents.items():
            consent = open_signed(signed, self._terms.roster[client], terms=self._terms.digest)
            if consent != Consent(self._terms.session, state.round, client, state.statement).to_bytes():
                raise ProtocolError(f"client {client} agreed to other keys, other survivors or another model")
        opened = {self._client: state.own_shares, **state.secrets.open(state.own, state.peers, state.sealed)}
        seeds = {client: both[:SHARE_BYTES] for client, both in opened.items() if client in state.survivors}
        keys = {client: both[SHARE_BYTES:] for client, both in opened.items() if client not in state.survivors}
        return self._signed(RevealedShares(self._terms.session, state.round, self._client, seeds, keys).to_bytes())

    def _check_clients(self, named: tuple[int, ...], *, block: tuple[int, ...], within: Iterable[int]) -> None:
        """Whom the server names is known from the stage before, and enough for a sum of this block."""
        if not set(named) <= set(within):
            raise ProtocolError("the server names clients that were not there before")
        if len(named) < (fewest := self._terms.fewest(len(block))):
            raise ProtocolError(f"{len(named)} clients are too few for a sum of {len(block)}; it takes {fewest}")

    def _signed(self, message: bytes) -> bytes:
        return message + self._identity.signature(message, terms=self._terms.digest)
