"""Shares of noise in a masked sum: as much as the event says, whoever is missing or lying."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from securefl.channels.masking import shamir, upload
from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.build import MASKED, masked_sides
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.noise import SumNoise
from securefl.channels.masking.replies import MaskedInput, RevealedShares
from securefl.channels.masking.rotation import Rotation
from securefl.channels.masking.round_secrets import self_mask_key
from securefl.channels.masking.stream import add_masks
from securefl.channels.masking.terms import masked_terms
from securefl.channels.protocol import ClientUpdate, Plan, View
from securefl.errors import ProtocolError, RoundAbandoned
from securefl.privacy.events import SampledGaussian
from securefl.privacy.noise.discrete import discrete_gaussian
from securefl.privacy.noise.shares import NoiseShares
from securefl.rng import Keystream, seeded_keystream, system_keystream
from tests.channels.masking.parties import HASH, SESSION, Session, identity
from tests.channels.masking.puppeteer import opened as opened_packet
from tests.channels.masking.test_survivors import lowered
from tests.privacy.test_gaussian import variance_is_right
from tests.values import present

D = 20_000
CLIENT = NoiseShares(sensitivity=1.0, length=1.0, noise_multiplier=2.0)
REPLACED = NoiseShares(sensitivity=2.0, length=1.0, noise_multiplier=1.0)
EXAMPLE = NoiseShares(sensitivity=0.01, length=1.0, noise_multiplier=2.0)

deterministic = settings(derandomize=True, max_examples=40, deadline=None, database=None)


def plan(n: int, noise: NoiseShares | None, **changes: Any) -> Plan:
    base = Plan(
        session=SESSION,
        d=D,
        clients=tuple(range(n)),
        cohort=n,
        rounds=10,
        min_cohort=3,
        weights=dict.fromkeys(range(n), 1),
        max_weight=1,
        stream_for=lambda purpose, client, round: seeded_keystream(0, purpose, client, round),
        noise=noise,
    )
    return replace(base, **changes)


def terms_of(
    n: int, noise: NoiseShares | None = CLIENT, *, ring: int = 32, corrupt: int = 1, **changes: Any
) -> Agreement:
    return masked_terms(
        plan(n, noise, **changes),
        ring=ring,
        clip=4.0,
        rounding="stochastic",
        corrupt=corrupt,
        roster={client: identity(client).public for client in range(n)},
        server=identity(-1).public,
    )


def noise_of(terms: Agreement) -> SumNoise:
    assert terms.noise is not None
    return terms.noise


def levels_of(terms: Agreement) -> int:
    assert isinstance(terms.code, FixedPoint)
    return terms.code.levels


def updates(terms: Agreement, delta: NDArray[Any] | None = None) -> dict[int, ClientUpdate]:
    """Returns the same update for every client, zeros by default, booked as the terms say."""
    vector = torch.zeros(terms.d) if delta is None else torch.from_numpy(delta)
    weights = terms.weights or {}
    event = noise_of(terms).event
    return {client: ClientUpdate(vector, weights[client], event, HASH) for client in terms.roster}


def opened(
    session: Session, *, silent: dict[int, int] | None = None, delta: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Plays a round and returns the opened sum, in steps of the grid."""
    session.begin(session.round + 1)
    session.updates = updates(session.terms, delta)
    session.until(5, silent=silent)
    view = session.stage(silent=[c for c, first in (silent or {}).items() if first <= 5])
    assert view is not None
    weights = session.terms.weights or {}
    total = sum(weights[client] for client in view.clients) / session.terms.max_weight
    steps = view.rows[0].double().numpy() * total / session.terms.code.step
    assert isinstance(steps, np.ndarray)
    return steps


# How much noise a sum carries


@pytest.mark.parametrize("ring", [16, 32, 64])
def test_a_sum_of_zeros_has_the_variance_of_all_shares(ring: int) -> None:
    terms = terms_of(10, ring=ring)
    noise = noise_of(terms)
    steps = opened(Session(terms))
    assert variance_is_right(steps, std=math.sqrt(10) * noise.share)
    # Five shares are counted, so sigma is 1.41 times what the event says.
    promised = noise.event.sigma / noise.event.granularity
    assert variance_is_right(steps, std=math.sqrt(10 / 5) * promised)
    assert promised == pytest.approx(
        CLIENT.noise_multiplier * noise.event.sensitivity / noise.event.granularity
    )


