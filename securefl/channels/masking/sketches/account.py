"""One sum whose clients a rule chooses, as the server sees it: stages 1 to 8.

`choosing` compares and chooses. `inquiry` holds stages 9 and 10, which follow where the sum and the
sketches disagree. This file decides which replies count.
"""

from typing import Any

from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.block import UPLOAD_STAGE, Block
from securefl.channels.masking.keys import RoundKey
from securefl.channels.masking.replies import MaskedInput, RevealedShares
from securefl.channels.masking.requests import Addressed, SurvivorList, UnmaskRequest
from securefl.channels.masking.sketches.choosing import (
    Compared,
    Suspects,
    agrees,
    chosen_of,
    lacking_shares,
    summed_sketch,
)
from securefl.channels.masking.sketches.context import (
    Facts,
    fewest_chosen,
    sketching_of,
    statement_on,
)
from securefl.channels.masking.sketches.dealing import PAIR_SKETCHES, SKETCHES
from securefl.channels.masking.sketches.dealings import Dealings
from securefl.channels.masking.sketches.distances import Pair
from securefl.channels.masking.sketches.inquiry import Inquiry, residues_of
from securefl.channels.masking.sketches.matrix import digest_of_words
from securefl.channels.masking.sketches.measuring import Measurements
from securefl.channels.masking.sketches.replies import Acceptance, DistanceShares, OpeningShares
from securefl.channels.masking.sketches.requests import AcceptanceList, DealingList, UploadList
from securefl.channels.masking.statement import statement_of
from securefl.channels.protocol import Packet, Seen, Selection
from securefl.errors import RoundAbandoned

OPENING_STAGE = 8


