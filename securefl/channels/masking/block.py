"""One sum of a masked round, as the server sees it: five stages over at most 128 clients.

`unmasking` reconstructs the secrets and takes the masks off; this file decides which replies count.

U1 to U5 are the client sets of Bonawitz et al., CCS 2017, figure 4: the clients that advertised,
shared, sent a masked input, consented and revealed.
"""

import hmac
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking import shamir
from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.keys import RoundKey, is_reduced
from securefl.channels.masking.opening import decoded
from securefl.channels.masking.replies import (
    Advertisement,
    Consent,
    MaskedInput,
    Reply,
    RevealedShares,
    SealedShares,
)
from securefl.channels.masking.requests import (
    Addressed,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.round_secrets import possession, upload_key
from securefl.channels.masking.statement import digest_of_clients, statement_of
from securefl.channels.masking.stream import add_words
from securefl.channels.masking.unmasking import Reconstruction, remove_masks
from securefl.channels.protocol import Packet, Seen
from securefl.errors import ProtocolError, RoundAbandoned

STAGES = 5
UPLOAD_STAGE = 3

_Reply = TypeVar("_Reply", bound=Reply)


class Block:
    """The server's account of one sum.

    Args:
        agreement: the terms of the session.
        round: its number.
        members: the clients invited into this sum, ascending.
        model_hash: names the model that they train on; it may be set until stage 3.
        server_key: the server's key of the round.
    """

    def __init__(
        self,
        agreement: Agreement,
        round: int,
        members: tuple[int, ...],
        model_hash: bytes,
        server_key: RoundKey,
    ) -> None:
        self._terms = agreement
        self._round = round
        self._members = members
        self.model_hash = model_hash
        self._server_key = server_key
        self.present = members  # the clients that may still answer
        self._keys: dict[int, Advertisement] = {}  # U1
        self._signed_keys: dict[int, bytes] = {}
        self._upload_keys: dict[int, bytes] = {}
        self._sealed: dict[int, Mapping[int, bytes]] = {}  # sender -> holder -> box
        self._commitments: dict[int, Mapping[int, bytes]] = {}  # dealer -> holder -> to both shares
        self._weights: dict[int, int] = {}
        self._sharing: tuple[int, ...] = ()  # U2
        self.survivors: tuple[int, ...] = ()  # U3
        self._statement = b""
        self._consents: dict[int, bytes] = {}  # U4
        self._revealed: dict[int, RevealedShares] = {}  # U5
        self._total: NDArray[Any] | None = None  # (m,) words, from the first upload on

    def request(self, stage: int, client: int) -> Addressed:
        """Returns the request of stages 2 to 5 to a client that is present."""
        head = (self._terms.session, self._round, client)
        if stage == 2:
            return KeyTable(*head, self._signed_keys)
        if stage == 3:
            senders = [sender for sender in self._sharing if sender != client]
            boxes = {sender: self._sealed[sender][client] for sender in senders}
            return ShareDelivery(*head, self.model_hash, boxes)
        if stage == 4:
            return SurvivorList(*head, self.survivors)
        return UnmaskRequest(*head, self._consents)

    def upload_key(self, client: int) -> bytes:
        """Returns the key that this client's upload is tagged with."""
        return self._upload_keys[client]

    def absorb(self, stage: int, client: int, body: memoryview, message: Packet) -> Seen:
        """Takes one reply whose signature or tag was verified.

        Args:
            stage: 1 to 5.
            client: its sender.
            body: the message without signature or tag.
            message: the whole message, which other clients verify again.

        Returns:
            The kind under which server and network observe the reply.

        Raises:
            ProtocolError: the reply is illegal. Nothing has changed.
        """
        if stage == 1:
            keys = self._own(Advertisement.from_bytes(body), client)
            self._upload_keys[client] = self._proven(keys)
            self._keys[client] = keys
            self._signed_keys[client] = bytes(message)
            return Seen.PUBLIC_KEYS
        if stage == 2:
            boxes = self._complete(SealedShares.from_bytes(body, most=len(self._members)), client)
            self._sealed[client] = boxes.sealed
            self._commitments[client] = boxes.commitments
            return Seen.SEALED_SHARES
        if stage == 3:
            upload = MaskedInput.from_bytes(body, m=self._terms.words, word=self._terms.code.word)
            self._weights[client] = self._allowed_weight(self._own(upload, client))
            self._add(upload.words)
            return Seen.MASKED_UPDATE
        if stage == 4:
            if self._own(Consent.from_bytes(body), client).statement != self._statement:
                raise ProtocolError("another statement than the server's")
            self._consents[client] = bytes(message)
            return Seen.SURVIVOR_SET
        shares = RevealedShares.from_bytes(body, most=len(self._members))
        self._revealed[client] = self._legal(self._own(shares, client))
        return Seen.REVEALED_SHARES

    def _add(self, words: NDArray[Any]) -> None:
        """Adds the words (m,) of an upload, which are not kept."""
        if self._total is None:
            self._total = np.zeros(self._terms.words, dtype=self._terms.code.word)
        add_words(self._total, words)

    def _own(self, message: _Reply, client: int) -> _Reply:
        """Returns the message, if it is of this session and round and from this client."""
        head = (message.session, message.round, message.sender)
        if head != (self._terms.session, self._round, client):
            raise ProtocolError("another session, round or sender")
        return message

    def _proven(self, keys: Advertisement) -> bytes:
        """Returns the key of the sender's upload, if both its keys are new, usable and its own."""
        if keys.block != digest_of_clients(self._members) or keys.mask_key == keys.sealing_key:
            raise ProtocolError("keys for another block, or one key for two uses")
        # Another writing of a key gives the same secrets, and would pass for a second key.
        if not all(map(is_reduced, keys.public_keys)):
            raise ProtocolError("a key that is not written in its reduced form")
        # Refuses points of low order: they share the same, known secret with every key.
        agreed = self._server_key.agree(list(keys.public_keys))
        # A client that copies another's public keys could get the honest owner dropped.
        if not hmac.compare_digest(keys.proof, possession(agreed, keys, self._server_key.public)):
            raise ProtocolError("the sender does not have the private keys")
        earlier_keys = {key for earlier in self._keys.values() for key in earlier.public_keys}
        # Two clients that share a private key can both prove it; the second one is dropped.
        if not earlier_keys.isdisjoint(keys.public_keys):
            raise ProtocolError("somebody else's key")
        return upload_key(agreed[1], keys, self._server_key.public)

    def _complete(self, boxes: SealedShares, client: int) -> SealedShares:
        """Returns the boxes, if there is one for every other client and a commitment for all."""
        boxes = self._own(boxes, client)
        everyone = set(self._keys)
        if set(boxes.sealed) != everyone - {client} or set(boxes.commitments) != everyone:
            raise ProtocolError(
                "shares go to every other client, once, and the dealer commits to all of them"
            )
        return boxes

    def _allowed_weight(self, upload: MaskedInput) -> int:
        """Returns the weight of an upload.

        It must be the public one or, where clients report theirs, not above the largest.
        """
        public = self._terms.weights
        if public is not None and upload.weight != public[upload.sender]:
            raise ProtocolError("another weight than the public one")
        if not 1 <= upload.weight <= self._terms.max_weight:
            raise ProtocolError(f"a weight must be 1 to {self._terms.max_weight}")
        return upload.weight

    def _legal(self, shares: RevealedShares) -> RevealedShares:
        """Returns the shares, if each is a field element and of the kind its client's fate allows.

        A server that took both kinds of one client could open its single update.
        """
        if not (
            set(shares.seeds) <= set(self.survivors) and set(shares.mask_keys) <= self._dropped
        ):
            raise ProtocolError(
                "seeds are revealed for survivors only, mask keys for dropped clients only"
            )
        try:
            for share in (*shares.seeds.values(), *shares.mask_keys.values()):
                shamir.value_of(share)
        except ValueError as reason:
            raise ProtocolError(str(reason)) from None
        return shares

    @property
    def _dropped(self) -> set[int]:
        """U2 without U3: masks with these clients are in the sum, their updates are not."""
        return set(self._sharing) - set(self.survivors)

    def close(self, stage: int, answered: set[int]) -> None:
        """Ends a stage with the clients that answered it.

        Raises:
            RoundAbandoned: they are too few, or a secret cannot be reconstructed.
        """
        self.present = tuple(client for client in self.present if client in answered)
        self._check_present(stage)
        self._go_on(stage)

    def _go_on(self, stage: int) -> None:
        """Draws the consequences of a stage that enough clients answered. Raises RoundAbandoned."""
        if stage == 2:
            self._sharing = self.present
        elif stage == 3:
            self.survivors = self.present
            self._sealed = {}  # delivered, and as large as the updates of a small model
            self._statement = statement_of(
                [self._signed_keys[client] for client in sorted(self._signed_keys)],
                sharing=self._sharing,
                survivors=self.survivors,
                model_hash=self.model_hash,
            )
        elif stage == STAGES:
            self._unmask()

    def _check_present(self, stage: int) -> None:
        """Raises RoundAbandoned if too few clients are present to go on after this stage.

        The sum is fixed after stage 3. From then on a threshold of helpers suffices.
        """
        invited = len(self._members)
        threshold = self._terms.threshold(invited)
        enough = self._terms.fewest(invited) if stage < 4 else threshold
        if len(self.present) < enough:
            raise RoundAbandoned(
                f"{len(self.present)} of {invited} clients answered stage {stage}, a sum takes "
                f"{enough} (threshold {threshold}, minimum cohort {self._terms.least_sum})"
            )

    def _unmask(self) -> None:
        """Takes all masks off the sum. Raises RoundAbandoned: a secret cannot be reconstructed."""
        # All secrets first: a block that fails must not leave a sum with some of its masks off.
        seeds, mask_keys = self._secrets()
        remove_masks(
            self._sum,
            seeds=seeds,
            mask_keys=mask_keys,
            keys=self._keys,
            model_hash=self.model_hash,
        )

    def _secrets(self) -> tuple[dict[int, bytes], dict[int, RoundKey]]:
        """Returns the survivors' seeds and the others' mask keys. Raises RoundAbandoned."""
        reconstruction = Reconstruction(
            self._terms,
            self._round,
            self._members,
            keys=self._keys,
            commitments=self._commitments,
            revealed=self._revealed,
        )
        return reconstruction.secrets(self.survivors, self._dropped)

    @property
    def weight(self) -> int:
        """The sum of the survivors' weights."""
        return sum(self._weights[client] for client in self.survivors)

    @property
    def _sum(self) -> NDArray[Any]:
        """The words (m,) of all uploads together."""
        if self._total is None:
            raise ValueError("no upload was added to this sum")
        return self._total

    def opened(self) -> NDArray[np.float64]:
        """Returns (d,), the sum of weight / max_weight * update over the survivors, once.

        The words are let go.
        """
        words = self._sum
        self._total = None
        return decoded(words, self._terms, round=self._round)