@pytest.mark.parametrize("ring", [16, 32])
def test_the_test_fails_if_one_client_in_ten_adds_none(
    ring: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest_share = upload.add_share
    calls: list[int] = []

    def sometimes(part: NDArray[Any], noise: SumNoise, *, stream: Keystream) -> None:
        calls.append(len(part))
        if len(calls) != 4:
            honest_share(part, noise, stream=stream)

    monkeypatch.setattr(upload, "add_share", sometimes)
    terms = terms_of(10, ring=ring)
    steps = opened(Session(terms))
    # A chunk is a whole upload here.
    assert len(calls) == 10
    assert not variance_is_right(steps, std=math.sqrt(10) * noise_of(terms).share)
    assert variance_is_right(steps, std=math.sqrt(9) * noise_of(terms).share)


@pytest.mark.parametrize("ring", [16, 32])
def test_with_the_fewest_survivors_and_a_colluder_the_rest_has_the_promised_variance(
    ring: int,
) -> None:
    terms = terms_of(10, ring=ring)
    noise = noise_of(terms)
    session = Session(terms)
    # Threshold 6: five honest survivors, and client 0 that tells its share to the server.
    steps = opened(session, silent=dict.fromkeys((6, 7, 8, 9), 3))
    assert variance_is_right(steps, std=math.sqrt(6) * noise.share)
    stream = seeded_keystream(0, "shares", 0, session.round)
    share = discrete_gaussian(terms.words, sigma=noise.share, stream=stream).astype(np.float64)
    if terms.rotates:
        share = Rotation(SESSION, session.round, D).turned_back(share)
    rest = steps - share
    assert variance_is_right(rest, std=math.sqrt(5) * noise.share)
    assert variance_is_right(rest, std=noise.event.sigma / noise.event.granularity)


def test_noise_is_added_after_weighting_and_not_scaled() -> None:
    weights = dict.fromkeys(range(5), 1) | {4: 50}
    terms = terms_of(5, weights=weights, max_weight=50)
    assert variance_is_right(opened(Session(terms)), std=math.sqrt(5) * noise_of(terms).share)


@pytest.mark.parametrize("ring", [16, 32, 64])
def test_the_mean_of_updates_is_in_the_sum(ring: int) -> None:
    terms = terms_of(5, ring=ring)
    delta = np.zeros(D, dtype=np.float32)
    delta[[3, 77]] = 0.6, -0.8
    steps = opened(Session(terms), delta=delta)
    rest = steps - 5 * delta.astype(np.float64) / terms.code.step
    assert variance_is_right(rest, std=math.sqrt(5) * noise_of(terms).share)


def test_every_client_draws_its_share_from_a_stream_of_its_own_in_each_round() -> None:
    drawn: list[tuple[str | int, ...]] = []

    def stream_for(purpose: str, client: int, round: int) -> Keystream:
        drawn.append((purpose, client, round))
        return seeded_keystream(0, purpose, client, round)

    noisy = plan(3, CLIENT, d=4, stream_for=stream_for)
    sides = masked_sides(noisy, ring=32, clip=4.0, rounding="nearest", corrupt=1)
    event = noise_of(masked_terms(noisy, ring=32, clip=4.0, rounding="nearest", corrupt=1)).event
    drawn.clear()
    for round in (0, 4):
        sides.server.begin(round, range(3), HASH)
        for _ in range(5):
            for client, request in sides.server.requests().items():
                answer = sides.clients[client].receive(request)
                assert not isinstance(answer, View)
                update = ClientUpdate(torch.zeros(4), 1, event, HASH)
                reply = sides.clients[client].submit(update) if answer is None else answer
                assert sides.server.absorb(client, reply)
            sides.server.close_stage()
    shares = [path for path in drawn if path[0] == "shares"]
    assert shares == [("shares", client, round) for round in (0, 4) for client in range(3)]
    assert {path[0] for path in drawn} == {"shares", "rounding"}


# Who may be missing or lying


def test_shares_are_counted_for_the_fewest_honest_survivors() -> None:
    def counted(n: int, corrupt: int = 1, **changes: Any) -> int:
        noise = noise_of(terms_of(n, corrupt=corrupt, d=4, **changes))
        assert noise.event.shares == noise.honest
        return noise.honest

    # Threshold 4 of five, 6 of ten, 7 of ten against two; a larger minimum counts more.
    assert [counted(5), counted(10), counted(10, 2, min_cohort=4)] == [3, 5, 5]
    assert counted(10, min_cohort=9) == 8
    # Two blocks, of 65 and 66: threshold 34 of the smaller one. Of 64 and 65 it is 33.
    assert [counted(131), counted(129)] == [33, 32]


def test_the_share_is_sized_for_those_that_count() -> None:
    terms = terms_of(10, EXAMPLE)
    noise = noise_of(terms)
    steps = noise.event.sensitivity / noise.event.granularity
    assert noise.share == pytest.approx(2.0 * steps / math.sqrt(5), rel=1e-12)
    assert noise.event.noise_multiplier == pytest.approx(2.0, rel=1e-12)
    assert noise.event.dimension == D


@pytest.mark.parametrize("stage", [3, 4])
def test_a_round_below_the_counted_shares_does_not_open(stage: int) -> None:
    terms = terms_of(5, d=4)
    session = Session(terms)
    session.begin(0)
    session.updates = updates(terms)
    with pytest.raises(RoundAbandoned, match="a sum takes 4"):
        session.until(5, silent=dict.fromkeys((3, 4), stage))


@pytest.mark.parametrize("survivors", [(0, 1, 2), (0, 1)])
def test_clients_refuse_a_server_that_opens_below_the_counted_shares(
    survivors: tuple[int, ...],
) -> None:
    terms = terms_of(5, d=4)
    session = Session(terms, server_terms=lowered(terms))
    session.begin(0)
    session.updates = updates(terms)
    session.until(3)
    session.stage(silent=set(range(5)) - set(survivors))
    with pytest.raises(ProtocolError, match=r"too few for a sum of 5; it takes 4"):
        session.stage()


def test_a_set_up_that_lost_members_does_not_lower_the_counted_shares() -> None:
    # Of ten, five shares count. Seven are left, whose own threshold is 5: it takes 6 all the same.
    whole = terms_of(10, d=4)
    roster = {client: key for client, key in whole.roster.items() if client < 7}
    terms = replace(whole, roster=roster)
    without = replace(terms_of(10, None, d=4), roster=roster)
    assert (without.fewest(7), terms.fewest(7), whole.fewest(10)) == (5, 6, 6)
    session = Session(terms, server_terms=lowered(terms))
    session.begin(0)
    session.updates = updates(terms)
    session.until(3)
    session.stage(silent=(5, 6))
    with pytest.raises(ProtocolError, match="5 clients are too few for a sum of 7; it takes 6"):
        session.stage()


def test_a_set_up_must_leave_enough_for_the_counted_shares_of_every_block() -> None:
    # Two blocks of 65 take 34 each.
    assert terms_of(130, d=4).least_members() == max(68, terms_of(130, d=4).fewest(130))


def test_a_server_that_reports_more_survivors_than_it_adds_up_opens_no_smaller_sum() -> None:
    # The clients consent to five survivors and reveal all five seeds. The server takes the self
    # masks off three uploads: their noise would be less than promised, but pair masks cover them.
    terms = terms_of(5, d=1000)
    session = Session(terms)
    session.begin(0)
    session.updates = updates(terms)
    session.until(3)
    words: dict[int, NDArray[Any]] = {}
    for client, packet in session.answers().items():
        upload_of = MaskedInput.from_bytes(memoryview(packet)[:-16], m=1000, word=terms.code.word)
        words[client] = upload_of.words.copy()
        assert session.server.absorb(client, packet)
    session.server.close_stage()
    session.stage()
    advertised = {client: present(session.clients[client]._state).own for client in words}
    revealed = {
        client: RevealedShares.from_bytes(opened_packet(packet, client, terms), most=5)
        for client, packet in session.answers().items()
    }

    def left_over(members: tuple[int, ...]) -> NDArray[np.float64]:
        """The sum of some uploads without their self masks, as signed words."""
        total = np.zeros(1000, dtype=terms.code.word)
        for client in members:
            total += words[client]
            shares = {1 + holder: share.seeds[client] for holder, share in revealed.items()}
            seed = present(shamir.reconstruct(dict(list(shares.items())[:4])))
            add_masks(total, minus=[self_mask_key(seed, advertised[client])])
        return total.view(np.int32).astype(np.float64)

    sigma = noise_of(terms).share
    assert variance_is_right(left_over((0, 1, 2, 3, 4)), std=math.sqrt(5) * sigma)
    # Uniform over the ring, and so longer than the noise of all five.
    uniform = 2.0**32 / math.sqrt(12)
    assert uniform > 2 * math.sqrt(5) * sigma
    for members in ((0, 1, 2), (1, 2, 3, 4), (0,)):
        assert variance_is_right(left_over(members), std=uniform)


# What a client refuses


@pytest.mark.parametrize("ring", [16, 32])
def test_an_update_that_is_booked_otherwise_does_not_leave(ring: int) -> None:
    terms = terms_of(5, ring=ring, d=4)
    event = noise_of(terms).event
    session = Session(terms)
    session.begin(0)
    right = updates(terms)
    session.updates = right
    session.until(3)
    client = session.clients[0]
    assert client.receive(session.server.requests()[0]) is None
    others = [None, SampledGaussian(1.0, 2.0, 1), replace(event, shares=4), replace(event, steps=2)]
    for spent in others:
        with pytest.raises(ProtocolError, match="not booked as a sum under these shares"):
            client.submit(replace(right[0], spent=spent))
    assert client.awaits_update
    client.submit(right[0])


def test_terms_with_other_noise_have_another_digest() -> None:
    terms = terms_of(5)
    noise = noise_of(terms)
    changes: list[dict[str, Any]] = [
        {"share": math.nextafter(noise.share, math.inf)},
        {"honest": 4},
        {"length": 2.0},
        {"tail": noise.tail + 1},
        {"largest": 7},
        {"event": replace(noise.event, sensitivity=2.0)},
    ]
    digests = {replace(terms, noise=replace(noise, **change)).digest for change in changes}
    digests |= {terms.digest, replace(terms, noise=None).digest}
    assert len(digests) == len(changes) + 2
    assert isinstance(terms.code, FixedPoint)
    coarser = replace(terms, code=replace(terms.code, max_levels=terms.code.levels - 1))
    roomier = replace(terms, code=replace(terms.code, headroom=terms.code.headroom + 1))
    assert len({terms.digest, coarser.digest, roomier.digest}) == 3


# The lengths of updates


@pytest.mark.parametrize("ring", [16, 32])
@pytest.mark.parametrize("factor", [1.0, 3.0, 1e30])
def test_a_longer_update_is_projected_to_its_length(ring: int, factor: float) -> None:
    tiny = replace(CLIENT, noise_multiplier=1e-3)
    terms = terms_of(5, tiny, ring=ring)
    delta = seeded_keystream(1, "delta").normal(D)
    delta /= math.sqrt(delta @ delta)
    long = (factor * delta).astype(np.float32)
    values = opened(Session(terms), delta=long) * terms.code.step / 5
    assert values @ delta == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("ring", [16, 32])
def test_a_short_update_is_not_made_longer(ring: int) -> None:
    terms = terms_of(5, replace(CLIENT, noise_multiplier=1e-3), ring=ring)
    delta = seeded_keystream(1, "delta").normal(D)
    delta *= 0.3 / math.sqrt(delta @ delta)
    values = opened(Session(terms), delta=delta.astype(np.float32)) * terms.code.step / 5
    assert values @ delta == pytest.approx(0.09, abs=0.01)


@pytest.mark.parametrize("ring", [16, 32])
def test_weights_count_in_the_length(ring: int) -> None:
    # Weight 1 of 4: an update of norm 3 is within a weighted length of 1, and stays.
    tiny = replace(CLIENT, noise_multiplier=1e-3)
    weights = dict.fromkeys(range(5), 1)
    terms = terms_of(5, tiny, ring=ring, weights=weights, max_weight=4)
    delta = np.zeros(D, dtype=np.float32)
    delta[0] = 3.0
    values = opened(Session(terms), delta=delta) * terms.code.step
    assert values[0] == pytest.approx(5 * 3.0 / 4, abs=0.05)


@pytest.mark.parametrize("ring", [16, 32])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_update_that_is_not_finite_leaves_within_its_length(ring: int, bad: float) -> None:
    tiny = replace(CLIENT, noise_multiplier=1e-3)
    terms = terms_of(5, tiny, ring=ring)
    delta = np.zeros(D, dtype=np.float32)
    delta[[0, 1]] = bad, 0.5
    values = opened(Session(terms), delta=delta) * terms.code.step / 5
    expected = [0.0, 0.5] if math.isnan(bad) else [math.copysign(1.0, bad), 0.0]
    assert values[:2] == pytest.approx(expected, abs=0.05)


def words_of(terms: Agreement, delta: NDArray[Any], weight: int, seed: int) -> NDArray[np.float64]:
    """Returns the rounded update in steps, without noise and masks."""
    out = np.zeros(terms.words, dtype=terms.code.word)
    values = delta.astype(np.float32)
    scale = weight / terms.max_weight
    stream = seeded_keystream(seed, "rounding")
    if terms.rotates:
        upload._write_rotated(values, scale, 0, terms, stream=stream, out=out)
    else:
        for _ in upload._encoded(values, scale, terms, stream=stream, out=out):
            pass
    steps: NDArray[np.float64] = out.view(out.dtype.str.replace("u", "i")).astype(np.float64)
    return steps


@deterministic
@given(
    seed=st.integers(0, 2**20),
    rounding=st.sampled_from(["nearest", "stochastic"]),
    moved=st.floats(1e-3, 1.0),
    weight=st.integers(1, 7),
    multiplier=st.floats(0.5, 1000.0),
)
def test_neighbours_are_rounded_within_the_sensitivity(
    seed: int, rounding: str, moved: float, weight: int, multiplier: float
) -> None:
    # With much noise the grid is coarse, so that rounding is a large part of the sensitivity.
    shares = NoiseShares(sensitivity=moved, length=1.0, noise_multiplier=multiplier * 1e4)
    here = plan(3, shares, d=64, weights=dict.fromkeys(range(3), 7), max_weight=7)
    terms = masked_terms(here, ring=32, clip=4.0, rounding=rounding, corrupt=1)  # type: ignore[arg-type]
    normal = seeded_keystream(seed, "pair").normal(128)
    # In the units of the sum: two vectors `moved` apart, one of them at the largest length.
    one = normal[:64] / np.linalg.norm(normal[:64])
    direction = normal[64:] - one * (one @ normal[64:])
    direction -= 0.5 * one * np.linalg.norm(direction)
    two = one + moved * direction / np.linalg.norm(direction)
    pair = [words_of(terms, vector * 7 / weight, weight, seed) for vector in (one, two)]
    distance = float(np.linalg.norm(pair[0] - pair[1]))
    event = noise_of(terms).event
    assert distance <= event.sensitivity / event.granularity


@pytest.mark.parametrize("kind", ["normal", "flat", "single", "huge", "nan"])
@pytest.mark.parametrize("multiplier", [1.0, 60.0])
def test_a_rotated_update_is_never_longer_than_its_bound(kind: str, multiplier: float) -> None:
    terms = terms_of(5, replace(CLIENT, noise_multiplier=multiplier), ring=16, d=3000)
    noise = noise_of(terms)
    assert noise.largest is not None
    delta = {
        "normal": seeded_keystream(0, "delta").normal(3000),
        "flat": np.full(3000, 1 / math.sqrt(3000)),
        "single": np.eye(1, 3000)[0],
        "huge": np.full(3000, 1e38),
        "nan": np.full(3000, math.nan),
    }[kind]
    for seed in range(10):
        rounded = words_of(terms, delta, 1, seed)
        assert rounded @ rounded <= noise.largest
        assert math.sqrt(noise.largest) <= noise.event.sensitivity / noise.event.granularity


# The grid


def test_the_sensitivity_is_that_worked_by_hand() -> None:
    # Rings of 32 and 64: the unit, the rounding of a float32 update, and a step a coordinate.
    event = noise_of(terms_of(5, EXAMPLE, ring=64)).event
    slack = (2**-23 + 2**-25) * 1.0
    by_hand = 0.01 + slack + event.granularity * math.sqrt(D)
    assert event.sensitivity == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(("shares", "vectors"), [(CLIENT, 1), (REPLACED, 2)])
def test_the_sensitivity_of_a_rotated_sum_is_that_of_the_paper(
    shares: NoiseShares, vectors: int
) -> None:
    # Kairouz, Liu and Steinke 2021: c^2 + g^2 d / 4 + sqrt(2 log 1/beta) g (c + g sqrt(d) / 2).
    terms = terms_of(10, shares, ring=16, d=3000)
    event = noise_of(terms).event
    g, c, d = event.granularity, 1.0, 4096
    assert event.dimension == d
    root = math.sqrt(2 * 0.5)
    squared = c**2 + g**2 * d / 4 + root * g * (c + g * math.sqrt(d) / 2)
    assert squared < (c + g * math.sqrt(d)) ** 2
    assert event.sensitivity == pytest.approx(vectors * math.sqrt(squared), rel=1e-9)
    # The largest squared norm is that of one vector, in whole squared steps.
    assert noise_of(terms).largest == math.floor(squared / g**2 * (1 + 1e-12))


def test_a_very_coarse_grid_takes_the_other_bound() -> None:
    # Few levels: c + g sqrt(d) is the smaller one.
    terms = terms_of(3, replace(CLIENT, noise_multiplier=30.0), ring=16, d=2)
    event = noise_of(terms).event
    g = event.granularity
    first = math.sqrt(1 + g**2 * 2 / 4 + g * (1 + g * math.sqrt(2) / 2))
    assert event.sensitivity == pytest.approx(min(first, 1 + g * math.sqrt(2)), rel=1e-9)


CASES = [
    pytest.param(ring, n, z, id=f"{ring}, {n}, {z:g}")
    for ring, n, z in [(16, 5, 1.0), (16, 100, 1.0), (32, 5, 2.0), (32, 128, 500.0), (64, 10, 5.0)]
]


@pytest.mark.parametrize(("ring", "n", "z"), CASES)
def test_no_sum_of_a_run_wraps_around_under_its_noise(ring: int, n: int, z: float) -> None:
    terms = terms_of(n, replace(CLIENT, noise_multiplier=z), ring=ring)
    noise = noise_of(terms)
    room = 2 ** (ring - 1) - 1 - n * levels_of(terms)
    assert room >= noise.tail
    # The tail of a normal of the same sigma, which the sum of shares has to within tau.
    sums = 10 * terms.words
    chance = 2 * sums * norm.sf(room / (math.sqrt(n) * noise.share))
    assert chance <= 1e-12


@pytest.mark.parametrize(("ring", "n", "z"), CASES[:4])
def test_the_grid_is_the_finest_that_leaves_room(ring: int, n: int, z: float) -> None:
    terms = terms_of(n, replace(CLIENT, noise_multiplier=z), ring=ring)
    used = n * levels_of(terms) + noise_of(terms).tail
    assert 2 ** (ring - 1) - 1 - used < used / levels_of(terms) + 2


def test_a_rotated_coordinate_is_hardly_ever_cut() -> None:
    # A worst vector: all of its coordinates add up in one, but for the signs.
    terms = terms_of(5, CLIENT, ring=16, d=4096)
    turned = Rotation(SESSION, 0, 4096).turned(np.full(4096, 1 / 64))
    reach = terms.code.clip
    assert np.abs(turned).max() < 0.7 * reach
    # 1e-12 over both signs, all coordinates, ten rounds, five clients; by hand.
    assert reach == pytest.approx(math.sqrt(2 * math.log(2 * 4096 * 50 * 1e12) / 4096), rel=1e-12)


def test_levels_leave_headroom_by_hand() -> None:
    code = FixedPoint(16, 1.0, "nearest", most=10, headroom=2767)
    assert code.levels == 3000
    assert replace(code, max_levels=7).levels == 7
    assert replace(code, headroom=2768).levels == 2999
    with pytest.raises(ValueError, match="headroom must be at least 0, got -1"):
        replace(code, headroom=-1)


@pytest.mark.parametrize("ring", [16, 64])
def test_a_corrupt_sum_is_held_to_the_range_of_honest_updates_and_their_noise(
    ring: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A liar uploads words far beyond every level; equal ones are rotated into one coordinate.
    honest_share = upload.add_share
    calls: list[int] = []

    def lie(part: NDArray[Any], noise: SumNoise, *, stream: Keystream) -> None:
        calls.append(1)
        honest_share(part, noise, stream=stream)
        if len(calls) == 1:
            part += part.dtype.type(2 ** (ring - 4))

    monkeypatch.setattr(upload, "add_share", lie)
    terms = terms_of(5, ring=ring, d=64)
    steps = opened(Session(terms), silent={4: 3})
    noise = noise_of(terms)
    reach = 4 * noise.length / terms.code.step + noise.tail
    assert np.abs(steps).max() == pytest.approx(reach, rel=1e-6)


# What does not fit


def test_a_ring_without_room_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        ValueError, match=r"a ring of 2\^16 holds no sum of 100 clients and their"
    ) as refusal:
        terms_of(100, replace(CLIENT, noise_multiplier=100.0), ring=16)
    assert "use a larger ring, fewer clients in a sum or a larger epsilon" in str(refusal.value)


def test_examples_need_a_larger_ring() -> None:
    with pytest.raises(ValueError, match=r"not for their examples: use channel\.ring = 32"):
        terms_of(5, EXAMPLE, ring=16)


def test_a_ring_of_16_rounds_at_random() -> None:
    with pytest.raises(ValueError, match=r"leave out channel\.rounding = 'nearest'"):
        masked_terms(plan(5, CLIENT), ring=16, clip=4.0, rounding="nearest", corrupt=1)


def test_a_clip_that_cuts_updates_is_refused() -> None:
    with pytest.raises(ValueError, match=r"use channel\.clip = 5 or more"):
        terms_of(5, NoiseShares(5.0, 5.0, 1.0))


def test_reported_weights_are_refused() -> None:
    with pytest.raises(ValueError, match='use weights = "declared" or "equal"'):
        terms_of(5, weights=None, max_weight=9)


def test_digits_carry_no_noise() -> None:
    with pytest.raises(ValueError, match="sums of digits carry no shares of noise"):
        masked_terms(
            plan(5, CLIENT, d=8), ring=32, clip=4.0, rounding="nearest", corrupt=1, long=True
        )


def test_terms_without_noise_have_no_cost() -> None:
    assert MASKED.release is not None
    with pytest.raises(ValueError, match="without shares of noise"):
        MASKED.release(terms_of(5, None))


def test_an_upload_with_noise_needs_a_stream() -> None:
    terms = terms_of(5, d=4)
    session = Session(terms)
    session.begin(0)
    session.updates = updates(terms)
    session.until(3)
    client = session.clients[0]
    client.receive(session.server.requests()[0])
    state = client._to_train_for
    assert state is not None
    masks, _ = client._masks(state)
    with pytest.raises(ValueError, match="a share of noise needs a stream"):
        upload.masked_input(
            session.updates[0],
            1,
            state,
            terms,
            masks=masks,
            stream=system_keystream(),
            share_stream=None,
        )


# What is said about it


@pytest.mark.parametrize(
    ("n", "said"),
    [(5, "3 honest shares of 5, and 1.29"), (10, "5 honest shares of 10, and 1.41")],
)
def test_the_shares_that_count_and_the_bonus_are_said(n: int, said: str) -> None:
    text = MASKED.describe(terms_of(n), n)
    assert f"; the noise is sized for {said} times as large with everybody present" in text
    assert "updates clipped to norm 1, resolution" in text
    assert "rotated" in MASKED.describe(terms_of(n, ring=16), n)


def test_nothing_is_said_of_noise_where_there_is_none() -> None:
    assert "noise" not in MASKED.describe(terms_of(5, None), 5)


def test_a_grid_too_coarse_for_the_bound_on_its_shares_is_refused() -> None:
    """Half a step a share is where the theorem begins."""
    little = replace(CLIENT, noise_multiplier=1e-4)
    with pytest.raises(ValueError, match=r"shares of noise are below 0.5 steps.*a larger ring"):
        terms_of(40, little, ring=16)
    assert noise_of(terms_of(40, little)).share > 0.5
