"""Sums of statistics over a channel: exact, and nothing of a single site behind masks."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.channels.masking.agreement import blocks_for
from securefl.channels.masking.build import MASKED, MASKED_APART
from securefl.channels.plain import PLAIN, PLAIN_APART
from securefl.channels.protocol import Packet, Plan, Seen, Selection, Sides
from securefl.data.harmonise.combat import adjusted, combat_parts, site_effect
from securefl.data.harmonise.moments import Array, Moments, exact_moments
from securefl.data.harmonise.sums import Part, Pooled
from securefl.errors import ClientFailure, DataError, RunFailed
from securefl.federation.sums import (
    MAX_SITES,
    MAX_STATISTIC,
    digits_of,
    play_fit,
    sums_plan,
    values_of,
)
from securefl.rng import seeded_keystream
from tests.data.harmonise.sites import fitted, reference, unlike_sites
from tests.recorder import Recorder

CHANNELS = {"plain": (PLAIN, PLAIN_APART), "masked": (MASKED, MASKED_APART)}
SITES = unlike_sites((20, 31, 7, 12), p=5, q=2)
MOMENTS = {client: exact_moments(*site) for client, site in enumerate(SITES)}
PARTS = combat_parts(5, 2, claim=False)


def plan_of(sites: int, *, min_cohort: int = 3) -> Plan:
    """Returns the plan of the updates of so many sites."""
    return Plan(
        session=b"s" * 16,
        d=9,
        clients=tuple(range(sites)),
        cohort=sites,
        rounds=30,
        min_cohort=min_cohort,
        weights=None,
        max_weight=500,
        stream_for=lambda purpose, client, round: seeded_keystream(1, purpose, client, round),
    )


def sides_of(channel: str, parts: tuple[Part, ...] = PARTS, *, sites: int = len(SITES)) -> Sides:
    """Returns a channel of a fit, ready for its first sum."""
    kind, apart = CHANNELS[channel]
    plan = sums_plan(plan_of(sites, min_cohort=3 if channel == "masked" else 1), parts)
    return kind.sides(plan, **apart.long_integers(plan, dict(kind.options)))


def test_nobody_chooses_between_statistics() -> None:
    """A channel that chooses the clients of a sum of updates adds up the statistics of all."""
    options = MASKED_APART.long_integers(plan_of(5), {**MASKED.options, "sketch": 16})
    assert "sketch" not in options
    chooses = Selection(lambda squared, f: np.ones(len(squared)), 1, lambda f: 1)
    plan = sums_plan(replace(plan_of(5), selection=chooses), PARTS)
    assert plan.selection is None
    assert set(MASKED.sides(plan, **options).clients) == set(range(5))


def fit_of(
    channel: str, recorder: Recorder | None = None, moments: Mapping[int, Moments] = MOMENTS
) -> Pooled:
    sides = sides_of(channel, sites=len(moments))
    seen = Recorder() if recorder is None else recorder
    return play_fit(sides, PARTS, moments, start=Pooled.start(5, 2), observer=seen)


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=9))
def test_digits_add_up_to_the_sum_of_the_values(rows: list[list[float]]) -> None:
    values = np.array(rows)
    total = np.sum([digits_of(row).double().numpy() for row in values], axis=0)
    exact = [math.fsum(column) for column in values.T.tolist()]
    found = values_of(total.astype(np.int64))
    assert np.allclose(found, exact, rtol=1e-15, atol=len(rows) * 2.0**-60)


def test_digits_known_answer() -> None:
    # -2^-60 is a ring of ones, and 1 is 2^60: bit 12 of the fourth digit.
    assert digits_of(np.array([-(2.0**-60)])).tolist() == [2.0**16 - 1] * 8
    assert digits_of(np.array([1.0])).tolist() == [0, 0, 0, 2.0**12, 0, 0, 0, 0]


@pytest.mark.parametrize("sites", [1, 4, 128, 129, 1000, MAX_SITES])
def test_a_mean_in_float32_gives_the_largest_digits_back(sites: int) -> None:
    # Each block of 128 sites carries, and their digits are added.
    largest = np.float64(blocks_for(sites) * (2**16 - 1))
    for total in (largest, largest - 1):
        assert np.rint(np.float64(np.float32(total / sites)) * sites) == total


def test_more_sites_than_digits_can_carry_are_refused() -> None:
    clients = tuple(range(MAX_SITES + 1))
    updates = Plan(b"u" * 16, 9, clients, 1, 30, 1, None, 6, lambda *path: seeded_keystream(0, "x"))
    with pytest.raises(ValueError, match="1 to 16384 sites"):
        sums_plan(updates, PARTS)


@pytest.mark.parametrize("value", [math.nan, math.inf, -MAX_STATISTIC])
def test_a_statistic_that_no_digits_hold_is_refused(value: float) -> None:
    with pytest.raises(DataError, match="not below 1e\\+12"):
        digits_of(np.array([0.0, value]))


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("empirical_bayes", [True, False], ids=["shrunk", "as estimated"])
def test_federated_combat_is_pooled_combat(channel: str, *, empirical_bayes: bool) -> None:
    pooled = fit_of(channel)
    expected = reference(SITES, empirical_bayes=empirical_bayes)
    for client, site in enumerate(SITES):
        effect = site_effect(MOMENTS[client], pooled, empirical_bayes=empirical_bayes, claim=False)
        ours = adjusted(*site, pooled, effect)
        assert np.abs(ours - expected[client]).max() < 1e-6


def test_every_channel_gives_the_same_fit_bit_for_bit() -> None:
    assert fit_of("plain").to_json() == fit_of("masked").to_json()


def test_the_masked_server_sees_three_sums_and_no_statistic_of_a_site() -> None:
    recorder = Recorder()
    pooled = fit_of("masked", recorder)
    sums = [one for one in recorder.observations if one.kind is Seen.SUM_OF_STATISTICS]
    assert [one.about for one in sums if one.party == "server"] == [(0, 1, 2, 3)] * 3
    assert [one.size for one in sums if one.party == "server"] == [16 * 13] * 3
    assert {one.party for one in sums} == {"server", "network", *(f"client {i}" for i in range(4))}
    assert Seen.CLEAR_STATISTICS not in {one.kind for one in recorder.observations}
    # The statistics of each site in digits, and as means over one site, are in nothing that the
    # server can read.
    readable = [one.values for one in recorder.observations if one.values is not None]
    assert len(readable) >= 6
    known = Pooled.start(5, 2)
    for part in PARTS:
        summands = [part.of(own, known) for own in MOMENTS.values()]
        for summand in summands:
            digits = digits_of(summand)
            for values in readable:
                front = values.flatten()[: len(digits)]
                same = (front == digits) & (digits != 0) & (digits != 2.0**16 - 1)
                assert not same.all()
                assert same.float().mean() < 0.5
        known = part.learn(np.sum(summands, axis=0), known)
    assert np.allclose(known.variance, pooled.variance)


def opened(statistics: list[list[float]]) -> tuple[list[list[float]], Array]:
    """Returns the totals that parties of a masked sum read, and what is learnt."""
    learnt: list[Array] = []

    def learn(total: Array, pooled: Pooled) -> Pooled:
        learnt.append(total)
        return pooled

    part = Part("numbers", len(statistics[0]), lambda moments, pooled: moments.mean, learn)
    empty = np.zeros((0, 0))
    moments = {
        client: Moments(1.0, np.array(row), np.zeros(0), np.zeros(2), empty, np.zeros((0, 2)))
        for client, row in enumerate(statistics)
    }
    recorder = Recorder()
    sides = sides_of("masked", (part,), sites=len(moments))
    play_fit(sides, (part,), moments, start=Pooled.start(2, 0), observer=recorder)
    seen = [
        one.values.flatten().tolist()
        for one in recorder.observations
        if one.kind is Seen.SUM_OF_STATISTICS and one.values is not None
    ]
    return seen, learnt[0]


def test_equal_sums_look_equal_to_the_masked_server_whoever_is_negative() -> None:
    # The same two sums from sites with 2 and 1, none and 3, and 1 and 0 negative numbers. Digits
    # that were added one by one would show how many, and how often they carried.
    cases = [
        opened([[3.0, 7.5], [-1.0, 0.0], [-1.5, -10.5]]),
        opened([[0.25, -1.0], [0.125, -1.0], [0.125, -1.0]]),
        opened([[-(2.0**39), 0.0], [2.0**39, 0.0], [0.5, -3.0]]),
        opened([[0.5 + 2.0**-52, 2.0**-60], [-(2.0**-52), -(2.0**-60)], [0.0, -3.0]]),
    ]
    for seen, learnt in cases:
        assert learnt.tolist() == [0.5, -3.0]
        assert seen == cases[0][0]
    # The digits are those of 0.5 * 2^60 and of 2^128 - 3 * 2^60.
    digits = [0, 0, 0, 2**11, 0, 0, 0, 0, 0, 0, 0, 0xD000, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF]
    assert cases[0][0][0] == digits


def test_long_sums_carry_beyond_the_first_chunk_of_a_mask() -> None:
    # A chunk of 262,144 bytes holds 16,384 integers.
    rows = np.random.default_rng(0).integers(-(2**30), 2**30, size=(3, 16_386))
    _, learnt = opened((rows / 2**20).tolist())
    assert learnt.tolist() == (rows.sum(axis=0) / 2**20).tolist()


def test_the_plain_server_sees_the_statistics_of_each_site() -> None:
    recorder = Recorder()
    fit_of("plain", recorder)
    clear = [one for one in recorder.observations if one.kind is Seen.CLEAR_STATISTICS]
    assert [one.about for one in clear if one.party == "server"] == [(0,), (1,), (2,), (3,)] * 3
    first = clear[0].values
    assert first is not None
    expected = digits_of(PARTS[0].of(MOMENTS[0], Pooled.start(5, 2)))
    assert first[: len(expected)].tolist() == expected.tolist()


class Lost:
    """A side of a client that answers no more from some request on."""

    def __init__(self, side: Any, *, answers: int) -> None:
        self._side = side
        self._answers = answers

    def receive(self, request: bytes) -> Any:
        self._answers -= 1
        if self._answers < 0:
            raise ClientFailure("its line is dead")
        return self._side.receive(request)

    def submit(self, update: Any) -> Packet:
        packet: Packet = self._side.submit(update)
        return packet


@pytest.mark.parametrize(
    ("channel", "answers", "name"),
    [
        ("plain", 0, "centred cross-products"),
        ("plain", 1, "numbers and sums"),
        ("masked", 2, "centred cross-products"),
        ("masked", 5, "numbers and sums"),
    ],
)
def test_without_a_site_nothing_is_fitted(channel: str, answers: int, name: str) -> None:
    sides = sides_of(channel)
    lost: Any = Lost(sides.clients[2], answers=answers)
    sides = replace(sides, clients={**sides.clients, 2: lost})
    with pytest.raises(RunFailed, match=f"the sum of {name} failed.*its line is dead"):
        play_fit(sides, PARTS, MOMENTS, start=Pooled.start(5, 2))


class Deaf:
    """A server's side that drops every message of one client."""

    def __init__(self, side: Any) -> None:
        self._side = side

    def __getattr__(self, name: str) -> Any:
        return getattr(self._side, name)

    def absorb(self, client: int, message: Packet) -> bool:
        return client != 1 and bool(self._side.absorb(client, message))


