"""Rounds whose clients a rule chooses, from the invitation to the sum, with both real sides.

Next to `test_sketching`, which plays a server that breaks the protocol.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
import pytest

from securefl.channels.masking.replies import SealedShares
from securefl.channels.masking.requests import ShareDelivery
from securefl.channels.masking.sketches.choosing import Suspects
from securefl.channels.masking.sketches.conflicts import (
    CONTRADICTED,
    LACKING,
    MISFIT,
    SILENT,
    WRONG_SHARES,
)
from securefl.channels.masking.sketches.field import P
from securefl.channels.masking.sketches.matrix import centred
from securefl.channels.masking.sketches.replies import (
    Acceptance,
    DistanceShares,
    OpeningShares,
    SealedDealing,
    bits_of,
)
from securefl.channels.masking.sketches.sketching import SketchingClient
from securefl.channels.masking.sketches.words import encoded_words
from securefl.channels.protocol import Packet, View
from securefl.errors import RoundAbandoned
from securefl.rng import seeded_keystream
from tests.channels.masking.sketches.parties import (
    SketchSession,
    everyone,
    is_exact,
    make_sketching_client,
    parsed_dealing,
    resigned,
    sketch_terms,
    without_furthest,
)

STAGES = 8


def exact_squares(session: SketchSession, clients: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """Returns the squared distances of the weighted sketches, computed in the clear."""
    terms = session.terms
    matrix = session.server._account.facts.matrix
    assert terms.weights is not None
    sketches = {
        client: np.array(
            centred(
                matrix.sketch(
                    encoded_words(
                        session.updates[client],
                        terms.weights[client],
                        terms,
                        stream=seeded_keystream(0, "rounding", client, session.round),
                    )
                )
            ),
            dtype=object,
        )
        for client in clients
    }
    return {
        (i, j): int(((terms.weights[j] * sketches[i] - terms.weights[i] * sketches[j]) ** 2).sum())
        for i, j in combinations(clients, 2)
    }


def test_a_round_opens_the_mean_of_the_clients_that_the_rule_chose() -> None:
    session = SketchSession(sketch_terms(6), without_furthest)
    view = session.play(0)
    assert len(view.clients) == 5
    assert is_exact(session, view)
    assert view.left_out == tuple(set(range(6)) - set(view.clients))
    assert (view.named, view.paired) == ({}, ())


def test_the_rule_gets_estimates_of_the_squared_distances_between_updates() -> None:
    shown: list[tuple[Any, int]] = []

    def watching(squared: Any, f: int) -> Any:
        shown.append((squared, f))
        return everyone(squared, f)

    weights = dict(enumerate([1, 2, 3, 4, 5, 6]))
    terms = sketch_terms(6, d=200, size=512, weights=weights, max_weight=8)
    session = SketchSession(terms, watching)
    session.play(0)
    ((squared, f),) = shown
    assert f == 1
    for i, j in combinations(range(6), 2):
        true = float((session.updates[i].delta - session.updates[j].delta).norm() ** 2)
        # The standard deviation is a share of sqrt(2 / 512).
        assert squared[i, j] == pytest.approx(true, rel=5 * (2 / 512) ** 0.5)
        assert squared[i, j] == squared[j, i]
    assert np.all(np.diag(squared) == 0)


def test_distances_are_exact_with_any_public_weights() -> None:
    weights = dict(enumerate([1, 2**20, 3, 7, 2**19, 11]))
    terms = sketch_terms(6, weights=weights, max_weight=2**20)
    session = SketchSession(terms).begin(0).until(6)
    answers = session.answers()
    for client, message in answers.items():
        assert session.server.absorb(client, message)
    block = session.server._account
    exact = exact_squares(session, tuple(range(6)))
    assert session.server.close_stage() is None
    assert block.distances is not None
    unit = 2 * (terms.code.step * 2**20) ** 2 / 16
    for (i, j), squared in exact.items():
        assert block.distances.squared[i, j] == squared / (weights[i] * weights[j]) ** 2 * unit


def spread(counts: tuple[int, ...]) -> dict[int, int]:
    """Returns client -> the first stage that it does not answer; 9 means that it answers all."""
    return {client: first for client, first in enumerate(counts) if first <= STAGES}


def abandoned_or_opened(session: SketchSession, round: int, firsts: tuple[int, ...]) -> View | None:
    """Plays a round; returns its view, or None if it was abandoned, which names nobody."""
    try:
        return session.play(round, silent=spread(firsts))
    except RoundAbandoned as reason:
        abandoned = reason
    assert (dict(abandoned.named), abandoned.paired) == ({}, ())
    return None


def rounds_end_well(session: SketchSession, spreads: list[tuple[int, ...]]) -> int:
    """Plays a round for each way to drop out; returns how many of them opened a sum.

    Each has to be exact, or to be abandoned because too few clients were left: t = 4 of 6 answer
    every stage, and 2 c + f + 1 = 4 of them send distances.
    """
    opened = 0
    for round, firsts in enumerate(spreads):
        view = abandoned_or_opened(session, round, firsts)
        enough = sum(first > STAGES for first in firsts) >= 4
        assert (view is not None) == enough, firsts
        if view is not None:
            opened += 1
            # Who vanishes before stage 7 is not chosen, since it could not help to find liars.
            assert view.clients == tuple(c for c, first in enumerate(firsts) if first > 6)
            assert is_exact(session, view)
    return opened


def all_spreads() -> list[tuple[int, ...]]:
    return list(combinations_with_replacement(range(1, STAGES + 2), 6))


def test_a_sum_is_exact_however_clients_drop_out() -> None:
    spreads = all_spreads()
    assert len(spreads) == 3003
    # Two of the six may drop out, which leaves this many of all ways.
    kept = [firsts for firsts in spreads if sum(first <= STAGES for first in firsts) <= 2]
    abandoned = [firsts for firsts in spreads if firsts not in kept]
    session = SketchSession(sketch_terms(6))
    assert rounds_end_well(session, kept + abandoned[::301]) == len(kept) == 45


@pytest.mark.slow  # 3,003 rounds
def test_a_sum_is_exact_for_every_way_to_spread_drop_outs_over_all_stages() -> None:
    session = SketchSession(sketch_terms(6))
    assert rounds_end_well(session, all_spreads()) == 45


# Clients 0 and 1 of nine lie.
LIARS = (0, 1)


def nine(choose: Callable[..., Any] = everyone) -> SketchSession:
    return SketchSession(sketch_terms(9, corrupt=2, liars=2), choose)


def by_liars(
    session: SketchSession, stage: int, change: Callable[[int, bytes], Any]
) -> Callable[[int, int, Packet], Packet]:
    """Returns what changes the liars' messages of one stage, and signs them again."""

    def changed(at: int, client: int, message: Packet) -> Packet:
        if at != stage or client not in LIARS:
            return message
        return resigned(client, message, session.terms, lambda body: change(client, body))

    return changed


