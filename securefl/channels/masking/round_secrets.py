"""The secrets of one client in one round, and every key that comes from them."""

import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from securefl.channels.masking import shamir
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
    open_sealed,
    seal,
    share_commitment,
)
from securefl.channels.masking.replies import Advertisement
from securefl.channels.masking.stream import Masks

SERVER = 2**32 - 1  # the id that stands for the server where a key is bound to both ends

Peers = Mapping[int, Advertisement]  # ascending by client, itself included


@dataclass(frozen=True)
class RoundSecrets:
    """A mask key, a sealing key and a self-mask seed, fresh for one round.

    Args:
        mask: the key that pair masks come from; shared among the others, for the case that this client drops out.
        sealing: the key that shares are sealed with; never shared.
        seed: the self mask's, 32 bytes; shared among the others, for the case that this client stays.
    """

    mask: RoundKey = field(repr=False)
    sealing: RoundKey = field(repr=False)
    seed: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> "RoundSecrets":
        """Three secrets from the system's CSPRNG."""
        return cls(RoundKey.generate(), RoundKey.generate(), secrets.token_bytes(KEY_BYTES))

    def advertisement(
        self, session: bytes, round: int, client: int, *, block: bytes, server_key: bytes
    ) -> Advertisement:
        """The public keys, the commitment to the seed, and the proof for the server that both keys are this client's.

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
        """For each client its share of the seed, then of the mask key, 66 bytes; points are client -> x."""
        xs = list(points.values())
        seeds = shamir.share(self.seed, threshold=threshold, points=xs)
        keys = shamir.share(self.mask.private, threshold=threshold, points=xs)
        return {client: seeds[i] + keys[i] for i, client in enumerate(points)}

    def seal(
        self, own: Advertisement, peers: Peers, shares: Mapping[int, bytes]
    ) -> dict[int, bytes]:
        """The shares of each other client, sealed for it. Raises ProtocolError at an unusable key."""
        return {
            client: seal(key, shares[client], associated=_route(own, peers[client]))
            for client, key in self._sealing_keys(own, peers, list(shares), outgoing=True).items()
        }

    def open(
        self, own: Advertisement, peers: Peers, sealed: Mapping[int, bytes]
    ) -> dict[int, bytes]:
        """What opens of the boxes that others sealed; one that does not is left out."""
        opened = {
            client: open_sealed(key, sealed[client], associated=_route(peers[client], own))
            for client, key in self._sealing_keys(own, peers, list(sealed), outgoing=False).items()
        }
        return {
            client: shares
            for client, shares in opened.items()
            if shares is not None and _are_shares(shares)
        }

    def masks(
        self, own: Advertisement, peers: Peers, others: Sequence[int], *, model_hash: bytes
    ) -> Masks:
        """The self mask, and a pair mask with each other: subtracted towards lower ids."""
        plus, minus = [self_mask_key(self.seed, own)], list[bytes]()
        agreed = self.mask.agree([peers[client].mask_key for client in others])
        for client, secret in zip(others, agreed, strict=True):
            key = pair_mask_key(secret, own, peers[client], model_hash=model_hash)
            (minus if client < own.sender else plus).append(key)
        return Masks(plus=plus, minus=minus)

    def upload_key(self, own: Advertisement, server_key: bytes) -> bytes:
        """The key that the upload is tagged with, 32 bytes. Raises ProtocolError at an unusable key."""
        (agreed,) = self.sealing.agree([server_key])
        return upload_key(agreed, own, server_key)

    def after_upload(self) -> "RoundSecrets":
        """What the last stages need: the sealing key; the other two are forgotten."""
        return RoundSecrets(RoundKey(b""), self.sealing, b"")

    def _sealing_keys(
        self, own: Advertisement, peers: Peers, others: list[int], *, outgoing: bool
    ) -> dict[int, bytes]:
        """One key for each other client and direction."""
        agreed = self.sealing.agree([peers[client].sealing_key for client in others])
        keys = {}
        for client, secret in zip(others, agreed, strict=True):
            ends = (own, peers[client]) if outgoing else (peers[client], own)
            keys[client] = derive(secret, SEALING, _info(*ends, *(end.sealing_key for end in ends)))
        return keys


def _are_shares(both: bytes) -> bool:
    """Whether a box held two field elements; a dealer may have sealed something else."""
    try:
        shamir.value_of(both[: shamir.SHARE_BYTES])
        shamir.value_of(both[shamir.SHARE_BYTES :])
    except ValueError:
        return False
    return True


def self_mask_key(seed: bytes, own: Advertisement) -> bytes:
    """The key of a client's self mask, 32 bytes."""
    return derive(seed, SELF_MASK, _info(own, own, own.mask_key, own.mask_key))


def pair_mask_key(
    agreed: bytes, one: Advertisement, other: Advertisement, *, model_hash: bytes
) -> bytes:
    """The key of the mask between two clients, 32 bytes; the same from both ends if they train on the same model.

    Clients that were given different models so get masks that do not cancel. (Consents alone would not do: t clients
    with one model could open the seed of one with another. Source: Pasquini, Francati and Ateniese, CCS 2022.)
    """
    low, high = sorted((one, other), key=lambda end: end.sender)
    return derive(agreed, PAIR_MASK + model_hash, _info(low, high, low.mask_key, high.mask_key))


def upload_key(agreed: bytes, client: Advertisement, server_key: bytes) -> bytes:
    """The key between one client and the server, 32 bytes; the same from both ends."""
    ends = Info(client.session, client.round, client.sender, SERVER, client.sealing_key, server_key)
    return derive(agreed, UPLOAD, ends)


def possession(agreed: Sequence[bytes], client: Advertisement, server_key: bytes) -> bytes:
    """What only the server and the owner of both keys can compute, 16 bytes.

    Who copies a public key of somebody else cannot, and so gets nobody dropped.

    Args:
        agreed: the secrets that the server's key shares with the mask key and with the sealing key.
        client: the keys.
        server_key: the server's public key of the round.
    """
    ends = Info(
        client.session,
        client.round,
        client.sender,
        SERVER,
        client.mask_key + client.sealing_key,
        server_key,
    )
    return derive(b"".join(agreed), POSSESSION, ends)[:PROOF_BYTES]


def share_commitments(dealer: Advertisement, shares: Mapping[int, bytes]) -> dict[int, bytes]:
    """For each holder what fixes its two shares: 16 bytes for that of the seed, then 16 for that of the mask key."""
    return {
        holder: b"".join(
            share_commitment(
                both[place * shamir.SHARE_BYTES : (place + 1) * shamir.SHARE_BYTES],
                session=dealer.session,
                round=dealer.round,
                dealer=dealer.sender,
                holder=holder,
                place=place,
            )
            for place in (0, 1)
        )
        for holder, both in shares.items()
    }


def _info(one: Advertisement, other: Advertisement, key_of_one: bytes, key_of_other: bytes) -> Info:
    return Info(one.session, one.round, one.sender, other.sender, key_of_one, key_of_other)


def _route(sender: Advertisement, recipient: Advertisement) -> bytes:
    """The associated data of a box: from, to, round."""
    return struct.pack("<III", sender.sender, recipient.sender, sender.round)
