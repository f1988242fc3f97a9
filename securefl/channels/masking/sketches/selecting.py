"""The server's side of a round in which a rule chooses the clients of the sum by their sketches."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.keys import Identity
from securefl.channels.masking.server import MaskedServer
from securefl.channels.masking.sketches.account import OPENING_STAGE, SelectingBlock
from securefl.channels.masking.sketches.context import promise_of
from securefl.channels.masking.sketches.findings import Findings
from securefl.channels.masking.sketches.requests import NONCE_BYTES, PromisedInvitation
from securefl.channels.masking.wire import ID
from securefl.channels.protocol import Seen, Selection, View
from securefl.errors import RoundAbandoned

_MEASURED_STAGE = 6


class SelectingServer(MaskedServer):
    """The server's side: collects dealings, chooses clients, opens one sum and checks it.

    Guarantees:
        - Those of `MaskedServer`, for its single sum.
        - A sum that disagrees with the sketches is not applied, and no second one opens in its
          round. Two more stages find out who lied.
        - Clients that were named, and pairs of which one lied, are never chosen again.

    It keeps n uploads until the sum is checked.

    Args:
        identity: the server's signing key.
        agreement: the terms of the session.
        selection: the rule.

    Raises:
        ValueError: the agreement names another server.
    """

    def __init__(self, identity: Identity, agreement: Agreement, selection: Selection) -> None:
        super().__init__(identity, agreement)
        self._selection = selection
        self._findings = Findings()
        self._nonce = b""

    @property
    def named(self) -> Mapping[int, str]:
        """Client -> why it takes no further part in the run."""
        return self._findings.named

    def recall(self, named: Mapping[int, str], paired: Iterable[tuple[int, int]] = ()) -> None:
        """Takes up the liars of earlier rounds, for a run that is resumed.

        Args:
            named: client -> why it takes no further part.
            paired: pairs that abandoned rounds found, one of each lied.
        """
        self._findings.add(named, paired)

    def _block(self, members: tuple[int, ...], model_hash: bytes) -> SelectingBlock:
        # Drawn before any update is seen, and promised in the invitation.
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        return SelectingBlock(
            self._terms,
            self._round,
            members,
            model_hash,
            self._key,
            selection=self._selection,
            suspects=self._findings.suspects(self._terms),
            nonce=self._nonce,
        )

    def _invitation(self) -> PromisedInvitation:
        return PromisedInvitation(
            self._terms.session,
            self._round,
            self._key.public,
            self._cohort,
            promise_of(self._nonce),
        )

    def close_stage(self) -> View | None:
        """Ends the stage; returns the view of the sum after the eighth.

        Raises:
            RoundAbandoned: too few clients answered, the rule chose too few, or the sum disagrees
                with the sketches. It names the liars that were found.
        """
        block = self._account
        try:
            block.close(self._stage, self._answered)
        except RoundAbandoned as reason:
            raise self._abandoned(block, reason) from None
        self._answered = set()
        self._block_of = dict.fromkeys(block.asked, block)
        if self._stage == _MEASURED_STAGE:
            self._tell_choice(block)
        if self._stage == OPENING_STAGE and not block.agrees:
            self._opened(block)  # seen, although nobody may use it
        self._stage += 1
        return self._view_of(block) if block.agrees else None

    @property
    def _account(self) -> SelectingBlock:
        """The one sum of the round. Raises RoundAbandoned: no round is in progress."""
        for block in self._blocks:
            if isinstance(block, SelectingBlock):
                return block
        raise RoundAbandoned("no round is in progress")

    def _abandoned(self, block: SelectingBlock, reason: RoundAbandoned) -> RoundAbandoned:
        """Ends the round; returns the reason with all liars that it found."""
        named = {**block.newly_named, **reason.named}
        self._findings.add(named, reason.paired)
        self._end()
        return RoundAbandoned(str(reason), named=named, paired=reason.paired)

    def _view_of(self, block: SelectingBlock) -> View:
        """Returns one row: the weighted mean over the chosen clients."""
        named = block.newly_named
        left_out = set(block.uploaders) - set(block.survivors) - set(named)
        self._findings.add(named)
        view = replace(
            self._view(),
            left_out=tuple(sorted(left_out)),
            named=named,
            paired=block.newly_paired,
        )
        self._end()
        return view

    def _end(self) -> None:
        self._stage = 0
        self._blocks = []
        self._block_of = {}

    def _tell_choice(self, block: SelectingBlock) -> None:
        """Tells the observer of distances and choice; all that they are computed from is signed."""
        if block.distances is None:
            return
        clients = block.distances.clients
        squared = torch.from_numpy(block.distances.squared)
        chosen = block.survivors
        for party in ("server", "network"):
            shape = tuple(squared.shape)
            self._tell(party, Seen.DISTANCES, clients, shape, 8 * squared.numel(), squared)
            self._tell(party, Seen.CHOSEN_CLIENTS, chosen, (len(chosen),), ID.size * len(chosen))
