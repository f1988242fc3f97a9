"""The server's side of a masked round: blocks of at most 128 clients, each with its own sum.

Source: Bonawitz et al., CCS 2017, figure 4, with the consistency round.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.block import STAGES, UPLOAD_STAGE, Block
from securefl.channels.masking.keys import Identity, RoundKey, open_signed, open_tagged
from securefl.channels.masking.opening import hold
from securefl.channels.masking.requests import Invitation
from securefl.channels.protocol import UNWATCHED, Observation, Observer, Packet, Seen, View
from securefl.errors import ProtocolError, RoundAbandoned


class _Requests(Mapping[int, bytes]):
    """The requests of a stage after the first, made one by one.

    Each holds a table of its block. All of them together would take more memory than the updates.
    """

    def __init__(
        self, blocks: Mapping[int, Block], stage: int, signed: Callable[[bytes], bytes]
    ) -> None:
        self._blocks = blocks
        self._stage = stage
        self._signed = signed

    def __getitem__(self, client: int) -> bytes:
        return self._signed(self._blocks[client].request(self._stage, client).to_bytes())

    def __iter__(self) -> Iterator[int]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)


def _by_client(blocks: Sequence[Block]) -> dict[int, Block]:
    """Returns the block of each client that is present, ascending by client."""
    placed = {client: block for block in blocks for client in block.present}
    return {client: placed[client] for client in sorted(placed)}


class MaskedServer:
    """The server's side: routes keys, sealed shares and masked inputs; opens one sum a block.

    Where the agreement has groups, each block is one, and its mean is a row of the view.

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
        self._identity = identity
        self._terms = agreement
        self._round = -1
        self._stage = 0  # no stage: nothing to ask for
        self._cohort: tuple[int, ...] = ()
        self._blocks: list[Block] = []
        self._block_of: dict[int, Block] = {}
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
        """Starts a round, and forgets the last one.

        Args:
            round: its number.
            cohort: the invited clients.
            model_hash: names the model to train on; empty where `train_on` names it later.
            observer: receives the observations of server and network until the next round.

        Raises:
            ValueError: a client outside the roster, or more clients than a sum has room for.
        """
        strangers = set(cohort) - set(self._terms.roster)
        if strangers:
            raise ValueError(f"client {min(strangers)} is not in the roster")
        blocks = self._terms.blocks(tuple(sorted(cohort)), round=round)
        if max(map(len, blocks), default=0) > self._terms.code.most:
            raise ValueError(f"{len(cohort)} clients are more than the terms have room for")
        self._round = round
        self._stage = 1
        self._cohort = tuple(sorted(cohort))
        # Fresh in every round, so that no tag of an earlier upload fits.
        self._key = RoundKey.generate()
        self._blocks = [self._block(block, model_hash) for block in blocks]
        self._block_of = _by_client(self._blocks)
        self._answered = set()
        self._observer = observer

    def _block(self, members: tuple[int, ...], model_hash: bytes) -> Block:
        """Returns the account of a sum in the round that begins."""
        return Block(self._terms, self._round, members, model_hash, self._key)

    def _invitation(self) -> Invitation:
        return Invitation(self._terms.session, self._round, self._key.public, self._cohort)

    def train_on(self, model_hash: bytes) -> None:
        """Names the model to train on, before the stage that asks for updates."""
        for block in self._blocks:
            block.model_hash = model_hash

    def requests(self) -> Mapping[int, bytes]:
        """Returns one signed request for each client that is present, ascending.

        Read them before the stage is closed: each is made when it is asked for.
        """
        if self._stage == 1:
            return dict.fromkeys(self._cohort, self._signed(self._invitation().to_bytes()))
        return _Requests(self._block_of, self._stage, self._signed)

    def absorb(self, client: int, message: Packet) -> bool:
        """Takes one reply.

        Returns:
            False, and nothing has changed, if it is malformed, forged, foreign, late or a second
            one.
        """
        block = self._block_of.get(client)
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
                # The weight is in the clear in that message.
                self._tell(party, Seen.REPORTED_WEIGHT, (client,), (), 4)
        return True

    def close_stage(self) -> View | None:
        """Ends the stage; returns the view of the blocks' sums after the fifth.

        Raises:
            RoundAbandoned: no block has enough clients left.
        """
        remaining: list[Block] = []
        reasons: list[str] = []
        for block in self._blocks:
            try:
                block.close(self._stage, self._answered)
                remaining.append(block)
            except RoundAbandoned as reason:
                reasons.append(str(reason))
        self._blocks = remaining
        self._block_of = _by_client(remaining)
        self._answered = set()
        if not remaining:
            self._stage = 0
            raise RoundAbandoned("; ".join(dict.fromkeys(reasons)))
        self._stage += 1
        if self._stage <= STAGES:
            return None
        return self._view() if self._terms.groups is None else self._view_of_groups()

    def _view_of_groups(self) -> View:
        """Returns one row a group: the weighted mean over its survivors.

        Each is held to the range of honest clients by itself, so that a liar spoils its own row.
        """
        blocks = self._blocks
        # Written into one tensor: a large model leaves no room for the rows twice.
        rows = torch.empty(len(blocks), self._terms.d, dtype=torch.float32)
        for row, block in zip(rows, blocks, strict=True):
            total = self._opened(block)
            total *= self._terms.max_weight / block.weight
            row.copy_(torch.from_numpy(total))
        self._blocks = []
        self._block_of = {}
        weights = torch.tensor([float(block.weight) for block in blocks], dtype=torch.float64)
        return View(rows, weights, tuple(block.survivors for block in blocks))

    def _view(self) -> View:
        """Returns one row: the weighted mean over all survivors of all blocks.

        A corrupt client need not clip, and its words wrap around. Each block's sum is held to the
        range of honest clients, so that a liar moves no more of the mean than its own block's part,
        and no coordinate of the mean is beyond the clip.
        """
        terms = self._terms
        weight = sum(block.weight for block in self._blocks)
        # One at a time, and all in place: a large model leaves room for few vectors.
        sums = map(self._opened, self._blocks)
        total = next(sums)
        for other in sums:
            total += other
        survivors = tuple(sorted(client for block in self._blocks for client in block.survivors))
        self._blocks = []
        self._block_of = {}
        total *= terms.max_weight / weight
        mean = torch.from_numpy(total).to(torch.float32)
        weights = torch.tensor([float(weight)], dtype=torch.float64)
        return View(mean.unsqueeze(0), weights, (survivors,))

    def _opened(self, block: Block) -> NDArray[np.float64]:
        """Returns a block's sum (d,), observed and then held to the range of honest clients."""
        opened = block.opened()
        size = self._terms.words * self._terms.code.word.itemsize
        values = torch.from_numpy(opened)
        for party in ("server", "network"):
            about = block.survivors
            self._tell(party, Seen.SUM_OF_UPDATES, about, tuple(values.shape), size, values)
        hold(opened, self._terms, weight=block.weight, survivors=len(block.survivors))
        return opened

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
