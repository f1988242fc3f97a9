"""The client's side of a round in which a rule chooses the clients of the sum by their sketches.

`steps` holds the checks and the answers of stages 4 to 8, `blaming` those of stages 9 and 10. The
first three stages are those of any masked round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, cast

from numpy.typing import NDArray

from securefl.channels.masking import stages
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.replies import MaskedInput
from securefl.channels.masking.requests import (
    Addressed,
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.round_state import ADVERTISED, SHARED, SUBMITTED, RoundState
from securefl.channels.masking.sketches import blaming, steps
from securefl.channels.masking.sketches.blame import pair_sketches
from securefl.channels.masking.sketches.context import sketching_of
from securefl.channels.masking.sketches.matrix import Matrix, centred, digest_of_words
from securefl.channels.masking.sketches.requests import (
    AcceptanceList,
    BlameRequest,
    Challenge,
    DealingList,
    PromisedInvitation,
    UploadList,
)
from securefl.channels.masking.sketches.state import (
    ACCEPTED,
    AGREED,
    BLAMED,
    DEALT,
    MEASURED,
    OPENED,
    SHOWN,
    SketchState,
)
from securefl.channels.masking.sketches.words import ROOM, encoded_words
from securefl.channels.masking.stages import Answer
from securefl.channels.masking.stream import chunks
from securefl.channels.protocol import ClientUpdate
from securefl.errors import ProtocolError


class SketchingClient(MaskedClient):
    """The client's side: eight requests a round, ten where somebody lied, and one answer to each.

    Guarantees next to those of `MaskedClient`, whatever the server and up to `corrupt` clients do:
        - Of updates nothing opens except one sum over at least `fewest_chosen` clients, and the
          squared distances between sketches.
        - The matrix of the sketches depends on this client's own upload, and on a nonce that the
          server had fixed before.
        - No product of shares leaves before a threshold of clients signed the same dealings.

    The client keeps its words (m,) until it has dealt their sketch. `SketchState` says what it
    keeps until the next invitation.
    """

    _LAST: ClassVar[int] = SHOWN

    def _begun(self, invitation: Invitation, block: tuple[int, ...]) -> SketchState:
        """Stage 1: notes what the server promised as well."""
        if not isinstance(invitation, PromisedInvitation):
            raise ProtocolError("the invitation promises no nonce")
        if len(block) * ROOM > self._terms.code.most:
            raise ProtocolError(f"{len(block)} sketches are more than the terms have room for")
        state = stages.advertise(self._member, invitation, block)
        values = {field.name: getattr(state, field.name) for field in fields(state)}
        return SketchState(**values, promise=invitation.promise)

    def _answer(self, message: Addressed, state: RoundState) -> Answer:
        """Returns the reply to the one request that may follow the stage that was answered last."""
        for kind, stage, step in self._steps():
            if isinstance(message, kind) and state.stage == stage:
                return step(self._member, message, state)
        raise ProtocolError("a stage was asked for twice or out of order")

    def _steps(self) -> Sequence[tuple[type[Addressed], int, Callable[..., Answer]]]:
        """Returns each request, the stage that must have been answered last, and its step."""
        return (
            (KeyTable, ADVERTISED, stages.share_keys),
            (ShareDelivery, SHARED, stages.prepare),
            (UploadList, SUBMITTED, self._deal),
            (DealingList, DEALT, steps.accept),
            (AcceptanceList, ACCEPTED, steps.measure),
            (SurvivorList, MEASURED, steps.agree),
            (UnmaskRequest, AGREED, steps.reveal),
            (BlameRequest, OPENED, self._deal_pairs),
            (Challenge, OPENED, blaming.show),
            (Challenge, BLAMED, blaming.show),
        )

    def _deal(self, member: stages.Member, request: UploadList, state: SketchState) -> Answer:
        return steps.deal(member, request, state, self._sketch)

    def _sketch(self, matrix: Matrix, words: NDArray[Any]) -> Sequence[int]:
        """Returns the sketch of this client's update, k integers."""
        return centred(matrix.sketch(words))

    def _deal_pairs(
        self, member: stages.Member, request: BlameRequest, state: SketchState
    ) -> Answer:
        return blaming.deal_pairs(member, request, state, self._pair_sketches)

    def _pair_sketches(self, matrix: Matrix, keys: Mapping[int, bytes]) -> Sequence[int]:
        """Returns the sketches of this client's pair masks, k integers for each other client."""
        return pair_sketches(matrix, keys, size=sketching_of(self._terms).size)

    def submit(self, update: ClientUpdate) -> memoryview:
        """Stage 3: returns the update in fixed point under all its masks, once a round.

        Raises:
            ProtocolError: see `MaskedClient.submit`.
        """
        asked, weight = self._checked(update)
        state = cast(SketchState, asked)
        secrets = state.secrets
        try:
            partners = list(state.sealed)
            pair_keys = secrets.pair_keys(
                state.own, state.peers, partners, model_hash=state.model_hash
            )
            key = secrets.upload_key(state.own, state.server_key)
        except ProtocolError:
            self._erase()
            raise
        words = encoded_words(update, weight, self._terms, stream=self._stream_for(state.round))
        upload = MaskedInput.blank(
            self._terms.session,
            state.round,
            self._member.client,
            weight,
            m=self._terms.words,
            word=self._terms.code.word,
        )
        upload.words[:] = words
        masks = secrets.masks_of(state.own, pair_keys)
        for chunk, part in enumerate(chunks(upload.words)):
            masks.add_to(part, chunk=chunk)
        self._note(state.round, SUBMITTED)
        self._state = replace(
            state,
            stage=SUBMITTED,
            secrets=secrets.after_upload(),
            upload=digest_of_words(upload.words),
            words=words,
            pair_keys=pair_keys,
        )
        return upload.tagged(key)
