"""Opens one sum: reconstructs and checks the secrets behind its masks, and removes the masks.

Source: Bonawitz et al., CCS 2017, figure 4, round 4 (Unmasking), at the server.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from securefl.channels.masking import shamir
from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.keys import (
    SHARE_COMMITMENT_BYTES,
    RoundKey,
    commitment,
    share_commitment,
)
from securefl.channels.masking.replies import Advertisement, RevealedShares
from securefl.channels.masking.round_secrets import pair_mask_key, self_mask_key
from securefl.channels.masking.sketches.conflicts import WRONG_SHARES
from securefl.channels.masking.stream import add_masks
from securefl.channels.masking.wire import Table
from securefl.errors import ProtocolError, RoundAbandoned

_SEED, _MASK_KEY = 0, 1  # the place of a share in its box, and of its commitment


class Reconstruction:
    """The secrets of a block's clients, reconstructed from the revealed shares.

    Shares are judged one by one, so that wrong ones do no harm, however many, while a threshold of
    right ones is there. A secret that fails all the same is its dealer's fault: it committed to
    shares of something else.

    Where the terms say how many clients may lie, a dealer that certainly lied is named. Honest
    holders of an honest dealer's shares all have the right ones, so that at most as many of those
    that answered lack one as may lie. Too few answers are nobody's fault.

    Args:
        agreement: the terms of the session.
        round: its number.
        members: the clients invited into the sum, ascending.
        keys: U1, the advertisement of each client.
        commitments: dealer -> holder -> the commitments to its two shares.
        revealed: holder -> the shares that it revealed.
    """

    def __init__(
        self,
        agreement: Agreement,
        round: int,
        members: tuple[int, ...],
        *,
        keys: Mapping[int, Advertisement],
        commitments: Mapping[int, Table],
        revealed: Mapping[int, RevealedShares],
    ) -> None:
        self._terms = agreement
        self._round = round
        self._members = members
        self._keys = keys
        self._commitments = commitments
        self._revealed = revealed

    def secrets(
        self, survivors: Collection[int], dropped: Collection[int]
    ) -> tuple[dict[int, bytes], dict[int, RoundKey]]:
        """Returns the seeds of all survivors, and the mask keys of all dropped clients.

        Raises:
            RoundAbandoned: a secret cannot be reconstructed. It names every dealer that certainly
                lied, so that several of them cost one round. `paired` holds each other dealer that
                failed with each holder at fault, if it is not the dealer.
        """
        failures: list[RoundAbandoned] = []
        seeds: dict[int, bytes] = {}
        mask_keys: dict[int, RoundKey] = {}
        for client in sorted(survivors):
            try:
                seeds[client] = self.seed(client)
            except RoundAbandoned as failure:
                failures.append(failure)
        for client in sorted(dropped):
            try:
                mask_keys[client] = self.mask_key(client)
            except RoundAbandoned as failure:
                failures.append(failure)
        if failures:
            named = {client: why for failure in failures for client, why in failure.named.items()}
            # One sentence suffices; where somebody is named, it should say so.
            first = next((failure for failure in failures if failure.named), failures[0])
            # Each has a liar at one end: only liars lack a right share of an honest dealer.
            edges = tuple(edge for failure in failures for edge in failure.paired)
            raise RoundAbandoned(str(first), named=named, paired=edges)
        return seeds, mask_keys

    def seed(self, client: int) -> bytes:
        """Returns a survivor's self-mask seed. Raises RoundAbandoned: too few shares, or false."""
        session = self._terms.session
        advertised = self._keys[client].commitment

        def fits(seed: bytes) -> bool:
            actual = commitment(seed, session=session, round=self._round, client=client)
            return actual == advertised

        held = {
            holder: shares.seeds[client]
            for holder, shares in self._revealed.items()
            if client in shares.seeds
        }
        right = self._right_shares(client, held, place=_SEED)
        return self._reconstructed("seed", client, right, fits)

    def mask_key(self, client: int) -> RoundKey:
        """Returns a dropped client's mask key. Raises RoundAbandoned: too few shares, or false."""
        public = self._keys[client].mask_key

        def fits(private: bytes) -> bool:
            return RoundKey(private).public == public

        held = {
            holder: shares.mask_keys[client]
            for holder, shares in self._revealed.items()
            if client in shares.mask_keys
        }
        right = self._right_shares(client, held, place=_MASK_KEY)
        return RoundKey(self._reconstructed("mask key", client, right, fits))

    def _right_shares(
        self, dealer: int, held: Mapping[int, bytes], *, place: int
    ) -> dict[int, bytes]:
        """Returns the revealed shares that fit the dealer's commitments.

        Of the others, the holder changed them or the dealer committed to something else.
        """
        start = place * SHARE_COMMITMENT_BYTES
        right: dict[int, bytes] = {}
        for holder, share in held.items():
            actual = share_commitment(
                share,
                session=self._terms.session,
                round=self._round,
                dealer=dealer,
                holder=holder,
                place=place,
            )
            committed = self._commitments[dealer][holder]
            if actual == committed[start : start + SHARE_COMMITMENT_BYTES]:
                right[holder] = share
        return right

    def _reconstructed(
        self, kind: str, client: int, shares: Mapping[int, bytes], fits: Callable[[bytes], bool]
    ) -> bytes:
        """Returns the secret behind the right shares, by holder.

        Raises:
            RoundAbandoned: fewer shares than the threshold, or the secret does not fit.
        """
        threshold = self._terms.threshold(len(self._members))
        if len(shares) < threshold:
            if self._is_dealers_fault(lacking=len(self._revealed) - len(shares)):
                raise self._lied(kind, client)
            raise RoundAbandoned(
                f"the {kind} of client {client} has {len(shares)} right shares left, it takes "
                f"{threshold}; the others are missing or wrong, because of their holders or of "
                "the client itself",
                paired=self._lacking(client, shares),
            )
        holders = sorted(shares)[:threshold]
        points = {1 + self._members.index(holder): shares[holder] for holder in holders}
        secret = shamir.reconstruct(points)
        if secret is None or not fits(secret):
            raise self._lied(kind, client)
        return secret

    def _lacking(self, dealer: int, shares: Collection[int]) -> tuple[tuple[int, int], ...]:
        """Returns (dealer, holder) for each holder that answered without a right share."""
        if self._terms.sketching is None:
            return ()
        lacking = sorted(set(self._revealed) - set(shares) - {dealer})
        return tuple((dealer, holder) for holder in lacking)

    def _is_dealers_fault(self, *, lacking: int) -> bool:
        """Whether more of those that answered lack a right share than may lie."""
        sketching = self._terms.sketching
        return sketching is not None and lacking > sketching.liars

    def _lied(self, kind: str, client: int) -> RoundAbandoned:
        """Returns the failure of a secret; the terms decide whether it names the dealer."""
        sentence = f"the shares that client {client} dealt do not give its {kind}"
        if self._terms.sketching is None:
            return RoundAbandoned(sentence)
        return RoundAbandoned(sentence, named={client: WRONG_SHARES})