def _with(body: bytes, start: int, content: bytes) -> bytes:
    return body[:start] + content + body[start + len(content) :]


GARBAGE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda body: b"",
    "a head": lambda body: body[:25],
    "a byte less": lambda body: body[:-1],
    "a byte more": lambda body: body + bytes(1),
    "ones after the head": lambda body: body[:29] + b"\xff" * max(0, len(body) - 29),
    "another kind": lambda body: _with(body, 4, b"\x7f"),
    "another session": lambda body: _with(body, 5, bytes(16)),
    "another round": lambda body: _with(body, 21, b"\7"),
    "another sender": lambda body: _with(body, 25, b"\3"),
}


def test_garbage_in_any_message_is_dropped_and_the_right_one_still_taken() -> None:
    session = nine().begin(0)
    view = None
    for stage in range(1, STAGES + 1):
        for client, message in session.answers().items():
            for garbage in GARBAGE.values() if client in LIARS else ():
                # An upload is tagged and not signed: every change of it is a forgery.
                wrong = resigned(client, message, session.terms, garbage)
                assert not session.server.absorb(client, wrong), (stage, garbage(bytes(message)))
            assert session.server.absorb(client, message)
        view = session.server.close_stage()
    assert view is not None
    assert view.clients == tuple(range(9))
    assert is_exact(session, view)


