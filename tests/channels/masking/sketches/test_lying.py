"""Clients that lie about their sketches: they are found, and honest ones are not named."""

from collections.abc import Mapping

import pytest
import torch

from securefl.channels.masking.sketches.conflicts import MISFIT, SILENT
from securefl.channels.masking.sketches.lying import LyingClient
from securefl.channels.protocol import Lie, View
from securefl.errors import RoundAbandoned
from tests.channels.masking.sketches.parties import (
    SketchSession,
    is_exact,
    make_sketching_client,
    sketch_terms,
)


def with_liars(n: int, f: int, lies: Mapping[int, Lie], *, size: int = 16) -> SketchSession:
    session = SketchSession(sketch_terms(n, corrupt=f, liars=f, size=size, d=40))
    for client, lie in lies.items():
        session.clients[client] = make_sketching_client(
            client, session.terms, kind=LyingClient, lie=lie, liars=tuple(lies)
        )
    return session


def lost_rounds(session: SketchSession) -> tuple[list[RoundAbandoned], View]:
    """Plays rounds until one opens a sum; returns the abandoned ones, and the view."""
    lost: list[RoundAbandoned] = []
    for round in range(session.round + 1, session.round + 7):
        try:
            return lost, session.play(round)
        except RoundAbandoned as reason:
            lost.append(reason)
    raise AssertionError("six rounds were lost")


def test_four_liars_at_once_are_named_and_one_round_is_lost() -> None:
    liars = (1, 5, 9, 17)
    session = with_liars(20, 4, dict.fromkeys(liars, Lie(-0.2)))
    (lost,), view = lost_rounds(session)
    assert lost.named == dict.fromkeys(liars, MISFIT)
    assert lost.paired == ()
    assert "the sum disagrees with the sketches of its clients; client 1 is out: its sketch" in str(
        lost
    )
    assert view.clients == tuple(client for client in range(20) if client not in liars)
    assert is_exact(session, view)
    assert dict(session.server.named) == lost.named


def test_four_liars_that_hide_behind_honest_clients_end_in_four_pairs() -> None:
    liars = (1, 5, 9, 17)
    session = with_liars(20, 4, dict.fromkeys(liars, Lie(-0.2, hide=True)))
    (lost,), view = lost_rounds(session)
    assert lost.named == {}
    assert lost.paired == ((0, 1), (2, 5), (3, 9), (4, 17))
    assert "one of the clients 0 and 1 lied" in str(lost)
    assert view.clients == (6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 18, 19)
    assert view.left_out == (0, 1, 2, 3, 4, 5, 9, 17)
    assert (view.named, view.paired) == ({}, ())
    assert is_exact(session, view)


# A round -> the one of the clients 0 to 11 that lies from this round on.
BEGINNING = {1: 5, 2: 0, 4: 11, 5: 8}


def rounds_with_one_more_liar_each_time(
    *, hide: bool
) -> tuple[SketchSession, dict[int, RoundAbandoned], dict[int, View]]:
    """Plays seven rounds; returns those that were lost, and the views of the others, all exact."""
    # 2 c + 2 f + 1 = 11 clients, and one more.
    session = SketchSession(sketch_terms(12, corrupt=1, liars=4, d=40))
    lost: dict[int, RoundAbandoned] = {}
    views: dict[int, View] = {}
    for round in range(7):
        if round in BEGINNING:
            client = BEGINNING[round]
            session.clients[client] = make_sketching_client(
                client,
                session.terms,
                session.clients[client]._monotonic,
                kind=LyingClient,
                lie=Lie(-0.2, hide),
                liars=tuple(BEGINNING.values()),
            )
        try:
            views[round] = session.play(round)
        except RoundAbandoned as reason:
            lost[round] = reason
        else:
            assert is_exact(session, views[round])
    return session, lost, views


def test_four_liars_one_at_a_time_are_named_and_each_costs_its_first_round() -> None:
    session, lost, views = rounds_with_one_more_liar_each_time(hide=False)
    assert {round: (reason.named, reason.paired) for round, reason in lost.items()} == {
        1: ({5: MISFIT}, ()),
        2: ({0: MISFIT}, ()),
        4: ({11: MISFIT}, ()),
        5: ({8: MISFIT}, ()),
    }
    assert {round: view.clients for round, view in views.items()} == {
        0: tuple(range(12)),
        3: (1, 2, 3, 4, 6, 7, 8, 9, 10, 11),
        6: (1, 2, 3, 4, 6, 7, 9, 10),
    }
    assert all((view.left_out, view.named, view.paired) == ((), {}, ()) for view in views.values())
    assert dict(session.server.named) == dict.fromkeys((0, 5, 8, 11), MISFIT)


