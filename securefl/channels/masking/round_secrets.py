"""The secrets of one client in one round, and every key that is derived from them."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from securefl.channels.masking import shamir
from securefl.channels.masking.boxes import Peers, opened_with, sealed_with
from securefl.channels.masking.keys import (
    KEY_BYTES,
    PAIR_MASK,
    POSSESSION,
    PROOF_BYTES,
    SEALING,
    SELF_MASK,
    UPLOAD,
    Info,
    RoundKey,
    commitment,
    derive,
    share_commitment,
)
from securefl.channels.masking.replies import Advertisement
from securefl.channels.masking.stream import Masks

SERVER = 2**32 - 1  # the server's id in keys that are bound to both ends; no client can have it


@dataclass(frozen=True)
class RoundSecrets:
    """A mask key, a sealing key and a self-mask seed, fresh for one round.

    Args:
        mask: the key of the pair masks. It is shared among the others, in case this client drops
            out.
        sealing: the key that shares are sealed with. It is never shared.
        seed: of the self mask, 32 bytes. It is shared among the others, in case this client stays.
    """

    mask: RoundKey = field(repr=False)
    sealing: RoundKey = field(repr=False)
    seed: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> "RoundSecrets":
        """Returns three secrets from the system's CSPRNG."""
        return cls(RoundKey.generate(), RoundKey.generate(), secrets.token_bytes(KEY_BYTES))

    def advertisement(
        self, session: bytes, round: int, client: int, *, block: bytes, server_key: bytes
    ) -> Advertisement:
        """Returns both public keys, the commitment to the seed, and a proof for the server.

        The proof shows that this client has both private keys.

        Raises:
            ProtocolError: the server's key is unusable.
        """
        committed = commitment(self.seed, session=session, round=round, client=client)
        keys = Advertisement(
            session, round, client, self.mask.public, self.sealing.public, committed, block, b""
        )
        agreed = self.mask.agree([server_key]) + self.sealing.agree([server_key])
        return replace(keys, proof=possession(agreed, keys, server_key))

    def shares(self, points: Mapping[int, int], *, threshold: int) -> dict[int, bytes]:
        """Returns 66 bytes for each client: its share of the seed, then of the mask key.

        Args:
            points: client -> the x of its shares.
            threshold: shares that it takes to reconstruct a secret.
        """
        xs = list(points.values())
        seeds = shamir.share(self.seed, threshold=threshold, points=xs)
        keys = shamir.share(self.mask.private, threshold=threshold, points=xs)
        return {client: seeds[i] + keys[i] for i, client in enumerate(points)}

    def seal(
        self,
        own: Advertisement,
        peers: Peers,
        shares: Mapping[int, bytes],
        *,
        label: bytes = SEALING,
    ) -> dict[int, bytes]:
        """Returns the shares of each other client, sealed for it.

        Args:
            own: this client's advertisement.
            peers: the other clients' advertisements.
            shares: holder -> its shares.
            label: names the purpose of the shares, so that no box passes for one of another stage.

        Raises:
            ProtocolError: a peer's key is unusable.
        """
        keys = self._sealing_keys(own, peers, list(shares), outgoing=True, label=label)
        return sealed_with(keys, own, peers, shares)

    def open(
        self, own: Advertisement, peers: Peers, sealed: Mapping[int, bytes]
    ) -> dict[int, bytes]:
        """Returns the shares from all boxes that open, by dealer; the others are left out.

        A dealer that seals junk must not stop its holders: they reveal the shares of the others.
        """
        contents = self.opened(own, peers, sealed, label=SEALING)
        return {client: both for client, both in contents.items() if _are_shares(both)}

    def opened(
        self, own: Advertisement, peers: Peers, sealed: Mapping[int, bytes], *, label: bytes
    ) -> dict[int, bytes]:
        """Returns the contents of all boxes that open, by dealer; see `seal`."""
        keys = self._sealing_keys(own, peers, list(sealed), outgoing=False, label=label)
        return opened_with(keys, own, peers, sealed)

    def _sealing_keys(
        self,
        own: Advertisement,
        peers: Peers,
        partners: list[int],
        *,
        outgoing: bool,
        label: bytes = SEALING,
    ) -> dict[int, bytes]:
        """Returns one key for each other client. Each direction has a key of its own."""
        agreed = self.sealing.agree([peers[client].sealing_key for client in partners])
        keys: dict[int, bytes] = {}
        for client, secret in zip(partners, agreed, strict=True):
            sender, recipient = (own, peers[client]) if outgoing else (peers[client], own)
            keys[client] = _box_key(secret, sender, recipient, label)
        return keys

    def masks(
        self, own: Advertisement, peers: Peers, partners: Sequence[int], *, model_hash: bytes
    ) -> Masks:
        """Returns the self mask, and a pair mask with each other client.

        Raises:
            ProtocolError: a peer's key is unusable.
        """
        return self.masks_of(own, self.pair_keys(own, peers, partners, model_hash=model_hash))

    def pair_keys(
        self, own: Advertisement, peers: Peers, partners: Sequence[int], *, model_hash: bytes
    ) -> dict[int, bytes]:
        """Returns the key of the mask with each other client. Raises ProtocolError, see `masks`."""
        agreed = self.mask.agree([peers[client].mask_key for client in partners])
        return {
            client: pair_mask_key(secret, own, peers[client], model_hash=model_hash)
            for client, secret in zip(partners, agreed, strict=True)
        }

    def masks_of(self, own: Advertisement, pair_keys: Mapping[int, bytes]) -> Masks:
        """Returns the self mask and the pair masks of these keys.

        Pair masks are added towards higher ids and subtracted towards lower ones, so that they
        cancel in the sum.
        """
        plus = [self_mask_key(self.seed, own)]
        minus: list[bytes] = []
        for client, key in pair_keys.items():
            if client < own.sender:
                minus.append(key)
            else:
                plus.append(key)
        return Masks(plus=plus, minus=minus)

    def upload_key(self, own: Advertisement, server_key: bytes) -> bytes:
        """Returns the key of the upload's tag, 32 bytes. Raises ProtocolError: an unusable key."""
        (agreed,) = self.sealing.agree([server_key])
        return upload_key(agreed, own, server_key)

    def box_keys(
        self, own: Advertisement, peers: Peers, partners: Sequence[int], *, label: bytes
    ) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """Returns the keys of boxes to and from other clients, without the private key behind."""
        agreed = self.sealing.agree([peers[client].sealing_key for client in partners])
        secret_with = dict(zip(partners, agreed, strict=True))
        keys_to = {c: _box_key(s, own, peers[c], label) for c, s in secret_with.items()}
        keys_from = {c: _box_key(s, peers[c], own, label) for c, s in secret_with.items()}
        return keys_to, keys_from

    def after_upload(self) -> "RoundSecrets":
        """Returns the sealing key alone, which the last stages need; the other two are forgotten.

        A client that is broken into after its upload then no longer holds the secrets behind its
        masks.
        """
        return RoundSecrets(RoundKey(b""), self.sealing, b"")

    def forgotten(self) -> "RoundSecrets":
        """Returns none of the secrets, for a client that keeps derived keys only."""
        return RoundSecrets(RoundKey(b""), RoundKey(b""), b"")


