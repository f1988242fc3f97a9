"""What a round of sketches shows to server and network, and how many bytes it takes."""

from itertools import combinations

import torch

from securefl.channels.masking.sketches.lying import LyingClient
from securefl.channels.protocol import Lie, Seen
from securefl.errors import RoundAbandoned
from tests.channels.masking.parties import Session, agreement
from tests.channels.masking.sketches.parties import (
    SketchSession,
    make_sketching_client,
    sketch_terms,
    without_furthest,
)

KIB = 1000  # goals are in thousands of bytes


def bytes_of_a_round(session: Session, *, lost: bool = False) -> list[tuple[int, int]]:
    """Returns the most bytes that a client sends and gets in each stage of a round."""
    sizes: list[tuple[int, int]] = []
    session.begin(0)
    view = None
    while view is None:
        requests = dict(session.server.requests())
        answers = {client: session.answer(client, packet) for client, packet in requests.items()}
        sizes.append((max(map(len, answers.values())), max(map(len, requests.values()))))
        for client, answer in answers.items():
            assert session.server.absorb(client, answer)
        try:
            view = session.server.close_stage()
        except RoundAbandoned:
            assert lost
            return sizes
    return sizes


def test_sketches_of_64_among_20_clients_take_40_kb_up_and_60_kb_down() -> None:
    masked = bytes_of_a_round(Session(agreement(20, corrupt=4, cohort=20, min_cohort=6)))
    terms = sketch_terms(20, corrupt=4, liars=4, size=64)
    session = SketchSession(terms)
    session.clients[3] = make_sketching_client(3, terms, kind=LyingClient, lie=Lie(0.0))
    sizes = bytes_of_a_round(session, lost=True)
    assert len(sizes) == 10
    up, down = (sum(size[way] for size in sizes[:8]) for way in (0, 1))
    up -= sum(size[0] for size in masked)
    down -= sum(size[1] for size in masked)
    assert 30 * KIB < up < 40 * KIB
    assert 40 * KIB < down < 60 * KIB
    assert 300 * KIB < sizes[8][0] + sizes[9][0] < 450 * KIB


def test_server_and_network_see_the_same_and_the_distances_with_their_values() -> None:
    session = SketchSession(sketch_terms(6), without_furthest)
    view = session.play(0)
    by_party = {
        party: [o for o in session.observed if o.party == party] for party in ("server", "network")
    }
    assert [o.header for o in session.observed if o.party not in by_party] == []
    kinds = [(o.kind, o.about, o.shape, o.size) for o in by_party["server"]]
    assert kinds == [(o.kind, o.about, o.shape, o.size) for o in by_party["network"]]
    everyone = tuple(range(6))
    for kind in (
        Seen.PUBLIC_KEYS,
        Seen.SEALED_SHARES,
        Seen.MASKED_UPDATE,
        Seen.SKETCH_SHARES,
        Seen.ACCEPTANCES,
        Seen.DISTANCE_SHARES,
        Seen.SURVIVOR_SET,
        Seen.REVEALED_SHARES,
    ):
        about = [o.about for o in by_party["server"] if o.kind == kind]
        assert about == [(client,) for client in everyone]
    for party in by_party.values():
        (distances,) = (o for o in party if o.kind == Seen.DISTANCES)
        assert (distances.about, distances.shape, distances.size) == (everyone, (6, 6), 288)
        assert distances.values is not None
        assert distances.values.dtype == torch.float64
        for i, j in combinations(everyone, 2):
            assert distances.values[i, j] > 0
        (chosen,) = (o for o in party if o.kind == Seen.CHOSEN_CLIENTS)
        assert (chosen.about, chosen.shape, chosen.size) == (view.clients, (5,), 20)
        (total,) = (o for o in party if o.kind == Seen.SUM_OF_UPDATES)
        assert total.about == view.clients


def test_the_sum_of_a_lost_round_is_seen_once_although_nobody_uses_it() -> None:
    terms = sketch_terms(6)
    session = SketchSession(terms)
    session.clients[3] = make_sketching_client(3, terms, kind=LyingClient, lie=Lie(0.0))
    bytes_of_a_round(session, lost=True)
    seen = [o for o in session.observed if o.party == "server"]
    kinds = [o.kind for o in seen]
    assert [o.about for o in seen if o.kind == Seen.SUM_OF_UPDATES] == [tuple(range(6))]
    # Pair sketches of all members, and what all clients show of them.
    assert kinds.count(Seen.SKETCH_SHARES) == 12
    assert kinds.count(Seen.REVEALED_SHARES) == 12


def test_the_server_forgets_the_uploads_with_the_round() -> None:
    session = SketchSession(sketch_terms(6)).begin(0).until(8)
    account = session.server._account
    assert set(account._uploads) == set(range(6))
    assert session.stage() is not None
    assert account._uploads == {}
    assert account._total is None
    assert session.server._blocks == []