def test_silence_of_f_clients_at_any_stage_changes_no_sum() -> None:
    session = nine()
    for stage in range(1, STAGES + 1):
        view = session.play(stage, silent=dict.fromkeys(LIARS, stage))
        assert view.clients == tuple(range(9) if stage > 6 else range(2, 9))
        assert view.left_out == (LIARS if stage in (4, 5, 6) else ())
        assert is_exact(session, view)


@pytest.mark.parametrize("dispute", [False, True])
def test_liars_stop_no_round_in_which_an_honest_client_is_away_as_there_is_room_for(
    dispute: bool,
) -> None:
    # n = 2 c + 2 f + 1 + 1. The rule leaves out two more than are silent.
    session = SketchSession(sketch_terms(10, corrupt=2, liars=2), without_furthest)
    if dispute:
        view = session.play(0, silent={9: 1}, change=by_liars(session, 5, rejecting(4, 5)))
        assert view.clients == (2, 3, 6, 7, 8)
    else:
        view = session.play(0, silent={9: 1, **dict.fromkeys(LIARS, 4)})
        assert len(view.clients) == 5
        assert set(view.clients) <= set(range(2, 9))
    assert is_exact(session, view)


def test_wrong_shares_of_distances_from_f_clients_change_no_distance() -> None:
    def wrong(client: int, body: bytes) -> DistanceShares:
        shares = DistanceShares.from_bytes(body, count=36)
        return replace(shares, elements=[(x * x + client + 1) % P for x in shares.elements])

    session = nine().begin(0).until(6)
    for client, message in session.answers().items():
        assert session.server.absorb(client, by_liars(session, 6, wrong)(6, client, message))
    exact = exact_squares(session, tuple(range(9)))
    session.server.close_stage()
    distances = session.server._account.distances
    assert distances is not None
    unit = 2 * session.terms.code.step**2 / 16
    assert all(distances.squared[i, j] == value * unit for (i, j), value in exact.items())


def test_wrong_shares_of_the_summed_sketch_from_f_clients_change_nothing() -> None:
    def wrong(client: int, body: bytes) -> OpeningShares:
        shares = OpeningShares.from_bytes(body, size=16, most=9)
        return replace(shares, sketch=[(x + 1) % P for x in shares.sketch])

    session = nine()
    view = session.play(0, change=by_liars(session, 8, wrong))
    assert view.clients == tuple(range(9))
    assert is_exact(session, view)


def test_wrong_shares_of_seeds_and_keys_from_f_clients_change_nothing() -> None:
    def wrong(client: int, body: bytes) -> OpeningShares:
        shares = OpeningShares.from_bytes(body, size=16, most=9)
        return replace(
            shares,
            seeds={owner: bytes(33) for owner in shares.seeds},
            mask_keys={owner: bytes(33) for owner in shares.mask_keys},
        )

    session = nine(without_furthest)
    for round in range(3):
        view = session.play(round, change=by_liars(session, 8, wrong))
        assert len(view.clients) == 7
        assert is_exact(session, view)
        assert view.named == {}


def test_illegal_shares_in_the_opening_stage_count_for_nothing() -> None:
    session = nine().begin(0).until(8)
    message = session.answers()[0]

    def of_a_chosen_client(body: bytes) -> OpeningShares:
        shares = OpeningShares.from_bytes(body, size=16, most=9)
        return replace(shares, seeds={}, mask_keys={3: bytes(33)})

    assert not session.server.absorb(0, resigned(0, message, session.terms, of_a_chosen_client))
    assert session.server._account._sketches == {}
    assert session.server.absorb(0, message)


def rejecting(*places: int) -> Callable[[int, bytes], Acceptance]:
    def rejected(client: int, body: bytes) -> Acceptance:
        return replace(Acceptance.from_bytes(body), rejected=bits_of(set(places) - {client}))

    return rejected


