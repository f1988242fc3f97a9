"""Sums of statistics over a channel: exact, and nothing of a single site behind masks."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.channels.masking.build import MASKED, MASKED_APART
from securefl.channels.plain import PLAIN, PLAIN_APART
from securefl.channels.protocol import Packet, Plan, Seen, Sides
from securefl.data.harmonise.combat import adjusted, combat_parts, site_effect
from securefl.data.harmonise.moments import Moments, exact_moments
from securefl.data.harmonise.sums import Part, Pooled
from securefl.errors import ClientFailure, DataError, RunFailed
from securefl.federation.sums import (
    MAX_SITES,
    MAX_STATISTIC,
    play_fit,
    sums_plan,
    values_of,
    word_bits,
    words_of,
)
from securefl.rng import seeded_keystream
from tests.data.harmonise.sites import fitted, reference, unlike_sites
from tests.recorder import Recorder

CHANNELS = {"plain": (PLAIN, PLAIN_APART), "masked": (MASKED, MASKED_APART)}
SITES = unlike_sites((20, 31, 7, 12), p=5, q=2)
MOMENTS = {client: exact_moments(*site) for client, site in enumerate(SITES)}
PARTS = combat_parts(5, 2, claim=False)


def sides_of(channel: str, parts: tuple[Part, ...] = PARTS, *, sites: int = len(SITES)) -> Sides:
    """Returns a channel of a fit, ready for its first sum."""
    updates = Plan(
        session=b"s" * 16,
        d=9,
        clients=tuple(range(sites)),
        cohort=sites,
        rounds=30,
        min_cohort=3 if channel == "masked" else 1,
        weights=None,
        max_weight=500,
        stream_for=lambda purpose, client, round: seeded_keystream(1, purpose, client, round),
    )
    kind, apart = CHANNELS[channel]
    plan = sums_plan(updates, parts)
    return kind.sides(plan, **apart.integers(plan, dict(kind.options)))


def fit_of(
    channel: str, recorder: Recorder | None = None, moments: Mapping[int, Moments] = MOMENTS
) -> Pooled:
    sides = sides_of(channel, sites=len(moments))
    seen = Recorder() if recorder is None else recorder
    return play_fit(sides, PARTS, moments, start=Pooled.start(5, 2), observer=seen)


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=9))
def test_words_add_up_to_the_sum_of_the_values(rows: list[list[float]]) -> None:
    values = np.array(rows)
    sites = len(rows)
    total = sum(words_of(row, sites=sites).double() for row in values)
    assert isinstance(total, type(words_of(values[0], sites=sites)))
    exact = [math.fsum(column) for column in values.T.tolist()]
    found = values_of(total.numpy().astype(np.int64), sites=sites)
    assert np.allclose(found, exact, rtol=1e-15, atol=sites * 2.0**-60)


def test_words_known_answer() -> None:
    # One site has words of 22 bits. -2^-60 is a ring of ones: 22 bits five times, then 18 bits.
    assert words_of(np.array([-(2.0**-60)]), sites=1).tolist() == [2.0**22 - 1] * 5 + [2.0**18 - 1]
    # 1 is 2^60: bit 16 of the third word.
    assert words_of(np.array([1.0]), sites=1).tolist() == [0, 0, 2.0**16, 0, 0, 0]


@pytest.mark.parametrize("sites", [1, 4, 127, 128, 1000, MAX_SITES])
def test_a_mean_in_float32_gives_the_largest_sum_of_words_back(sites: int) -> None:
    largest = np.float64(sites * (2 ** word_bits(sites) - 1))
    assert largest < 2**23
    for total in (largest, largest - 1):
        assert np.rint(np.float64(np.float32(total / sites)) * sites) == total


def test_more_sites_than_words_can_carry_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 16384 sites"):
        word_bits(MAX_SITES + 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -MAX_STATISTIC])
def test_a_statistic_that_no_words_hold_is_refused(value: float) -> None:
    with pytest.raises(DataError, match="not below 1e\\+12"):
        words_of(np.array([0.0, value]), sites=3)


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
    assert {one.party for one in sums} == {"server", "network", *(f"client {i}" for i in range(4))}
    assert Seen.CLEAR_STATISTICS not in {one.kind for one in recorder.observations}
    # The statistics of each site in words, and as means over one site, are in nothing that the
    # server can read.
    readable = [one.values for one in recorder.observations if one.values is not None]
    assert len(readable) >= 6
    known = Pooled.start(5, 2)
    for part in PARTS:
        summands = [part.of(own, known) for own in MOMENTS.values()]
        for summand in summands:
            words = words_of(summand, sites=4)
            for values in readable:
                front = values.flatten()[: len(words)]
                same = (front == words) & (words != 0) & (words != 2.0**20 - 1)
                assert not same.all()
                assert same.float().mean() < 0.5
        known = part.learn(np.sum(summands, axis=0), known)
    assert np.allclose(known.variance, pooled.variance)


def test_the_plain_server_sees_the_statistics_of_each_site() -> None:
    recorder = Recorder()
    fit_of("plain", recorder)
    clear = [one for one in recorder.observations if one.kind is Seen.CLEAR_STATISTICS]
    assert [one.about for one in clear if one.party == "server"] == [(0,), (1,), (2,), (3,)] * 3
    first = clear[0].values
    assert first is not None
    expected = words_of(PARTS[0].of(MOMENTS[0], Pooled.start(5, 2)), sites=4)
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
    # The longest sum has 3 + 10 numbers of 128 bits, in words of 21.
    assert plan.d == 13 * 7


def test_a_fit_of_two_hundred_sites_is_exact() -> None:
    sites = unlike_sites((3,) * 200, p=5, q=2)
    moments = {client: exact_moments(*site) for client, site in enumerate(sites)}
    exact = fitted(PARTS, list(moments.values()), p=5, q=2)
    close = fit_of("plain", moments=moments)
    assert np.allclose(close.variance, exact.variance, rtol=1e-12)
    assert close.records == 600
