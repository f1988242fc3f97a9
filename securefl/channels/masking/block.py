"""One sum of a masked round, as the server sees it: five stages over at most 128 clients.

U1 to U5 are the paper's: who advertised, shared, sent a masked input, consented, revealed.
"""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from securefl.channels.masking import shamir
from securefl.channels.masking.agreement import Agreement, digest_of_clients, statement_of
from securefl.channels.masking.keys import RoundKey, commitment, is_usable
from securefl.channels.masking.replies import Advertisement, Consent, MaskedInput, RevealedShares, SealedShares
from securefl.channels.masking.requests import KeyTable, ShareDelivery, SurvivorList, UnmaskRequest
from securefl.channels.masking.round_secrets import pair_mask_key, self_mask_key
from securefl.channels.masking.stream import add_masks
from securefl.errors import ProtocolError, RoundAbandoned
from securefl.types import Packet

STAGES = 5

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
        self.total = np.zeros(agreement.words, dtype=agreement.code.word)

    def requests(self, stage: int) -> dict[int, bytes]:
        """The unsigned requests of stages 2 to 5."""
        session, round = self._terms.session, self._round
        if stage == 2:
            request = KeyTable(session, round, self._signed_keys).to_bytes()
        elif stage == 3:
            return {client: self._delivery(client) for client in self.present}
        elif stage == 4:
            request = SurvivorList(session, round, self.survivors).to_bytes()
        else:
            request = UnmaskRequest(session, round, self._consents).to_bytes()
        return {client: request for client in self.present}

    def _delivery(self, client: int) -> bytes:
        boxes = {sender: self._sealed[sender][client] for sender in self._sharing if sender != client}
        return ShareDelivery(self._terms.session, self._round, client, self._model_hash, boxes).to_bytes()

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
                mask = pair_mask_key(agreed, self._keys[client], self._keys[dropped])
                (minus if client < dropped else plus).append(mask)  # the survivor added it towards higher ids
        add_masks(self.total, plus=plus, minus=minus)

    def _seed(self, client: int) -> bytes:
        """A survivor's self-mask seed."""
        shares = {holder: shares.seeds[client] for holder, shares in self._revealed.items() if client in shares.seeds}
        seed = self._reconstructed(client, shares)
        session = self._terms.session
        if commitment(seed, session=session, round=self._round, client=client) != self._keys[client].commitment:
            raise RoundAbandoned(_FAILED.format("seed", client))
        return seed

    def _mask_key(self, client: int) -> RoundKey:
        """A dropped client's mask key."""
        held = self._revealed.items()
        shares = {holder: shares.mask_keys[client] for holder, shares in held if client in shares.mask_keys}
        key = RoundKey(self._reconstructed(client, shares))
        if key.public != self._keys[client].mask_key:
            raise RoundAbandoned(_FAILED.format("mask key", client))
        return key

    def _reconstructed(self, client: int, shares: Mapping[int, bytes]) -> bytes:
        """The secret from the first t shares, by holder."""
        threshold = self._terms.threshold(len(self._members))
        if len(shares) < threshold:
            raise RoundAbandoned(f"client {client}'s secret has {len(shares)} shares left, it takes {threshold}")
        first = sorted(shares)[:threshold]
        secret = shamir.reconstruct({1 + self._members.index(holder): shares[holder] for holder in first})
        if secret is None:
            raise RoundAbandoned(_FAILED.format("secret", client))
        return secret


_FAILED = "the {} of client {} does not fit what it committed to: it, or a holder of its shares, gave wrong ones"