def test_a_false_complaint_costs_the_round_one_honest_client_for_each_liar() -> None:
    session = nine()
    view = session.play(0, change=by_liars(session, 5, rejecting(4, 5)))
    # Each liar complains of both clients: no more than f edges for anybody.
    assert view.paired == ((0, 4), (1, 5))
    assert view.named == {}
    assert view.clients == (2, 3, 6, 7, 8)
    assert view.left_out == (0, 1, 4, 5)
    assert is_exact(session, view)
    # The pairs concern one round only.
    assert session.play(1).clients == tuple(range(9))


def test_who_complains_of_more_clients_than_can_lie_is_named_and_takes_no_further_part() -> None:
    session = nine()
    view = session.play(0, change=by_liars(session, 5, rejecting(4, 5, 6)))
    assert view.named == dict.fromkeys(LIARS, CONTRADICTED)
    assert view.paired == ()
    assert view.clients == tuple(range(2, 9))
    assert view.left_out == ()
    assert dict(session.server.named) == view.named
    view = session.play(1)
    assert view.clients == tuple(range(2, 9))
    assert (view.named, view.left_out) == ({}, ())
    assert is_exact(session, view)


def test_a_named_client_is_not_heard_and_not_in_the_key_table() -> None:
    session = nine()
    session.server.recall({3: CONTRADICTED}, ())
    session.begin(0)
    requests = session.server.requests()
    assert 3 in requests  # everybody sees the same cohort
    for client in range(9):
        assert session.server.absorb(client, session.answer(client, requests[client])) == (
            client != 3
        )
    session.server.close_stage()
    assert set(session.server.requests()) == set(range(9)) - {3}


def test_a_resumed_server_keeps_out_what_the_rounds_before_found() -> None:
    session = nine()
    session.server.recall({0: CONTRADICTED}, ((1, 5),))
    session.server.recall({}, ((1, 5),))
    view = session.play(4)
    assert view.clients == (2, 3, 4, 6, 7, 8)
    assert view.left_out == (1, 5)
    assert (view.named, view.paired) == ({}, ())


def test_the_partner_of_a_proven_liar_is_free_again() -> None:
    terms = sketch_terms(9, corrupt=2, liars=2)
    assert Suspects.of({1: MISFIT}, ((1, 5),), terms) == Suspects(1, {1: MISFIT}, ())
    assert Suspects.of({1: SILENT}, ((2, 5),), terms) == Suspects(1, {1: SILENT}, ((2, 5),))
    # A silent client may be honest: its pair stays in doubt.
    assert Suspects.of({2: SILENT}, ((2, 5),), terms) == Suspects(1, {2: SILENT}, ((2, 5),))
    # So may a client whose shares a holder lacks, which is in a pair with that holder.
    assert Suspects.of({2: LACKING}, ((2, 5),), terms) == Suspects(1, {2: LACKING}, ((2, 5),))
    assert Suspects.of({2: LACKING}, (), terms) == Suspects(2, {2: LACKING}, ())
    assert Suspects.of({}, (), terms) == Suspects(2, {}, ())


def with_boxes(session: SketchSession, *holders: int) -> Callable[[int, int, Packet], Packet]:
    """Returns what makes client 0 seal junk for some holders."""

    def junk(body: bytes) -> SealedDealing:
        dealing = parsed_dealing(body, session.terms, holders=9)
        boxes = {
            holder: bytes(len(box)) if holder in holders else box
            for holder, box in dealing.boxes.items()
        }
        return replace(dealing, boxes=boxes)

    def changed(stage: int, client: int, message: Packet) -> Packet:
        if (stage, client) != (4, 0):
            return message
        return resigned(client, message, session.terms, junk)

    return changed


def test_a_dealing_without_a_box_for_everybody_is_dropped() -> None:
    session = nine().begin(0).until(4)
    message = session.answers()[0]

    def without_box(body: bytes) -> SealedDealing:
        dealing = parsed_dealing(body, session.terms, holders=9)
        return replace(dealing, boxes={h: box for h, box in dealing.boxes.items() if h != 4})

    assert not session.server.absorb(0, resigned(0, message, session.terms, without_box))
    assert session.server.absorb(0, message)


