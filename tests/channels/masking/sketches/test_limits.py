"""What colluding clients and repeated rounds give away, as the threat model says it."""

import random
from itertools import combinations

import pytest
import torch

from securefl.channels.masking.sketches.decoding import solved_columns
from securefl.channels.masking.sketches.distances import pair_values
from securefl.channels.masking.sketches.field import P
from securefl.channels.masking.sketches.lying import LyingClient
from securefl.channels.protocol import Lie, Observation, Seen
from securefl.errors import RoundAbandoned
from tests.channels.masking.sketches.dealers import Group
from tests.channels.masking.sketches.parties import (
    SketchSession,
    make_sketching_client,
    sketch_terms,
)


def test_a_colluder_that_deals_huge_numbers_reads_a_norm_and_some_coordinates() -> None:
    # D = |s|^2 - 2 <v, s> + |v|^2 has 127 bits, of which an honest distance needs 70: powers of two
    # far apart write several coordinates of s side by side. No holder sees how large a share's
    # secret is, and a server that breaks the protocol does not mind that D is out of range.
    group = Group(clients=tuple(range(5)), degree=1, values=4)
    generator = random.Random(18)
    places = {0: 50, 1: 74, 2: 98}  # coordinate -> its place in the number
    colluder = 4
    question = [2 ** places[i] if i in places else 0 for i in range(4)]
    honest = {i: [generator.randrange(-(2**22), 2**22) for _ in range(4)] for i in range(4)}
    dealt = {i: group.dealing(sketch, i) for i, sketch in {**honest, colluder: question}.items()}
    weights = dict.fromkeys(group.clients, 1)
    answers = {
        group.points[holder]: pair_values(own, weights, group.clients)
        for holder, own in group.holdings(dealt).items()
    }
    pairs = list(combinations(group.clients, 2))
    rows = {x: [values[pair] for pair in pairs] for x, values in answers.items()}
    distances = dict(zip(pairs, solved_columns(rows, degree=2, errors=0).constants, strict=True))
    for client, sketch in honest.items():
        distance = distances[client, colluder]
        assert distance is not None
        rest = (sum(value**2 for value in question) - distance) % P
        rest -= P if rest > P // 2 else 0
        norm = -rest % 2**51
        assert norm == sum(value**2 for value in sketch)
        rest = (rest + norm) // 2
        for i, place in places.items():
            value = ((rest >> place) + 2**23) % 2**24 - 2**23
            assert value == sketch[i]
            rest -= value << place


def test_the_round_after_a_failed_check_may_open_another_sum_over_the_same_updates() -> None:
    # The model has not moved. Where local training repeats itself, the difference of both sums is
    # the update of the honest client behind which the liar hid, and its own.
    liar = 8
    terms = sketch_terms(9, corrupt=2, liars=2)
    session = SketchSession(terms)
    session.clients[liar] = make_sketching_client(
        liar, terms, kind=LyingClient, lie=Lie(-0.2, hide=True), liars=(liar,)
    )

    def opened() -> torch.Tensor:
        sums = [
            seen
            for seen in session.observed
            if isinstance(seen, Observation)
            and seen.kind == Seen.SUM_OF_UPDATES
            and seen.party == "server"
        ]
        assert sums[-1].values is not None
        return sums[-1].values.double().clone()

    with pytest.raises(RoundAbandoned, match="sketches") as abandoned:
        session.play(0)
    ((hidden_behind, _),) = abandoned.value.paired
    first = opened()
    session.begin(1, seed=-1)
    while session.stage() is None:
        pass
    difference = first - opened()
    weights = terms.weights or {}
    both = torch.zeros(terms.d, dtype=torch.float64)
    for client in (hidden_behind, liar):
        both += weights[client] / terms.max_weight * session.updates[client].delta.double()
    assert torch.allclose(difference, both, atol=1e-5)