def test_a_dropped_message_fits_nothing() -> None:
    sides = sides_of("plain")
    server: Any = Deaf(sides.server)
    with pytest.raises(RunFailed, match="the message of client 1 was dropped"):
        play_fit(replace(sides, server=server), PARTS, MOMENTS, start=Pooled.start(5, 2))


class Forgetful(Deaf):
    """A server's side that opens a sum without one client."""

    def absorb(self, client: int, message: Packet) -> bool:
        if client != 1:
            self._side.absorb(client, message)
        return True


def test_a_sum_without_a_site_fits_nothing() -> None:
    sides = sides_of("plain")
    server: Any = Forgetful(sides.server)
    with pytest.raises(RunFailed, match="client 1 is not in it"):
        play_fit(replace(sides, server=server), PARTS, MOMENTS, start=Pooled.start(5, 2))


def test_the_session_is_one_of_its_own_with_a_round_a_sum() -> None:
    sides = sides_of("plain")
    assert set(sides.clients) == {0, 1, 2, 3}
    updates = Plan(
        b"u" * 16, 9, (0, 1), 1, 30, 1, {0: 5, 1: 6}, 6, lambda *path: seeded_keystream(0, "x")
    )
    plan = sums_plan(updates, PARTS)
    assert plan.session != updates.session
    assert len(plan.session) == 16
    assert (plan.cohort, plan.rounds, plan.weights, plan.max_weight) == (2, 3, {0: 1, 1: 1}, 1)
    # The longest sum has 3 + 10 numbers of 128 bits, in digits of 16.
    assert plan.d == 13 * 8


def test_a_fit_of_two_hundred_sites_is_exact() -> None:
    sites = unlike_sites((3,) * 200, p=5, q=2)
    moments = {client: exact_moments(*site) for client, site in enumerate(sites)}
    exact = fitted(PARTS, list(moments.values()), p=5, q=2)
    close = fit_of("plain", moments=moments)
    assert np.allclose(close.variance, exact.variance, rtol=1e-12)
    assert close.records == 600