class SelectingBlock(Block):
    """The server's account of one sum whose clients a rule chooses.

    It keeps every upload until the sum is known to agree with the sketches: n vectors of m words.
    The self masks of clients that were not chosen are never removed.

    Args:
        agreement: the terms of the session.
        round: its number.
        members: the clients invited into this sum, ascending.
        model_hash: names the model that they train on; it may be set until stage 3.
        server_key: the server's key of the round.
        selection: the rule.
        suspects: of earlier rounds.
        nonce: 32 bytes, shown in stage 4.
    """

    def __init__(
        self,
        agreement: Agreement,
        round: int,
        members: tuple[int, ...],
        model_hash: bytes,
        server_key: RoundKey,
        *,
        selection: Selection,
        suspects: Suspects,
        nonce: bytes,
    ) -> None:
        super().__init__(agreement, round, members, model_hash, server_key)
        # Clients that were named before are invited and counted, and not heard.
        self.present = tuple(client for client in members if client not in suspects.named)
        self._selection = selection
        self.suspects = suspects
        self._nonce = nonce
        self._uploads: dict[int, NDArray[Any]] = {}  # U3 -> words (m,)
        self._digests: dict[int, bytes] = {}
        self._measurements: Measurements | None = None
        self.distances: Compared | None = None
        self._sketches: dict[int, list[int]] = {}  # holder -> share of the sum
        self.found = suspects  # with those of this round
        self._facts: Facts | None = None
        self._seeds: dict[int, bytes] = {}
        self._mask_keys: dict[int, RoundKey] = {}
        self._inquiry: Inquiry | None = None
        self._pairs_are_dealt = False
        self.agrees: bool | None = None  # whether the sum is that of the sketches; None: not known

    @property
    def uploaders(self) -> tuple[int, ...]:
        """U3, the clients whose masked updates arrived, ascending."""
        return tuple(sorted(self._digests))

    @property
    def measurements(self) -> Measurements:
        """The dealings of sketches and what holders say about them, from stage 4 on."""
        if self._measurements is None:
            raise ValueError("no sketch was dealt before the uploads were fixed")
        return self._measurements

    @property
    def facts(self) -> Facts:
        """What the uploads fixed, from stage 4 on."""
        if self._facts is None:
            raise ValueError("nothing is fixed before the uploads have arrived")
        return self._facts

    @property
    def inquiry(self) -> Inquiry:
        """The stages after the sum disagreed with the sketches."""
        if self._inquiry is None:
            raise ValueError("nothing is wrong with the sum")
        return self._inquiry

    @property
    def asked(self) -> tuple[int, ...]:
        """The clients that the next stage asks: in stage 9 members of the sum alone."""
        if self._inquiry is None or self._pairs_are_dealt:
            return self.present
        return tuple(client for client in self.present if client in self.survivors)

    @property
    def newly_named(self) -> dict[int, str]:
        """The clients that this round named, and why."""
        return {c: why for c, why in self.found.named.items() if c not in self.suspects.named}

    @property
    def newly_paired(self) -> tuple[Pair, ...]:
        """The pairs that this round matched, one of each lied; they concern this round only."""
        return self.found.paired[len(self.suspects.paired) :]

    def request(self, stage: int, client: int) -> Addressed:
        """Returns the request of stages 2 to 8 to a client that is present."""
        head = (self._terms.session, self._round, client)
        if stage <= UPLOAD_STAGE:
            return super().request(stage, client)
        if stage == 4:
            return UploadList(*head, self._nonce, self._digests)
        if stage == 5:
            return DealingList(
                *head,
                self.measurements.dealings.signed,
                self.measurements.dealings.boxes_for(client),
            )
        if stage == 6:
            return AcceptanceList(*head, self.measurements.acceptances)
        if stage == 7:
            return SurvivorList(*head, self.survivors)
        if stage == OPENING_STAGE:
            return UnmaskRequest(*head, self._consents)
        return self.inquiry.request(stage, client)

    def absorb(self, stage: int, client: int, body: memoryview, message: Packet) -> Seen:
        """Takes one reply whose signature or tag was verified; see `Block.absorb`."""
        if stage < UPLOAD_STAGE:
            return super().absorb(stage, client, body, message)
        if stage == UPLOAD_STAGE:
            self._take_upload(client, body)
            return Seen.MASKED_UPDATE
        if stage == 4:
            self.measurements.dealings.take(client, body)
            return Seen.SKETCH_SHARES
        if stage == 5:
            self.measurements.accept(self._own(Acceptance.from_bytes(body), client), message)
            return Seen.ACCEPTANCES
        if stage == 6:
            self._take_distances(client, body)
            return Seen.DISTANCE_SHARES
        if stage == 7:
            # The statement of stage 4 in `Block`, on the chosen clients.
            return super().absorb(4, client, body, message)
        if stage == OPENING_STAGE:
            self._take_opening(client, body)
            return Seen.REVEALED_SHARES
        return self.inquiry.absorb(stage, client, body)

    def _take_upload(self, client: int, body: memoryview) -> None:
        upload = MaskedInput.from_bytes(body, m=self._terms.words, word=self._terms.code.word)
        self._weights[client] = self._allowed_weight(self._own(upload, client))
        # A copy: the packet belongs to whoever received it.
        words = upload.words.copy()
        self._uploads[client] = words
        self._digests[client] = digest_of_words(words)

    def _take_distances(self, client: int, body: memoryview) -> None:
        shares = DistanceShares.from_bytes(body, count=len(self.measurements.pairs_of(client)))
        self.measurements.measure(self._own(shares, client))

    def _take_opening(self, client: int, body: memoryview) -> None:
        size = sketching_of(self._terms).size
        sent = OpeningShares.from_bytes(body, size=size, most=len(self._members))
        shares = RevealedShares(sent.session, sent.round, sent.sender, sent.seeds, sent.mask_keys)
        self._keep_revealed(self._own(shares, client), client)
        if sent.sketch:
            self._sketches[client] = sent.sketch

    def close(self, stage: int, answered: set[int]) -> None:
        """Ends a stage with the clients that answered it.

        Raises:
            RoundAbandoned: they are too few, or the sum disagreed with the sketches.
        """
        if stage <= OPENING_STAGE:
            super().close(stage, answered)
            return
        self.present = tuple(c for c in self.asked if c in answered) + tuple(
            c for c in self.present if c not in self.asked
        )
        if self._pairs_are_dealt:
            residues = residues_of(
                self._uploads,
                self.facts.matrix,
                keys=self._keys,
                seeds=self._seeds,
                mask_keys=self._mask_keys,
                model_hash=self.model_hash,
            )
            raise self.inquiry.verdict(residues, self.found)
        self._pairs_are_dealt = True

    def _go_on(self, stage: int) -> None:
        """Draws the consequences of a stage. Raises RoundAbandoned."""
        if stage < UPLOAD_STAGE:
            super()._go_on(stage)
        elif stage == UPLOAD_STAGE:
            self._fix_uploads()
        elif stage == 6:
            self._choose()
        elif stage == OPENING_STAGE:
            self._open()

    def _secrets(self) -> tuple[dict[int, bytes], dict[int, RoundKey]]:
        """Returns the secrets behind the masks, and keeps them in case somebody lied."""
        try:
            self._seeds, self._mask_keys = super()._secrets()
        except RoundAbandoned as reason:
            raise lacking_shares(reason, self.suspects, self.newly_named) from None
        return self._seeds, self._mask_keys

    def _fix_uploads(self) -> None:
        """Fixes U3, and with it the matrix, which nobody could know before."""
        self._sealed = {}
        size = sketching_of(self._terms).size
        self._facts = Facts(
            self._terms, self._round, self._nonce, self.model_hash, dict(self._digests)
        )
        dealings = Dealings(
            self._terms,
            self._round,
            self.uploaders,
            self.facts.context(SKETCHES),
            values=size,
            zeros=len(self._digests) - 1,
        )
        self._measurements = Measurements(dealings, self._members)

    def _choose(self) -> None:
        """Fixes the clients of the sum. Raises RoundAbandoned: see `choosing`."""
        self.distances = self.measurements.compared(self.suspects)
        self.found = self.distances.suspects
        fewest = fewest_chosen(self._terms)
        self.survivors = chosen_of(self.distances, self._selection, fewest=fewest)
        facts = statement_of(
            [self._signed_keys[client] for client in sorted(self._signed_keys)],
            sharing=self._sharing,
            survivors=self.survivors,
            model_hash=self.model_hash,
        )
        self._statement = statement_on(facts, self.measurements.digest)

    def _open(self) -> None:
        """Opens the one sum of the round, and holds it against the sketches.

        Raises:
            RoundAbandoned: a secret or the sum of sketches cannot be reconstructed.
        """
        sketch = summed_sketch(
            self._sketches, suspects=self.found, block=self._members, terms=self._terms
        )
        for client in self.survivors:
            self._add(self._uploads[client])
        self._unmask()
        expected = self.facts.matrix.sketch(self._sum).tolist()
        self.agrees = agrees(sketch, expected, clients=len(self.survivors))
        if self.agrees:
            self._uploads = {}
            return
        # The sum is not applied, and no other one opens in this round.
        self._inquiry = Inquiry(
            self._terms,
            self._round,
            self._members,
            holders=self.uploaders,
            chosen=self.survivors,
            context=self.facts.context(PAIR_SKETCHES),
        )
