"""The server's side of a masked round: blocks of at most 128 clients, each with a sum of its own, added up.

Source: Bonawitz et al., CCS 2017, figure 4, with the consistency round.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.block import STAGES, UPLOAD_STAGE, Block
from securefl.channels.masking.keys import Identity, RoundKey, open_signed, open_tagged
from securefl.channels.masking.requests import Invitation
from securefl.channels.protocol import UNWATCHED, Observation, Observer, Packet, Seen, View
from securefl.errors import ProtocolError, RoundAbandoned


class MaskedServer:
    """The server's side: routes keys, sealed shares and masked inputs, and opens one sum a block.

    Guarantees:
        - A message that is malformed, forged, foreign, late or a second one changes nothing.
        - Masked inputs are added as they come: memory does not grow with the cohort.
        - A block that loses too many clients is lost whole; the others go on.

    Args:
        identity: the server's signing key.
        agreement: the terms of the session.

    Raises:
        ValueError: the agreement names another server.
    """

    def __init__(self, identity: Identity, agreement: Agreement) -> None:
        if agreement.server != identity.public:
            raise ValueError("the agreement names another server")
        self._identity, self._terms = identity, agreement
        self._round, self._stage = -1, 0
        self._cohort: tuple[int, ...] = ()
        self._blocks: list[Block] = []
        self._key = RoundKey.generate()
        self._answered: set[int] = set()
        self._observer = UNWATCHED

    def begin(
        self,
        round: int,
        cohort: Sequence[int],
        model_hash: bytes,
        observer: Observer = UNWATCHED,
    ) -> None:
        """Start a round; what was left of the last one is forgotten. Raises ValueError at strangers, or too many."""
        if strangers := set(cohort) - set(self._terms.roster):
            raise ValueError(f"client {min(strangers)} is not in the roster")
        blocks = self._terms.blocks(tuple(sorted(cohort)))
        if max(map(len, blocks), default=0) > self._terms.code.most:
            raise ValueError(f"{len(cohort)} clients are more than the terms have room for")
        self._round, self._stage, self._cohort = round, 1, tuple(sorted(cohort))
        self._key = RoundKey.generate()
        self._blocks = [Block(self._terms, round, block, model_hash, self._key) for block in blocks]
        self._answered, self._observer = set(), observer

    def requests(self) -> Mapping[int, bytes]:
        """One signed request for each client that is still there, ascending."""
        if self._stage == 1:
            told = Invitation(self._terms.session, self._round, self._key.public, self._cohort)
            return dict.fromkeys(self._cohort, self._signed(told.to_bytes()))
        made = {
            client: request
            for block in self._blocks
            for client, request in block.requests(self._stage).items()
        }
        return {client: self._signed(made[client]) for client in sorted(made)}

    def absorb(self, client: int, message: Packet) -> bool:
        """Take one reply; False (and nothing changed) if it is malformed, forged, foreign, late or a second one."""
        block = next((block for block in self._blocks if client in block.present), None)
        if block is None or client in self._answered:
            return False
        try:
            if self._stage == UPLOAD_STAGE:
                body = open_tagged(block.upload_key(client), message)
            else:
                body = open_signed(message, self._terms.roster[client], terms=self._terms.digest)
            kind = block.absorb(self._stage, client, body, message)
        except ProtocolError:
            return False
        self._answered.add(client)
        for party in ("server", "network"):
            self._tell(party, kind, (client,), (len(message),), len(message))
            if self._stage == UPLOAD_STAGE and self._terms.weights is None:
                # the weight is in clear in that message
                self._tell(party, Seen.REPORTED_WEIGHT, (client,), (), 4)
        return True

    def close_stage(self) -> View | None:
        """End the stage; the view of all blocks' sums after the fifth.

        Raises:
            RoundAbandoned: no block has enough clients left.
        """
        kept, lost = [], []
        for block in self._blocks:
            try:
                block.close(self._stage, self._answered)
                kept.append(block)
            except RoundAbandoned as reason:
                lost.append(str(reason))
        self._blocks, self._answered = kept, set()
        if not kept:
            self._stage = 0
            raise RoundAbandoned("; ".join(dict.fromkeys(lost)))
        self._stage += 1
        return self._view() if self._stage > STAGES else None

    def _view(self) -> View:
        """One row, the weighted mean over all survivors of all blocks; no coordinate of it is beyond the clip.

        A corrupt client need not clip, and its words wrap around: each block's sum is held to what its clients can
        have, so that it moves no more of the mean than its own block's part.
        """
        terms, d = self._terms, self._terms.d
        total, weight = np.zeros(d), 0
        for block in self._blocks:
            opened = block.opened()
            total += block.held(opened)
            weight += block.weight
            values, size = torch.from_numpy(opened), block.total.nbytes
            for party in ("server", "network"):
                self._tell(party, Seen.SUM_OF_UPDATES, block.survivors, (d,), size, values)
        survivors = tuple(sorted(client for block in self._blocks for client in block.survivors))
        self._blocks = []
        mean = torch.from_numpy(total * (terms.max_weight / weight)).to(torch.float32)
        return View(
            mean.unsqueeze(0), torch.tensor([float(weight)], dtype=torch.float64), (survivors,)
        )

    def _signed(self, message: bytes) -> bytes:
        return message + self._identity.signature(message, terms=self._terms.digest)

    def _tell(
        self,
        party: str,
        kind: Seen,
        about: tuple[int, ...],
        shape: tuple[int, ...],
        size: int,
        values: Tensor | None = None,
    ) -> None:
        """Tells the observer of a message or a sum."""
        self._observer.observe(Observation(party, kind, about, shape, size, values))
