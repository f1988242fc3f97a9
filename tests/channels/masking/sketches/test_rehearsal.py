"""A rehearsal in the clear opens what the masked channel opens, bit for bit, and names the same."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from defenses import dnc_choice
from securefl.channels.masking.build import masked_sides
from securefl.channels.masking.sketches import context
from securefl.channels.masking.sketches.rehearsal import rehearsed_sides
from securefl.channels.protocol import ClientUpdate, Lie, Packet, Plan, Selection, Sides
from securefl.errors import RoundAbandoned
from securefl.rng import seeded_keystream

N, D, SIZE, CORRUPT, LIARS, ROUNDS = 9, 40, 16, 1, 2, 3
HASH = bytes(32)
OPTIONS: dict[str, Any] = {
    "ring": 32, "clip": 4.0, "rounding": "stochastic", "corrupt": CORRUPT, "sketch": SIZE,
}  # fmt: skip


class Outcome(NamedTuple):
    """What a round shows: its view, or why it was abandoned."""

    row: list[float]
    clients: tuple[int, ...]
    left_out: tuple[int, ...]
    named: Mapping[int, str]
    paired: tuple[tuple[int, int], ...]
    reason: str


def plan_of(lies: Mapping[int, Lie], weights: Mapping[int, int]) -> Plan:
    selection = Selection(
        lambda squared, f: dnc_choice(squared, f=f), LIARS, fewest=lambda f: 2 * f + 1, lies=lies
    )
    return Plan(
        session=bytes(16),
        d=D,
        clients=tuple(range(N)),
        cohort=N,
        rounds=ROUNDS,
        min_cohort=CORRUPT + 2,
        weights=weights,
        max_weight=max(weights.values()),
        stream_for=partial(seeded_keystream, 5),
        selection=selection,
    )


def update(client: int, round: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * round + client)
    drawn = torch.randn(D, generator=generator)
    # Two liars upload the opposite of an update, five times as long.
    return 0.1 * drawn + 0.3 if client > 1 else -5 * (0.1 * drawn + 0.3)


def reply_of(
    sides: Sides, client: int, request: bytes, round: int, weights: Mapping[int, int]
) -> Packet:
    side = sides.clients[client]
    reply = side.receive(request)
    if reply is None:
        return side.submit(ClientUpdate(update(client, round), weights[client], None, HASH))
    assert isinstance(reply, bytes)
    return reply


def play(sides: Sides, round: int, weights: Mapping[int, int], silent: tuple[int, ...]) -> Outcome:
    sides.server.begin(round, range(N), HASH)
    try:
        view = None
        while view is None:
            for client, request in list(sides.server.requests().items()):
                if client in silent:
                    continue
                # A named client is asked, and not heard.
                sides.server.absorb(client, reply_of(sides, client, request, round, weights))
            view = sides.server.close_stage()
    except RoundAbandoned as reason:
        return Outcome([], (), (), reason.named, reason.paired, str(reason))
    return Outcome(view.rows[0].tolist(), view.clients, view.left_out, view.named, view.paired, "")


@pytest.fixture(autouse=True)
def one_matrix_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives both channels the same matrices: the real ones hang on masks, which differ."""

    def seed_of(**parts: Any) -> bytes:
        return bytes([parts["round"]]) * 32

    monkeypatch.setattr(context, "seed_of", seed_of)


EQUAL = dict.fromkeys(range(N), 1)
DECLARED = {client: 3 + client for client in range(N)}


@pytest.mark.parametrize(
    ("lies", "silent"),
    [
        ({}, ()),
        ({}, (4, 7)),
        ({0: Lie(-0.2), 1: Lie(-0.2)}, ()),
        ({0: Lie(-0.2), 1: Lie(-0.2, hide=True)}, ()),
        ({0: Lie(-0.2, hide=True), 1: Lie(-0.2, hide=True)}, ()),
        ({0: Lie(1e9)}, ()),
    ],
    ids=["honest", "two away", "two lie", "one hides", "both hide", "out of range"],
)
@pytest.mark.parametrize("weights", [EQUAL, DECLARED], ids=["equal", "declared"])
def test_a_rehearsal_shows_what_the_masked_channel_shows(
    lies: Mapping[int, Lie], silent: tuple[int, ...], weights: Mapping[int, int]
) -> None:
    plan = plan_of(lies, weights)
    real, clear = masked_sides(plan, **OPTIONS), rehearsed_sides(plan, **OPTIONS)
    outcomes = []
    for round in range(ROUNDS):
        outcome = play(clear, round, weights, silent)
        assert outcome == play(real, round, weights, silent)
        outcomes.append(outcome)
    # What the comparison is about does happen.
    assert any(outcome.row for outcome in outcomes)
    assert bool(lies) == any(outcome.named or outcome.paired for outcome in outcomes)


@pytest.mark.parametrize(
    ("corrupt", "away", "goes_on"),
    # By hand: 6 of 9 are the threshold for c = 1 and for c = 2. For c = 2 the distances are of
    # degree 4, so that two liars among 6 answers could spoil them, and 7 tell the distances.
    [(1, 3, True), (1, 4, False), (2, 2, True), (2, 3, False)],
)
def test_a_rehearsal_goes_on_with_as_few_updates_as_the_masked_channel(
    corrupt: int, away: int, goes_on: bool
) -> None:
    plan = replace(plan_of({}, EQUAL), min_cohort=corrupt + 2)
    options = {**OPTIONS, "corrupt": corrupt}
    real, clear = masked_sides(plan, **options), rehearsed_sides(plan, **options)
    silent = tuple(range(N - away, N))
    for sides in (real, clear):
        outcome = play(sides, 0, EQUAL, silent)
        assert bool(outcome.row) == goes_on, outcome.reason
