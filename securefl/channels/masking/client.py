"""The client's side of a masked round: it answers each request once, and erases after fraud.

`stages` holds the checks and the answer of each stage, `upload` the masked update itself. Where two
rounds overlap, `rounds` holds a client for each.

Source: Bonawitz et al., CCS 2017, figure 4, with the consistency round.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

from securefl.channels.masking import stages
from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.keys import Identity
from securefl.channels.masking.reading import RoundReader
from securefl.channels.masking.requests import (
    Addressed,
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.round_state import (
    ADVERTISED,
    CONSENTED,
    READY,
    REVEALED,
    SHARED,
    SUBMITTED,
    RoundState,
)
from securefl.channels.masking.stages import Answer, Member
from securefl.channels.masking.stream import Masks
from securefl.channels.masking.upload import masked_input
from securefl.channels.monotonic import Monotonic, Progress
from securefl.channels.protocol import ClientUpdate
from securefl.channels.update import check_asked, check_shares, checked_weight
from securefl.errors import ProtocolError
from securefl.rng import Keystream, system_keystream


class MaskedClient:
    """The client's side: receives five requests a round, and has one answer to each.

    Guarantees, whatever the server and at most `corrupt` clients of a sum do:
        - Nothing opens except the sum over at least max(threshold, min_cohort) clients.
        - Of each client it reveals a share of the self-mask seed or of the mask key, never both.
        - No share leaves before a threshold of clients signed the same keys, survivors and model.
        - A request changes nothing if it is malformed, forged, foreign, old or addressed to
          another client. The same holds for an invitation that is refused.
        - A request that the server signed for this client, and that is illegal, erases the round's
          secrets. So does a stage that cannot be noted for good. Nothing more can be asked of that
          round.
        - A repeated request of the current round gets the same bytes. Nothing is drawn, masked or
          opened a second time. An upload is not kept: it leaves once.
        - Rounds are answered in ascending order, and no more rounds than were agreed on. Each stage
          is noted before its answer leaves, so that no earlier state of this client answers again.

    Args:
        client: this client's id.
        identity: its signing key.
        agreement: the terms of the session.
        stream_for: round -> the keystream that decides stochastic rounding.
        monotonic: what this identity has answered already, in this session and in others.
        reader: reads the server's requests; members of one process may share it.
        beside: the round that another client of this identity goes on with while this one begins
            the next; -1 where a new round ends every earlier one.
        share_stream_for: round -> the keystream that makes this client's share of noise, where the
            terms have any; the system's by default.

    Raises:
        ValueError: the roster does not list this client under this identity, or the session was
            used under other terms.
        ProtocolError: the record of earlier answers cannot be read.
    """

    _LAST: ClassVar[int] = REVEALED  # the stage after which nothing of a round is left

    def __init__(
        self,
        client: int,
        identity: Identity,
        agreement: Agreement,
        *,
        stream_for: Callable[[int], Keystream],
        monotonic: Monotonic,
        reader: RoundReader | None = None,
        beside: int = -1,
        share_stream_for: Callable[[int], Keystream] = lambda round: system_keystream(),
    ) -> None:
        if agreement.roster.get(client) != identity.public:
            raise ValueError(f"the roster does not list client {client} under this identity")
        before = monotonic.last(agreement.session)
        if before != Progress() and before.outcome != agreement.digest:
            raise ValueError(
                "this session was used before, and its set-up did not end with these terms"
            )
        self._member = Member(client, identity, agreement, reader or RoundReader())
        self._terms = agreement
        self._stream_for = stream_for
        self._share_stream_for = share_stream_for
        self._monotonic = monotonic
        self._beside = beside
        self._state: RoundState | None = None
        # Digest of each request that was answered in the current round -> its answer.
        self._replies: Mapping[bytes, bytes | None] = {}

    def receive(self, request: bytes) -> bytes | None:
        """Returns the reply to one request; None means: train, then submit.

        Raises:
            ProtocolError: the request is malformed, forged, foreign, out of order or illegal.
        """
        opened = self._member.reader.opened(request, self._terms)
        message, digest = opened.message, opened.digest
        if message.session != self._terms.session:
            raise ProtocolError("the request belongs to another session")
        if digest in self._replies:
            return self._repeated(self._replies[digest])
        if isinstance(message, Invitation):
            reply = self._advertise(message)
            self._replies = {digest: reply}
            return reply
        return self._next(message, digest)

    def _repeated(self, reply: bytes | None) -> bytes | None:
        """Returns the answer that a request got before, unless that answer was an upload.

        An upload is not kept, and masking again could put two updates under the same masks.
        """
        if reply is None and (self._state is None or self._state.stage != READY):
            raise ProtocolError("this update was asked for before, and left")
        return reply

    def _advertise(self, invitation: Invitation) -> bytes:
        """Stage 1, AdvertiseKeys: begins a round with fresh keys. A refusal changes nothing."""
        round = invitation.round
        if round >= self._terms.rounds:
            raise ProtocolError(
                f"round {round} is beyond the {self._terms.rounds} rounds that were agreed on"
            )
        if round <= self._monotonic.last(self._terms.session).round:
            raise ProtocolError(f"round {round} was asked for before")
        block = stages.invited_block(self._member, invitation.cohort, round)
        state = self._begun(invitation, block)
        self._note(round, ADVERTISED)
        self._state = state
        return state.signed

    def _begun(self, invitation: Invitation, block: tuple[int, ...]) -> RoundState:
        """Returns the state of a round that begins."""
        return stages.advertise(self._member, invitation, block)

    def _next(self, message: Addressed, digest: bytes) -> bytes | None:
        """Returns the answer to a request after the first that was not answered before."""
        state = self._state
        replies = self._replies
        if state is None or message.round != state.round:
            raise ProtocolError(
                f"round {message.round} is not in progress; it was asked for before, or never begun"
            )
        if message.recipient != self._member.client:
            raise ProtocolError(f"the request is meant for client {message.recipient}")
        # From here on the server signed this request for this client. If it is illegal, the server
        # cheats: the round stays erased, or it could try again until something opens.
        self._erase()
        answer = self._answer(message, state)
        if answer.reply is not None:
            self._note(state.round, self._LAST if answer.state is None else answer.state.stage)
        self._state = answer.state
        self._replies = {**replies, digest: answer.reply}
        return answer.reply

    def _answer(self, message: Addressed, state: RoundState) -> Answer:
        """Returns the reply to the one request that may follow the stage that was answered last."""
        if isinstance(message, KeyTable) and state.stage == ADVERTISED:
            return stages.share_keys(self._member, message, state)
        if isinstance(message, ShareDelivery) and state.stage == SHARED:
            return stages.prepare(self._member, message, state)
        if isinstance(message, SurvivorList) and state.stage == SUBMITTED:
            return stages.consent(self._member, message, state)
        if isinstance(message, UnmaskRequest) and state.stage == CONSENTED:
            return stages.reveal(self._member, message, state)
        raise ProtocolError("a stage was asked for twice or out of order")

    @property
    def awaits_update(self) -> bool:
        """Whether this client was asked for an update, and has not submitted it."""
        return self._to_train_for is not None

    def check_model(self, round: int, name: bytes) -> None:
        """Raises ProtocolError unless an update of this round and this model was asked for."""
        check_asked(self._to_train_for, name, round=round)

    def submit(self, update: ClientUpdate) -> memoryview:
        """Stage 3: returns the update in fixed point under all its masks, once a round.

        Raises:
            ProtocolError: nothing was asked for, another model was trained, or the update does not
                fit the terms. Under noise, it must be booked as the sum that the terms describe.
        """
        state, weight = self._checked(update)
        noise = self._terms.noise
        masks, key = self._masks(state)
        upload = masked_input(
            update,
            weight,
            state,
            self._terms,
            masks=masks,
            stream=self._stream_for(state.round),
            share_stream=None if noise is None else self._share_stream_for(state.round),
        )
        # Noted before it leaves: a restarted client must not mask a second update with these masks.
        self._note(state.round, SUBMITTED)
        self._state = replace(state, stage=SUBMITTED, secrets=state.secrets.after_upload())
        return upload.tagged(key)

    def _checked(self, update: ClientUpdate) -> tuple[RoundState, int]:
        """Returns the round that asked for an update, and the weight that the update carries."""
        state = check_asked(self._to_train_for, update.model_hash)
        noise = self._terms.noise
        check_shares(update.spent, None if noise is None else noise.event)
        weight = checked_weight(
            update,
            self._member.client,
            d=self._terms.d,
            weights=self._terms.weights,
            max_weight=self._terms.max_weight,
        )
        return state, weight

    @property
    def _to_train_for(self) -> RoundState | None:
        """The current round, while it waits for this client's update."""
        if self._state is None or self._state.stage != READY:
            return None
        return self._state

    def _masks(self, state: RoundState) -> tuple[Masks, bytes]:
        """Returns all masks of this client and the key of its upload.

        A key that turns out unusable here is one that the server passed on: the round is erased.
        """
        secrets = state.secrets
        try:
            masks = secrets.masks(
                state.own, state.peers, list(state.sealed), model_hash=state.model_hash
            )
            key = secrets.upload_key(state.own, state.server_key)
        except ProtocolError:
            self._erase()
            raise
        return masks, key

    def _note(self, round: int, stage: int) -> None:
        """Keeps for good that this stage is answered; call it before the answer leaves.

        Where that fails, the round is erased: a client that was put back to an earlier state could
        give a second answer, and two answers can tell more than one.
        """
        # An update leaves under one model only: it ends the round before, opened or not.
        beside = self._beside if stage < SUBMITTED else -1
        try:
            before = self._monotonic.last(self._terms.session)
            after = before.answered(round, stage, beside=beside)
            after = after._replace(outcome=self._terms.digest)
            self._monotonic.advance(self._terms.session, after)
        except ProtocolError:
            self._erase()
            raise

    def _erase(self) -> None:
        """Forgets the current round, so that nothing more can be asked of it."""
        self._state = None
        self._replies = {}