def test_acceptances_of_other_dealings_are_dropped_and_the_round_goes_on() -> None:
    def of_others(client: int, body: bytes) -> Acceptance:
        return replace(Acceptance.from_bytes(body), digest=bytes(32))

    session = nine()
    view = session.play(0, change=by_liars(session, 5, of_others))
    # Whose acceptance is dropped is away from then on.
    assert (view.clients, view.left_out) == (tuple(range(2, 9)), LIARS)
    assert view.named == {}


def _rejecting(bits: int, body: bytes) -> Acceptance:
    return replace(Acceptance.from_bytes(body), rejected=bits)


def test_who_rejects_its_own_dealing_or_a_place_outside_the_block_is_dropped() -> None:
    session = nine().begin(0).until(5)
    message = session.answers()[3]
    for bits in (1 << 3, 1 << 9):
        change = partial(_rejecting, bits)
        wrong = resigned(3, message, session.terms, change)
        assert not session.server.absorb(3, wrong)
    assert session.server.absorb(3, message)


def test_a_dealer_of_junk_to_few_holders_is_left_out_with_one_of_them() -> None:
    session = nine()
    view = session.play(0, change=with_boxes(session, 4, 6))
    assert (view.named, view.paired) == ({}, ((0, 4),))
    assert view.clients == (1, 2, 3, 5, 6, 7, 8)
    assert is_exact(session, view)


def test_a_dealer_of_junk_to_more_holders_than_can_lie_is_named() -> None:
    session = nine()
    view = session.play(0, change=with_boxes(session, 4, 6, 7))
    assert (view.named, view.paired) == ({0: CONTRADICTED}, ())
    assert view.clients == tuple(range(1, 9))
    assert is_exact(session, view)


class Inventive(SketchingClient):
    """Deals field elements that are no sketch."""

    values: tuple[int, ...] = ()

    def _sketch(self, matrix: Any, words: Any) -> Any:
        return self.values


FAR = {
    "2^60": (2**60,) * 16,
    "any elements": tuple((i + 3) ** 60 % P for i in range(16)),
    "minus 2^34": (-(2**34),) * 16,
}
HALVES = {"halves": (pow(2, -1, P),) * 16}


