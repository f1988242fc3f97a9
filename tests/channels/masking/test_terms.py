"""The terms of a masked session that chooses clients, and both sides built from them."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from securefl.channels.masking.agreement import Sketching
from securefl.channels.masking.build import MASKED, masked_sides
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.server import MaskedServer
from securefl.channels.masking.sketches.lying import LyingClient
from securefl.channels.masking.sketches.selecting import SelectingServer
from securefl.channels.masking.sketches.sketching import SketchingClient
from securefl.channels.masking.terms import masked_terms
from securefl.channels.protocol import ClientUpdate, Lie, Plan, Selection
from securefl.errors import RoundAbandoned
from securefl.rng import seeded_keystream
from tests.channels.contract import HASH

OPTIONS: dict[str, Any] = {"ring": 32, "clip": 4.0, "rounding": "nearest", "corrupt": 1}


def all_of(squared: Any, f: int) -> Any:
    return np.ones(len(squared))


RULE = Selection(all_of, liars=1, fewest=lambda f: 2)
PLAN = Plan(
    session=bytes(16),
    d=3,
    clients=tuple(range(6)),
    cohort=6,
    rounds=3,
    min_cohort=3,
    weights=dict.fromkeys(range(6), 1),
    max_weight=1,
    stream_for=lambda purpose, client, round: seeded_keystream(0, purpose, client, round),
    selection=RULE,
)


def terms(plan: Plan = PLAN, **changes: Any) -> Any:
    return masked_terms(plan, **{**OPTIONS, "sketch": 64, **changes})


def test_sketches_take_eight_times_the_room_and_are_part_of_the_terms() -> None:
    agreed = terms()
    assert agreed.sketching == Sketching(64, 1)
    assert agreed.code == FixedPoint(32, 4.0, "nearest", most=48)
    assert masked_terms(PLAN, **OPTIONS).code.most == 6
    assert agreed.digest != terms(sketch=65).digest


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({"selection": None}, {}, "a rule that withstands at least one liar, and none is set"),
        ({"selection": replace(RULE, liars=0)}, {}, "at least one liar"),
        ({}, {"ring": 64}, "a ring of 32 bits, got ring=64"),
        ({}, {"ring": 16}, "a ring of 32 bits, got ring=16"),
        ({}, {"sketch": 15}, "16 to 1024 coordinates, got sketch=15"),
        ({}, {"sketch": 1025}, "16 to 1024 coordinates, got sketch=1025"),
        ({}, {"groups": 2}, "with neither groups"),
        ({}, {"long": True}, "with neither groups, digits"),
        ({"noise_at_opening": True}, {}, "nor noise that adds up in a sum"),
        ({"weights": None}, {}, "public weights of at most 1048576"),
        ({"max_weight": 2**20 + 1}, {}, "public weights of at most 1048576"),
        (
            {"selection": replace(RULE, liars=2)},
            {},
            "corrupt=1 and f=2 take 7 to 64 clients",
        ),
        ({}, {"corrupt": 2}, "corrupt=2 and f=1 take 7 to 64 clients in one sum, 6 are invited"),
        ({"cohort": 65, "clients": tuple(range(65))}, {}, "65 are invited"),
    ],
)
def test_terms_under_which_no_clients_can_be_chosen_are_refused(
    changes: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        terms(replace(PLAN, **changes), **options)


def test_only_seeded_secrets_make_the_matrices_known_and_a_run_repeatable() -> None:
    assert terms().sketching.known_seed == b""
    seeded = terms(secrets="seeded").sketching
    assert len(seeded.known_seed) == 32
    assert terms(secrets="seeded").sketching == seeded
    distances = []

    def watching(squared: Any, f: int) -> Any:
        distances.append(squared)
        return np.ones(len(squared))

    plan = replace(PLAN, selection=replace(RULE, choose=watching))
    for _ in range(2):
        sides = masked_sides(plan, **OPTIONS, sketch=16, secrets="seeded")
        play(sides, 0, lambda client: client / 8)
    play(masked_sides(plan, **OPTIONS, sketch=16), 0, lambda client: client / 8)
    assert np.array_equal(distances[0], distances[1])
    assert not np.array_equal(distances[0], distances[2])


@pytest.mark.parametrize("size", [16, 1024])
def test_the_smallest_and_the_largest_sketch_are_taken(size: int) -> None:
    assert terms(sketch=size).sketching == Sketching(size, 1)
    assert terms(replace(PLAN, max_weight=2**20)).max_weight == 2**20


def test_the_fewest_updates_leave_enough_shares_of_distances() -> None:
    assert MASKED.fewest is not None
    # A threshold of 4 of 6; 2 c + 2 f + 1 = 5.
    assert MASKED.fewest(terms(), 6) == 5
    assert MASKED.fewest(masked_terms(PLAN, **OPTIONS), 6) == 4


def play(sides: Any, round: int, change: Callable[[int], float] = lambda client: 1.0) -> Any:
    """Plays a round with updates of `change(client)` in every coordinate."""
    sides.server.begin(round, tuple(range(6)), HASH)
    for _ in count():
        for client, request in sides.server.requests().items():
            reply = sides.clients[client].receive(request)
            if reply is None:
                delta = torch.full((3,), change(client))
                reply = sides.clients[client].submit(ClientUpdate(delta, 1, None, HASH))
            sides.server.absorb(client, reply)
        view = sides.server.close_stage()
        if view is not None:
            return view
    raise AssertionError("unreachable")


def test_both_sides_are_built_from_public_constants() -> None:
    sides = masked_sides(PLAN, **OPTIONS, sketch=16)
    assert isinstance(sides.server, SelectingServer)
    assert {type(client) for client in sides.clients.values()} == {SketchingClient}
    view = play(sides, 0, lambda client: client / 8)
    assert view.clients == tuple(range(6))
    assert torch.allclose(view.rows, torch.full((1, 3), 2.5 / 8), atol=1e-6)


def test_without_a_sketch_the_sides_are_those_of_any_masked_channel() -> None:
    sides = masked_sides(PLAN, **OPTIONS)
    assert type(sides.server) is MaskedServer
    assert not any(isinstance(client, SketchingClient) for client in sides.clients.values())
    view = play(sides, 0)
    assert (view.left_out, view.named, view.paired) == ((), {}, ())


def test_clients_that_lie_in_simulation_are_built_so_and_no_others() -> None:
    lying = replace(PLAN, selection=replace(RULE, lies={2: Lie(0.5)}))
    sides = masked_sides(lying, **OPTIONS, sketch=16)
    assert [type(client) for client in sides.clients.values()] == [
        LyingClient if client == 2 else SketchingClient for client in range(6)
    ]
    with pytest.raises(RoundAbandoned, match="client 2 is out: its sketch"):
        play(sides, 0)
    assert play(sides, 1).clients == (0, 1, 3, 4, 5)
