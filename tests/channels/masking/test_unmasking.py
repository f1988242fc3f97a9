"""Dealers of wrong shares are named where the terms say how many clients may lie, and only then."""

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest

from securefl.channels.masking.agreement import Agreement, Sketching
from securefl.channels.masking.keys import RoundKey
from securefl.channels.masking.replies import Advertisement, RevealedShares
from securefl.channels.masking.round_secrets import RoundSecrets, share_commitments
from securefl.channels.masking.shamir import SHARE_BYTES
from securefl.channels.masking.sketches.conflicts import WRONG_SHARES
from securefl.channels.masking.unmasking import Reconstruction
from securefl.errors import RoundAbandoned
from tests.channels.masking.parties import SESSION, agreement
from tests.channels.masking.puppeteer import SERVER_KEY, SHARE

N = 9
DROPPED = 8
TWO_LIARS = Sketching(size=16, liars=2)  # the threshold of nine clients, one corrupt, is six


class Dealt:
    """The shares that nine clients dealt and revealed to each other; client 8 dropped out."""

    def __init__(self, terms: Agreement) -> None:
        self.terms = terms
        self.secrets = {client: RoundSecrets.fresh() for client in range(N)}
        self.keys: dict[int, Advertisement] = {}
        self.commitments: dict[int, Mapping[int, bytes]] = {}
        self.held: dict[int, dict[int, bytes]] = {holder: {} for holder in range(N)}
        for client in range(N):
            self.deal(client, self.secrets[client])

    def deal(self, client: int, committed: RoundSecrets) -> None:
        """Deals the secrets under the client's own keys."""
        own = self.secrets[client].advertisement(
            SESSION, 0, client, block=bytes(32), server_key=SERVER_KEY
        )
        points = {holder: holder + 1 for holder in range(N)}
        shares = committed.shares(points, threshold=self.terms.threshold(N))
        self.keys[client] = own
        self.commitments[client] = share_commitments(own, shares)
        for holder, both in shares.items():
            self.held[holder][client] = both

    def spoil(self, holder: int, dealer: int) -> None:
        """Gives a holder other shares of a dealer than those that it committed to."""
        self.held[holder][dealer] = SHARE + SHARE

    def reconstruction(self, answered: range = range(DROPPED)) -> Reconstruction:
        """Returns what the server has, if these clients answered its last request."""
        revealed = {}
        for holder in answered:
            held = self.held[holder]
            seeds = {client: both[:SHARE_BYTES] for client, both in held.items()}
            mask_keys = {DROPPED: held[DROPPED][SHARE_BYTES:]} if DROPPED in held else {}
            seeds.pop(DROPPED, None)
            revealed[holder] = RevealedShares(SESSION, 0, holder, seeds, mask_keys)
        return Reconstruction(
            self.terms,
            0,
            tuple(range(N)),
            keys=self.keys,
            commitments=self.commitments,
            revealed=revealed,
        )


def dealt(sketching: Sketching | None = TWO_LIARS) -> Dealt:
    return Dealt(agreement(N, sketching=sketching))


def opened(parties: Dealt, answered: range = range(DROPPED)) -> dict[int, bytes]:
    """Returns the seeds, and checks the mask key of the dropped client."""
    seeds, mask_keys = parties.reconstruction(answered).secrets(range(DROPPED), [DROPPED])
    assert mask_keys == {DROPPED: parties.secrets[DROPPED].mask}
    return seeds


def failure(parties: Dealt, answered: range = range(DROPPED)) -> RoundAbandoned:
    with pytest.raises(RoundAbandoned, match="client") as raised:
        parties.reconstruction(answered).secrets(range(DROPPED), [DROPPED])
    return raised.value


@pytest.mark.parametrize("liars", list(itertools.combinations(range(DROPPED), 2))[::5])
def test_two_holders_of_wrong_shares_stop_nothing(liars: tuple[int, int]) -> None:
    parties = dealt()
    for holder in liars:
        for dealer in range(N):
            parties.spoil(holder, dealer)
    assert opened(parties) == {c: parties.secrets[c].seed for c in range(DROPPED)}


@pytest.mark.parametrize("dealer", [3, DROPPED])
@pytest.mark.parametrize("missing", [True, False])
def test_a_dealer_is_named_if_more_holders_lack_a_right_share_than_may_lie(
    dealer: int, missing: bool
) -> None:
    parties = dealt()
    for holder in (0, 1, 4):
        if missing:
            del parties.held[holder][dealer]  # a box that did not open
        else:
            parties.spoil(holder, dealer)
    found = failure(parties)
    assert found.named == {dealer: WRONG_SHARES}
    kind = "mask key" if dealer == DROPPED else "seed"
    assert f"the shares that client {dealer} dealt do not give its {kind}" in str(found)


def test_nobody_is_named_if_so_few_answered_that_liars_may_be_the_cause() -> None:
    parties = dealt()
    for holder in (0, 1):
        parties.spoil(holder, 3)
    found = failure(parties, answered=range(7))
    assert "the seed of client 3 has 5 right shares left, it takes 6" in str(found)
    assert found.named == {}
    # One of each pair lied: the dealer, or the holder that answered without its right share.
    assert found.paired == ((3, 0), (3, 1))


def test_a_dealer_is_not_in_a_pair_with_itself_or_with_those_that_did_not_answer() -> None:
    parties = dealt()
    for holder in (0, 3, 7):
        parties.spoil(holder, 3)
    found = failure(parties, answered=range(7))
    assert (found.named, found.paired) == ({}, ((3, 0),))


def test_nobody_is_named_if_fewer_answered_than_the_threshold() -> None:
    found = failure(dealt(), answered=range(5))
    assert (found.named, found.paired) == ({}, ())


@pytest.mark.parametrize("dealer", [3, DROPPED])
def test_a_dealer_is_named_if_right_shares_give_another_secret(dealer: int) -> None:
    parties = dealt()
    parties.deal(dealer, RoundSecrets.fresh())
    assert failure(parties).named == {dealer: WRONG_SHARES}


def test_several_dealers_of_wrong_shares_cost_one_round() -> None:
    parties = dealt()
    parties.deal(2, RoundSecrets.fresh())
    other_key = replace(parties.secrets[DROPPED], mask=RoundKey.generate())
    parties.deal(DROPPED, other_key)
    assert set(failure(parties).named) == {2, DROPPED}


def test_whoever_lied_is_named_even_if_another_secret_only_lacks_answers() -> None:
    parties = dealt()
    for holder in (0, 1):
        parties.spoil(holder, 3)  # with seven answers: too few, and nobody's fault
    parties.deal(5, RoundSecrets.fresh())
    found = failure(parties, answered=range(7))
    assert found.named == {5: WRONG_SHARES}
    assert "client 5" in str(found)


def test_nobody_is_named_where_the_terms_do_not_say_how_many_may_lie() -> None:
    parties = dealt(sketching=None)
    for holder in range(4):
        parties.spoil(holder, 3)
    found = failure(parties)
    assert "the seed of client 3 has 4 right shares left, it takes 6" in str(found)
    assert (found.named, found.paired) == ({}, ())
    parties = dealt(sketching=None)
    parties.deal(3, RoundSecrets.fresh())
    found = failure(parties)
    assert "the shares that client 3 dealt do not give its seed" in str(found)
    assert found.named == {}
