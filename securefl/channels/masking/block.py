"""One sum of a masked round, as the server sees it: five stages over at most 128 clients.

U1 to U5 are the paper's: who advertised, shared, sent a masked input, consented, revealed.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from securefl.channels.masking import shamir
from securefl.channels.masking.agreement import Agreement, digest_of_clients, statement_of
from securefl.channels.masking.keys import RoundKey, commitment, is_usable
from securefl.channels.masking.replies import Advertisement, Consent, MaskedInput, RevealedShares, SealedShares
from securefl.channels.masking.requests import KeyTable, ShareDelivery, SurvivorList, UnmaskRequest
from securefl.channels.masking.round_secrets import pair_mask_key, self_mask_key, upload_key
from securefl.channels.masking.stream import add_masks
from securefl.errors import ProtocolError, RoundAbandoned
from securefl.types import Packet

STAGES, UPLOAD_STAGE = 5, 3

_Sent = TypeVar("_Sent", Advertisement, SealedShares, MaskedInput, Consent, RevealedShares)


class Block:
    """The server's account of one sum.

    Args:
        agreement: the terms of the session.
        round: the round in hand.
        members: the clients invited into this sum, ascending.
        model_hash: of the model they are to train on.
    """

    def __init__(self, agreement: Agreement, round: int, members: tuple[int, ...], model_hash: bytes) -> None:
        self._terms, self._round, self._members, self._model_hash = agreement, round, members, model_hash
        self.present = members  # who may still answer
        self._keys: dict[int, Advertisement] = {}
        self._signed_keys: dict[int, bytes] = {}
        self._sealed: dict[int, Mapping[int, bytes]] = {}
        self._sharing: tuple[int, ...] = ()
        self.survivors: tuple[int, ...] = ()
        self._consents: dict[int, bytes] = {}
        self._statement = b""
        self._revealed: dict[int, RevealedShares] = {}
        self.weight = 0  # of the survivors together, once the sum is open
        self.total = np.zeros(agreement.words, dtype=agreement.code.word)

    def requests(self, stage: int) -> dict[int, bytes]:
        """The unsigned requests of stages 2 to 5, one for each client that is still there."""
        return {client: self._request(stage, client).to_bytes() for client in self.present}

    def _request(self, stage: int, client: int) -> KeyTable | ShareDelivery | SurvivorList | UnmaskRequest:
        head = self._terms.session, self._round, client
        if stage == 2:
            return KeyTable(*head, self._signed_keys)
        if stage == 3:
            boxes = {sender: self._sealed[sender][client] for sender in self._sharing if sender != client}
            return ShareDelivery(*head, self._model_hash, boxes)
        if stage == 4:
            return SurvivorList(*head, self.survivors)
        return UnmaskRequest(*head, self._consents)

    def upload_key(self, client: int, server_key: RoundKey) -> bytes:
        """The key that this client's upload is tagged with. Raises ProtocolError at an unusable key."""
        keys = self._keys[client]
        (agreed,) = server_key.agree([keys.sealing_key])
        return upload_key(agreed, keys, server_key.public)

    def absorb(self, stage: int, client: int, body: memoryview, message: Packet) -> str:
        """Take one verified reply, and say what it shows to whoever sees it. Raises ProtocolError, changing nothing."""
        if stage == 1:
            self._keys[client] = self._usable(self._own(Advertisement.from_bytes(body), client))
            self._signed_keys[client] = bytes(message)
            return "public keys"
        if stage == 2:
            boxes = self._own(SealedShares.from_bytes(body, most=len(self._members)), client)
            if set(boxes.sealed) != set(self._keys) - {client}:
                raise ProtocolError("shares go to every other client, once")
            self._sealed[client] = boxes.sealed
            return "sealed shares"
        if stage == 3:
            upload = MaskedInput.from_bytes(body, m=self._terms.words, word=self._terms.code.word)
            self.total += self._own(upload, client).words
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
        if (message.session, message.round, message.sender) != (self._terms.session, self._round, client):
            raise ProtocolError("another session, round or sender")
        return message

    def _usable(self, keys: Advertisement) -> Advertisement:
        """The keys, if they were made for this block, are fresh and give secrets."""
        known = {key for other in self._keys.values() for key in (other.mask_key, other.sealing_key)}
        if keys.block != digest_of_clients(self._members) or keys.mask_key == keys.sealing_key:
            raise ProtocolError("keys for another block, or one key for two uses")
        if not known.isdisjoint((keys.mask_key, keys.sealing_key)):
            raise ProtocolError("somebody else's key")
        if not (is_usable(keys.mask_key) and is_usable(keys.sealing_key)):
            raise ProtocolError("a point of low order")
        return keys

    def _legal(self, shares: RevealedShares) -> RevealedShares:
        """The shares, if each is a field element and of the kind that its client's fate allows."""
        if not set(shares.seeds) <= set(self.survivors) or not set(shares.mask_keys) <= self._dropped:
            raise ProtocolError("seeds are revealed for survivors only, mask keys for dropped clients only")
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
        enough = self._terms.fewest(len(self._members)) if stage < 4 else self._terms.threshold(len(self._members))
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
            self.weight = self._open_weight()

    def _signed_keys_ascending(self) -> list[bytes]:
        return [self._signed_keys[client] for client in sorted(self._signed_keys)]

    def _unmask(self) -> None:
        """Take from the sum the self masks of the survivors and their masks with the dropped.

        All secrets are reconstructed and checked first. Raises RoundAbandoned: one of them fails.
        """
        seeds = {client: self._seed(client) for client in self.survivors}
        keys = {client: self._mask_key(client) for client in sorted(self._dropped)}
        plus, minus = list[bytes](), [self_mask_key(seed, self._keys[client]) for client, seed in seeds.items()]
        publics = [self._keys[client].mask_key for client in self.survivors]
        for dropped, key in keys.items():
            for client, agreed in zip(self.survivors, key.agree(publics), strict=True):
                ends = self._keys[client], self._keys[dropped]
                mask = pair_mask_key(agreed, *ends, model_hash=self._model_hash)
                (minus if client < dropped else plus).append(mask)  # the survivor added it towards higher ids
        add_masks(self.total, plus=plus, minus=minus)

    def _seed(self, client: int) -> bytes:
        """A survivor's self-mask seed."""
        session, committed = self._terms.session, self._keys[client].commitment

        def fits(seed: bytes) -> bool:
            return commitment(seed, session=session, round=self._round, client=client) == committed

        held = {holder: told.seeds[client] for holder, told in self._revealed.items() if client in told.seeds}
        return self._reconstructed("seed", client, held, fits)

    def _mask_key(self, client: int) -> RoundKey:
        """A dropped client's mask key."""
        held = {holder: told.mask_keys[client] for holder, told in self._revealed.items() if client in told.mask_keys}
        public = self._keys[client].mask_key
        return RoundKey(self._reconstructed("mask key", client, held, lambda key: RoundKey(key).public == public))

    def _reconstructed(self, what: str, client: int, held: Mapping[int, bytes], fits: Callable[[bytes], bool]) -> bytes:
        """The secret from t shares, by holder; with one share to spare, one wrong share does no harm."""
        threshold = self._terms.threshold(len(self._members))
        if len(held) < threshold:
            raise RoundAbandoned(f"the {what} of client {client} has {len(held)} shares left, it takes {threshold}")
        first = sorted(held)[: threshold + 1]
        for left_out in reversed(first if len(first) > threshold else [None]):
            points = {1 + self._members.index(holder): held[holder] for holder in first if holder != left_out}
            secret = shamir.reconstruct(points)
            if secret is not None and fits(secret):
                return secret
        raise RoundAbandoned(
            f"the {what} of client {client} does not fit what it committed to: it, or a holder of its shares, gave "
            "wrong ones"
        )

    def _open_weight(self) -> int:
        """The weights of the survivors together: public, or the last word of the sum."""
        terms, clients = self._terms, len(self.survivors)
        if terms.weights is not None:
            return sum(terms.weights[client] for client in self.survivors)
        weight = int(self.total[-1])
        if not clients <= weight <= clients * terms.max_weight:
            raise RoundAbandoned(f"the weights of {clients} clients cannot add up to {weight}")
        return weight