def _box_key(agreed: bytes, sender: Advertisement, recipient: Advertisement, label: bytes) -> bytes:
    info = _info(sender, recipient, sender.sealing_key, recipient.sealing_key)
    return derive(agreed, label, info)


def _are_shares(both: bytes) -> bool:
    """Whether a box held two field elements; a corrupt dealer may have sealed something else."""
    try:
        shamir.value_of(both[: shamir.SHARE_BYTES])
        shamir.value_of(both[shamir.SHARE_BYTES :])
    except ValueError:
        return False
    return True


def self_mask_key(seed: bytes, own: Advertisement) -> bytes:
    """Returns the key of a client's self mask, 32 bytes."""
    return derive(seed, SELF_MASK, _info(own, own, own.mask_key, own.mask_key))


def pair_mask_key(
    agreed: bytes, one: Advertisement, other: Advertisement, *, model_hash: bytes
) -> bytes:
    """Returns the key of the mask between two clients, 32 bytes.

    It is the same from both ends if both train on the same model. Clients that were given different
    models get masks that do not cancel.

    Consents alone would not suffice: t clients with one model could open the seed of a client with
    another model.

    Source: Pasquini, Francati and Ateniese, CCS 2022.
    """
    low, high = sorted((one, other), key=lambda end: end.sender)
    return derive(agreed, PAIR_MASK + model_hash, _info(low, high, low.mask_key, high.mask_key))


def upload_key(agreed: bytes, client: Advertisement, server_key: bytes) -> bytes:
    """Returns the key between one client and the server, 32 bytes; the same from both ends."""
    ends = Info(client.session, client.round, client.sender, SERVER, client.sealing_key, server_key)
    return derive(agreed, UPLOAD, ends)


def possession(agreed: Sequence[bytes], client: Advertisement, server_key: bytes) -> bytes:
    """Returns 16 bytes that only the server and the owner of both private keys can compute.

    A client that copies another's public keys cannot, and so gets nobody dropped.

    Args:
        agreed: the secrets that the server's key shares with the mask key and the sealing key.
        client: the advertisement that holds the public keys.
        server_key: the server's public key of the round.
    """
    both_keys = client.mask_key + client.sealing_key
    ends = Info(client.session, client.round, client.sender, SERVER, both_keys, server_key)
    return derive(b"".join(agreed), POSSESSION, ends)[:PROOF_BYTES]


def share_commitments(dealer: Advertisement, shares: Mapping[int, bytes]) -> dict[int, bytes]:
    """Returns 32 bytes for each holder: 16 that fix its share of the seed, 16 for the mask key."""
    return {holder: _both_commitments(dealer, holder, both) for holder, both in shares.items()}


def _both_commitments(dealer: Advertisement, holder: int, both: bytes) -> bytes:
    parts: list[bytes] = []
    shares = (both[: shamir.SHARE_BYTES], both[shamir.SHARE_BYTES :])
    for place, share in enumerate(shares):
        part = share_commitment(
            share,
            session=dealer.session,
            round=dealer.round,
            dealer=dealer.sender,
            holder=holder,
            place=place,
        )
        parts.append(part)
    return b"".join(parts)


def _info(one: Advertisement, other: Advertisement, key_of_one: bytes, key_of_other: bytes) -> Info:
    return Info(one.session, one.round, one.sender, other.sender, key_of_one, key_of_other)