def remove_masks(
    total: NDArray[Any],
    *,
    seeds: Mapping[int, bytes],
    mask_keys: Mapping[int, RoundKey],
    keys: Mapping[int, Advertisement],
    model_hash: bytes,
) -> None:
    """Removes the survivors' self masks, and their pair masks with dropped clients, in place.

    Pair masks between two survivors cancel in the sum and need no secret.

    Args:
        total: (d,) words of the ring, the sum of the survivors' masked inputs.
        seeds: the self-mask seed of each survivor.
        mask_keys: the mask key of each dropped client.
        keys: the advertisement of each client.
        model_hash: names the model of the round, to which pair masks are bound.
    """
    plus: list[bytes] = []
    minus = [self_mask_key(seed, keys[client]) for client, seed in seeds.items()]
    publics = [keys[client].mask_key for client in seeds]
    for dropped, mask_key in mask_keys.items():
        for client, agreed in zip(seeds, mask_key.agree(publics), strict=True):
            mask = pair_mask_key(agreed, keys[client], keys[dropped], model_hash=model_hash)
            # A survivor added this mask if the dropped client has the higher id, and subtracted it
            # otherwise; here it is the other way round.
            if client < dropped:
                minus.append(mask)
            else:
                plus.append(mask)
    add_masks(total, plus=plus, minus=minus)


def check_revealed(
    shares: RevealedShares, *, survivors: Collection[int], dropped: Collection[int]
) -> None:
    """Checks that each share is a field element, and of the kind its client's fate allows.

    A server that took both kinds of one client could open its single update.

    Raises:
        ProtocolError: a share is none, or of the other kind.
    """
    if not (set(shares.seeds) <= set(survivors) and set(shares.mask_keys) <= set(dropped)):
        raise ProtocolError(
            "seeds are revealed for survivors only, mask keys for dropped clients only"
        )
    try:
        for share in (*shares.seeds.values(), *shares.mask_keys.values()):
            shamir.value_of(share)
    except ValueError as reason:
        raise ProtocolError(str(reason)) from None