def test_four_liars_that_hide_one_at_a_time_end_in_four_pairs_and_cost_a_round_each() -> None:
    session, lost, views = rounds_with_one_more_liar_each_time(hide=True)
    # Of the liars 0, 5, 8 and 11 each hides behind the client of its own place, counted among the
    # honest ones that are still in the sum: 1, 2, 3 and so on; then 3, 4, 6, 7, 9 and 10.
    assert {round: (reason.named, reason.paired) for round, reason in lost.items()} == {
        1: ({}, ((2, 5),)),
        2: ({}, ((0, 1),)),
        4: ({}, ((7, 11),)),
        5: ({}, ((6, 8),)),
    }
    assert {round: (view.clients, view.left_out) for round, view in views.items()} == {
        0: (tuple(range(12)), ()),
        3: ((3, 4, 6, 7, 8, 9, 10, 11), (0, 1, 2, 5)),
        6: ((3, 4, 9, 10), (0, 1, 2, 5, 6, 7, 8, 11)),
    }
    assert all((view.named, view.paired) == ({}, ()) for view in views.values())
    assert dict(session.server.named) == {}


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("liar", [0, 4, 8])
def test_a_liar_is_found_wherever_its_masks_add_or_subtract(liar: int, hide: bool) -> None:
    session = with_liars(9, 2, {liar: Lie(3.0, hide)})
    (lost,), view = lost_rounds(session)
    if hide:
        (pair,) = lost.paired
        assert liar in pair
        assert lost.named == {}
        assert set(range(9)) - set(view.clients) == set(pair)
    else:
        assert (lost.named, lost.paired) == ({liar: MISFIT}, ())
    assert is_exact(session, view)


def test_a_lie_of_one_unit_in_one_coordinate_is_seen() -> None:
    class Upwards(LyingClient):
        def _sketch(self, matrix, words):  # type: ignore[no-untyped-def]
            words = words.copy()
            words[3] += 1
            return super()._sketch(matrix, words)

    session = with_liars(9, 2, {})
    session.clients[2] = make_sketching_client(2, session.terms, kind=Upwards, lie=Lie(1.0))
    (lost,), _ = lost_rounds(session)
    assert lost.named == {2: MISFIT}


def test_a_lie_with_factor_one_is_none() -> None:
    session = with_liars(9, 2, {2: Lie(1.0), 3: Lie(1.0, hide=True)})
    assert session.play(0).clients == tuple(range(9))


def test_a_chosen_client_that_is_silent_when_asked_for_its_pairs_is_named() -> None:
    session = with_liars(9, 2, {2: Lie(0.0)})
    session.begin(0).until(9)
    assert session.server.requests().keys() == set(range(9))
    session.stage(silent=[6])
    with pytest.raises(RoundAbandoned, match="client 6 is out: it did not answer") as lost:
        session.stage()
    assert lost.value.named == {2: MISFIT, 6: SILENT}


def test_in_an_outage_only_the_liar_is_named() -> None:
    session = with_liars(9, 2, {2: Lie(0.0)})
    with pytest.raises(RoundAbandoned, match="client 2 is out") as lost:
        session.play(0, silent=dict.fromkeys((6, 7), 9))
    assert (lost.value.named, lost.value.paired) == ({2: MISFIT}, ())
    assert session.play(1).clients == (0, 1, 3, 4, 5, 6, 7, 8)


class Hider(LyingClient):
    """Hides its lie in the mask that it shares with client 5, if that is in the sum."""

    def _pair_sketches(self, matrix, keys):  # type: ignore[no-untyped-def]
        self._liars = sorted(set(range(9)) - {5}) if 5 in keys else [self._member.client]
        return super()._pair_sketches(matrix, keys)


@pytest.mark.parametrize("first", [5, 6])
def test_a_liar_cannot_hide_behind_a_client_that_was_away_when_the_sum_was_chosen(
    first: int,
) -> None:
    session = with_liars(9, 2, {})
    session.clients[2] = make_sketching_client(
        2, session.terms, kind=Hider, lie=Lie(-0.2, hide=True), liars=(2,)
    )
    with pytest.raises(RoundAbandoned, match="one of the clients 0 and 2 lied") as lost:
        session.play(0, silent={5: first})
    assert (dict(lost.value.named), lost.value.paired) == ({}, ((0, 2),))
    assert session.play(1).clients == (1, 3, 4, 5, 6, 7, 8)


def test_a_holder_that_is_silent_in_the_last_stage_is_not_named() -> None:
    session = with_liars(9, 2, {2: Lie(0.0)})
    session.begin(0).until(9)
    session.stage()
    with pytest.raises(RoundAbandoned, match="client 2 is out") as lost:
        session.stage(silent=[6])
    assert lost.value.named == {2: MISFIT}


def test_only_members_of_the_sum_are_asked_for_pairs_and_everybody_for_shares() -> None:
    terms = sketch_terms(9, corrupt=2, liars=2, d=40)
    session = SketchSession(terms, lambda squared, f: [1, 1, 1, 1, 1, 1, 1, 0, 0])
    session.clients[3] = make_sketching_client(3, terms, kind=LyingClient, lie=Lie(0.0))
    session.begin(0).until(9)
    assert tuple(session.server.requests()) == tuple(range(7))
    session.stage()
    assert tuple(session.server.requests()) == tuple(range(9))
    with pytest.raises(RoundAbandoned) as lost:
        session.stage()
    assert lost.value.named == {3: MISFIT}


def test_a_flipped_update_with_a_sketch_that_looks_honest_enters_no_sum() -> None:
    session = with_liars(9, 2, {4: Lie(-0.2)}).begin(0)
    flipped = session.updates[4]
    session.updates[4] = type(flipped)(-5 * flipped.delta / 8, 1, None, flipped.model_hash)
    with pytest.raises(RoundAbandoned) as lost:
        session.until(11)
    assert lost.value.named == {4: MISFIT}
    # The next round starts without it.
    view = session.play(1)
    assert 4 not in view.clients
    assert torch.isfinite(view.rows).all()
