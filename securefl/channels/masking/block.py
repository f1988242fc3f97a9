"""One sum of a masked round, as the server sees it: five stages over at most 128 clients.

U1 to U5 are the paper's: who advertised, shared, sent a masked input, consented, revealed.
"""

import hmac
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking import shamir
from securefl.channels.masking.agreement import Agreement, digest_of_clients, statement_of
from securefl.channels.masking.keys import (
    SHARE_COMMITMENT_BYTES,
    RoundKey,
    commitment,
    is_reduced,
    share_commitment,
)
from securefl.channels.masking.replies import (
    Advertisement,
    Consent,
    MaskedInput,
    RevealedShares,
    SealedShares,
)
from securefl.channels.masking.requests import KeyTable, ShareDelivery, SurvivorList, UnmaskRequest
from securefl.channels.masking.round_secrets import (
    pair_mask_key,
    possession,
    self_mask_key,
    upload_key,
)
from securefl.channels.masking.stream import add_masks
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError, RoundAbandoned

STAGES, UPLOAD_STAGE = 5, 3

_Sent = TypeVar("_Sent", Advertisement, SealedShares, MaskedInput, Consent, RevealedShares)


class Block:
    """The server's account of one sum.

    Args:
        agreement: the terms of the session.
        round: the round in hand.
        members: the clients invited into this sum, ascending.
        model_hash: of the model they are to train on.
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
        self._terms, self._round, self._members, self._model_hash = (
            agreement,
            round,
            members,
            model_hash,
        )
        self._server_key = server_key
        self.present = members  # who may still answer
        self._keys: dict[int, Advertisement] = {}
        self._signed_keys: dict[int, bytes] = {}
        self._upload_keys: dict[int, bytes] = {}
        self._sealed: dict[int, Mapping[int, bytes]] = {}
        self._committed: dict[
            int, Mapping[int, bytes]
        ] = {}  # dealer -> holder -> what fixes its two shares
        self._weights: dict[int, int] = {}
        self._sharing: tuple[int, ...] = ()
        self.survivors: tuple[int, ...] = ()
        self._consents: dict[int, bytes] = {}
        self._statement = b""
        self._revealed: dict[int, RevealedShares] = {}
        self.total = np.zeros(agreement.d, dtype=agreement.code.word)

    def requests(self, stage: int) -> dict[int, bytes]:
        """The unsigned requests of stages 2 to 5, one for each client that is still there."""
        return {client: self._request(stage, client).to_bytes() for client in self.present}

    def _request(
        self, stage: int, client: int
    ) -> KeyTable | ShareDelivery | SurvivorList | UnmaskRequest:
        head = self._terms.session, self._round, client
        if stage == 2:
            return KeyTable(*head, self._signed_keys)
        if stage == 3:
            boxes = {
                sender: self._sealed[sender][client] for sender in self._sharing if sender != client
            }
            return ShareDelivery(*head, self._model_hash, boxes)
        if stage == 4:
            return SurvivorList(*head, self.survivors)
        return UnmaskRequest(*head, self._consents)

    def upload_key(self, client: int) -> bytes:
        """The key that this client's upload is tagged with."""
        return self._upload_keys[client]

    def absorb(self, stage: int, client: int, body: memoryview, message: Packet) -> str:
        """Take one verified reply, and say what it shows to whoever sees it. Raises ProtocolError, changing nothing."""
        if stage == 1:
            keys = self._own(Advertisement.from_bytes(body), client)
            self._upload_keys[client] = self._proven(keys)
            self._keys[client] = keys
            self._signed_keys[client] = bytes(message)
            return "public keys"
        if stage == 2:
            boxes = self._own(SealedShares.from_bytes(body, most=len(self._members)), client)
            if set(boxes.sealed) != set(self._keys) - {client} or set(boxes.commitments) != set(
                self._keys
            ):
                raise ProtocolError(
                    "shares go to every other client, once, and the dealer commits to all of them"
                )
            self._sealed[client], self._committed[client] = boxes.sealed, boxes.commitments
            return "sealed shares"
        if stage == 3:
            upload = MaskedInput.from_bytes(body, m=self._terms.d, word=self._terms.code.word)
            self._weights[client] = self._allowed(self._own(upload, client))
            self.total += upload.words
            return "masked update"
        if stage == 4:
            if self._own(Consent.from_bytes(body), client).statement != self._statement:
                raise ProtocolError("another statement than the server's")
            self._consents[client] = bytes(message)
            return "signed survivor set"
        self._revealed[client] = self._legal(
            self._own(RevealedShares.from_bytes(body, most=len(self._members)), client)
        )
        return "shares of survivors' seeds and of dropped clients' keys"

    def _own(self, message: _Sent, client: int) -> _Sent:
        """The message, if it is of this session and round and from this client."""
        if (message.session, message.round, message.sender) != (
            self._terms.session,
            self._round,
            client,
        ):
            raise ProtocolError("another session, round or sender")
        return message

    def _proven(self, keys: Advertisement) -> bytes:
        """The key of the sender's upload, if its keys are of this block, fresh, usable and its own."""
        if keys.block != digest_of_clients(self._members) or keys.mask_key == keys.sealing_key:
            raise ProtocolError("keys for another block, or one key for two uses")
        if not (is_reduced(keys.mask_key) and is_reduced(keys.sealing_key)):
            raise ProtocolError("a key that is not written in its reduced form")
        agreed = self._server_key.agree(
            [keys.mask_key, keys.sealing_key]
        )  # refuses points of low order
        if not hmac.compare_digest(keys.proof, possession(agreed, keys, self._server_key.public)):
            raise ProtocolError("the sender does not have the private keys")
        known = {
            key for other in self._keys.values() for key in (other.mask_key, other.sealing_key)
        }
        if not known.isdisjoint(
            (keys.mask_key, keys.sealing_key)
        ):  # of two that share a private key
            raise ProtocolError("somebody else's key")
        return upload_key(agreed[1], keys, self._server_key.public)

    def _allowed(self, upload: MaskedInput) -> int:
        """The weight of an upload, if it is the public one or, where clients report theirs, none above the largest."""
        public = self._terms.weights
        if public is not None and upload.weight != public[upload.sender]:
            raise ProtocolError("another weight than the public one")
        if not 1 <= upload.weight <= self._terms.max_weight:
            raise ProtocolError(f"a weight must be 1 to {self._terms.max_weight}")
        return upload.weight

    def _legal(self, shares: RevealedShares) -> RevealedShares:
        """The shares, if each is a field element and of the kind that its client's fate allows."""
        if (
            not set(shares.seeds) <= set(self.survivors)
            or not set(shares.mask_keys) <= self._dropped
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
        """U2 without U3: masks with them are in the sum, their updates are not."""
        return set(self._sharing) - set(self.survivors)

    def close(self, stage: int, answered: set[int]) -> None:
        """End a stage with those who answered it. Raises RoundAbandoned: too few, or a secret that fails."""
        self.present = tuple(client for client in self.present if client in answered)
        enough = (
            self._terms.fewest(len(self._members))
            if stage < 4
            else self._terms.threshold(len(self._members))
        )
        if len(self.present) < enough:
            raise RoundAbandoned(
                f"{len(self.present)} of {len(self._members)} clients answered stage {stage}, a sum takes {enough}"
                f" (threshold {self._terms.threshold(len(self._members))}, minimum cohort {self._terms.min_cohort})"
            )
        if stage == 2:
            self._sharing = self.present
        elif stage == 3:
            self.survivors = self.present
            self._statement = statement_of(
                self._signed_keys_ascending(),
                sharing=self._sharing,
                survivors=self.survivors,
                model_hash=self._model_hash,
            )
        elif stage == STAGES:
            self._unmask()

    def _signed_keys_ascending(self) -> list[bytes]:
        return [self._signed_keys[client] for client in sorted(self._signed_keys)]

    def _unmask(self) -> None:
        """Take from the sum the self masks of the survivors and their masks with the dropped.

        All secrets are reconstructed and checked first. Raises RoundAbandoned: one of them fails.
        """
        seeds = {client: self._seed(client) for client in self.survivors}
        keys = {client: self._mask_key(client) for client in sorted(self._dropped)}
        plus, minus = (
            list[bytes](),
            [self_mask_key(seed, self._keys[client]) for client, seed in seeds.items()],
        )
        publics = [self._keys[client].mask_key for client in self.survivors]
        for dropped, key in keys.items():
            for client, agreed in zip(self.survivors, key.agree(publics), strict=True):
                ends = self._keys[client], self._keys[dropped]
                mask = pair_mask_key(agreed, *ends, model_hash=self._model_hash)
                (minus if client < dropped else plus).append(
                    mask
                )  # the survivor added it towards higher ids
        add_masks(self.total, plus=plus, minus=minus)

    def _seed(self, client: int) -> bytes:
        """A survivor's self-mask seed."""
        session, committed = self._terms.session, self._keys[client].commitment

        def fits(seed: bytes) -> bool:
            return commitment(seed, session=session, round=self._round, client=client) == committed

        held = {
            holder: told.seeds[client]
            for holder, told in self._revealed.items()
            if client in told.seeds
        }
        return self._reconstructed("seed", client, self._dealt(client, held, place=0), fits)

    def _mask_key(self, client: int) -> RoundKey:
        """A dropped client's mask key."""
        held = {
            holder: told.mask_keys[client]
            for holder, told in self._revealed.items()
            if client in told.mask_keys
        }
        public, dealt = self._keys[client].mask_key, self._dealt(client, held, place=1)
        return RoundKey(
            self._reconstructed(
                "mask key", client, dealt, lambda key: RoundKey(key).public == public
            )
        )

    def _dealt(self, dealer: int, held: Mapping[int, bytes], *, place: int) -> dict[int, bytes]:
        """Of the shares that holders revealed those that the dealer committed to; the others are wrong, or it lied."""
        session, start = self._terms.session, place * SHARE_COMMITMENT_BYTES
        right = {}
        for holder, share in held.items():
            given = share_commitment(
                share, session=session, round=self._round, dealer=dealer, holder=holder, place=place
            )
            if given == self._committed[dealer][holder][start : start + SHARE_COMMITMENT_BYTES]:
                right[holder] = share
        return right

    def _reconstructed(
        self, what: str, client: int, shares: Mapping[int, bytes], fits: Callable[[bytes], bool]
    ) -> bytes:
        """The secret from t of the shares that were dealt, by holder. Raises RoundAbandoned: too few, or no secret.

        Shares are judged one by one, so that wrong ones do no harm, however many, while t right ones are there. A
        secret that fails all the same is its dealer's fault: it committed to shares of something else.
        """
        threshold = self._terms.threshold(len(self._members))
        if len(shares) < threshold:
            raise RoundAbandoned(
                f"the {what} of client {client} has {len(shares)} right shares left, it takes {threshold}: others are "
                "missing, or wrong, by the fault of their holders or its own"
            )
        points = {
            1 + self._members.index(holder): shares[holder] for holder in sorted(shares)[:threshold]
        }
        secret = shamir.reconstruct(points)
        if secret is None or not fits(secret):
            raise RoundAbandoned(f"the {what} of client {client} is not what it dealt shares of")
        return secret

    @property
    def weight(self) -> int:
        """Of the survivors together."""
        return sum(self._weights[client] for client in self.survivors)

    def opened(self) -> NDArray[np.float64]:
        """(d,) the sum of the survivors' updates, each times its share of the largest weight, as it came out."""
        return self._terms.code.decode(self.total)

    def held(self, opened: NDArray[np.float64]) -> NDArray[np.float64]:
        """The opened sum, each coordinate held to what its survivors can have if they are honest."""
        most = self._terms.code.clip * self.weight / self._terms.max_weight
        return np.clip(opened, -most, most)