def played_with(values: Any) -> SketchSession:
    """Returns a session whose client 3 deals these values as its sketch."""
    session = nine()
    kind = type("Inventive", (Inventive,), {"values": [v - P * (v > P // 2) for v in values]})
    session.clients[3] = make_sketching_client(3, session.terms, kind=kind)
    return session


@pytest.mark.parametrize("values", FAR.values(), ids=FAR.keys())
def test_who_deals_what_is_no_sketch_is_named_before_the_sum_opens(values: Any) -> None:
    session = played_with(values)
    view = session.play(0)
    assert view.named == {3: CONTRADICTED}
    assert view.clients == (0, 1, 2, 4, 5, 6, 7, 8)
    assert is_exact(session, view)


@pytest.mark.parametrize("values", HALVES.values(), ids=HALVES.keys())
def test_fractions_whose_distances_look_right_are_named_when_the_sum_is_checked(
    values: Any,
) -> None:
    # Sixteen squares of s + 1/2 add up to an integer that two sketches could have.
    session = played_with(values)
    with pytest.raises(RoundAbandoned, match="client 3 is out") as lost:
        session.play(0)
    assert lost.value.named == {3: MISFIT}
    assert session.play(1).clients == (0, 1, 2, 4, 5, 6, 7, 8)


class Forgetful(SketchingClient):
    """Deals shares of another seed than the one behind its mask."""

    def _begun(self, invitation: Any, block: Any) -> Any:
        self.true = super()._begun(invitation, block)
        return replace(self.true, secrets=replace(self.true.secrets, seed=bytes(32)))

    def _next(self, message: Any, digest: bytes) -> Any:
        if isinstance(message, ShareDelivery):
            assert self._state is not None
            self._state = replace(self._state, secrets=self.true.secrets)
        return super()._next(message, digest)


def test_a_dealer_of_shares_of_a_false_seed_costs_one_round_and_is_named() -> None:
    session = nine()
    session.clients[3] = make_sketching_client(3, session.terms, kind=Forgetful)
    with pytest.raises(RoundAbandoned, match="client 3 dealt do not give its seed") as lost:
        session.play(0)
    assert lost.value.named == {3: WRONG_SHARES}
    view = session.play(1)
    assert view.clients == (0, 1, 2, 4, 5, 6, 7, 8)
    assert is_exact(session, view)


def committing_wrongly(
    session: SketchSession, dealer: int, *holders: int
) -> Callable[[int, int, Packet], Packet]:
    """Returns what makes a client commit to other shares than those that it deals to some."""

    def wrong(body: bytes) -> SealedShares:
        dealt = SealedShares.from_bytes(body, most=9)
        return replace(
            dealt, commitments={**dealt.commitments, **dict.fromkeys(holders, bytes(32))}
        )

    def changed(stage: int, client: int, message: Packet) -> Packet:
        if (stage, client) != (2, dealer):
            return message
        return resigned(client, message, session.terms, wrong)

    return changed


def test_a_dealer_that_counts_on_the_silence_of_other_liars_stops_one_round_only() -> None:
    # It takes t = 6 right shares of 9. The holders 2 and 3 lack theirs, and both liars are silent.
    session = nine()
    liars = (1, 8)
    change = committing_wrongly(session, 8, 2, 3)
    with pytest.raises(RoundAbandoned, match="client 8 has 5 right shares left") as lost:
        session.play(0, change=change, silent=dict.fromkeys(liars, 8))
    # The server cannot tell whether client 2 or client 8 lied.
    assert lost.value.paired == ((2, 8),)
    assert lost.value.named == {8: LACKING}
    view = session.play(1, change=change, silent=dict.fromkeys(liars, 8))
    assert view.clients == (0, 1, 3, 4, 5, 6, 7)
    assert view.left_out == (2,)
    assert is_exact(session, view)


def test_a_liar_of_a_pair_that_deals_wrong_shares_stops_one_round_only() -> None:
    session = nine()
    session.server.recall({}, ((0, 8),))
    change = committing_wrongly(session, 8, 2, 3)
    silent = {1: 8, 8: 8}
    with pytest.raises(RoundAbandoned, match="client 8 has 5 right shares left") as lost:
        session.play(0, change=change, silent=silent)
    assert (dict(lost.value.named), lost.value.paired) == ({8: LACKING}, ())
    view = session.play(1, change=change, silent=silent)
    assert view.clients == (1, 2, 3, 4, 5, 6, 7)
    assert is_exact(session, view)


def test_names_found_before_a_round_is_lost_for_another_reason_are_kept() -> None:
    session = nine()
    change = by_liars(session, 5, rejecting(4, 5, 6))
    with pytest.raises(RoundAbandoned, match="answered stage 7") as lost:
        session.play(0, change=change, silent=dict.fromkeys((5, 6, 7, 8), 7))
    assert lost.value.named == dict.fromkeys(LIARS, CONTRADICTED)
    assert dict(session.server.named) == lost.value.named


def test_a_round_in_which_too_few_sketches_are_undisputed_is_abandoned() -> None:
    session = nine()
    session.server._selection = replace(session.server._selection, fewest=lambda f: 8)
    with pytest.raises(RoundAbandoned, match="5 sketches are undisputed, the rule takes 8"):
        session.play(0, change=by_liars(session, 5, rejecting(4, 5)))


def test_a_round_in_which_the_rule_chooses_too_few_is_abandoned() -> None:
    session = nine(lambda squared, f: np.arange(len(squared)) < 4)
    with pytest.raises(RoundAbandoned, match="the rule chose 4 clients, a sum takes 5"):
        session.play(0)


def test_who_is_silent_after_it_was_chosen_is_in_the_sum() -> None:
    session = nine(without_furthest)
    chosen = session.play(0).clients
    view = session.play(1, silent={chosen[0]: 7})
    assert is_exact(session, view)


def test_requests_before_and_after_a_round_are_refused() -> None:
    session = nine()
    assert session.server.requests() == {}
    with pytest.raises(RoundAbandoned, match="no round is in progress"):
        session.server.close_stage()
    session.play(0)
    assert session.server.requests() == {}
    assert not session.server.absorb(0, b"")
