"""Groups: each sum of a round is a row of the rule."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from securefl.channels.masking.agreement import Agreement, Sketching
from securefl.channels.masking.beacon import with_beacon
from securefl.channels.masking.block import Block
from securefl.channels.masking.build import MASKED, MASKED_APART, masked_sides
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.noise import SumNoise
from securefl.channels.masking.terms import masked_terms
from securefl.channels.protocol import ClientUpdate, Plan, View
from securefl.errors import ProtocolError, RoundAbandoned
from securefl.privacy.noise.shares import NoiseShares
from securefl.rng import seeded_keystream
from tests.channels.masking.parties import HASH, Session, agreement, update
from tests.recorder import Recorder

OPTIONS: dict[str, Any] = {"ring": 32, "clip": 8.0, "rounding": "nearest", "corrupt": 1}
CLIENT = NoiseShares(1.0, 1.0, 1.0, 1.0)


def grouped(clients: int = 10, groups: int = 3, **changes: Any) -> Agreement:
    """Returns terms for groups of ten clients: one of four, two of three."""
    code = FixedPoint(ring=32, clip=8.0, rounding="nearest", most=-(-clients // groups))
    given = {"beacon": b"b" * 32, "cohort": clients, "code": code, "groups": groups}
    return agreement(clients, **{**given, **changes})


def plan(clients: int, **changes: Any) -> Plan:
    return replace(
        Plan(
            session=bytes(16),
            d=3,
            clients=tuple(range(clients)),
            cohort=clients,
            rounds=4,
            min_cohort=3,
            weights=dict.fromkeys(range(clients), 1),
            max_weight=1,
            stream_for=lambda purpose, client, round: seeded_keystream(0, purpose, client, round),
        ),
        **changes,
    )


def mean_of(session: Session, members: tuple[int, ...]) -> torch.Tensor:
    """Returns the plain weighted mean of the clients' updates."""
    updates = [session.updates[client] for client in members]
    total = sum(each.weight * each.delta.double() for each in updates)
    assert isinstance(total, torch.Tensor)
    return total / sum(each.weight for each in updates)


def test_a_view_has_one_row_a_group_the_mean_of_its_clients() -> None:
    session = Session(grouped())
    view = session.play(0)
    assert view.members == session.terms.blocks(tuple(range(10)))
    assert sorted(len(group) for group in view.members) == [3, 3, 4]
    for row, members in zip(view.rows, view.members, strict=True):
        expected = mean_of(session, members)
        # Each client is rounded to half a step; then the mean becomes a float32.
        off = session.terms.code.step / 2 + 1e-7 * expected.abs().max()
        assert (row.double() - expected).abs().max() <= off
    assert view.weights.tolist() == [float(len(group)) for group in view.members]
    assert (view.rows.dtype, view.weights.dtype) == (torch.float32, torch.float64)


def test_the_row_of_a_group_weighs_as_much_as_its_clients() -> None:
    terms = grouped(max_weight=9, weights={client: client % 9 + 1 for client in range(10)})
    session = Session(terms)
    session.begin(0)
    session.updates = {
        client: replace(each, weight=client % 9 + 1) for client, each in session.updates.items()
    }
    session.until(5)
    view = session.stage()
    assert view is not None
    for row, weight, members in zip(view.rows, view.weights.tolist(), view.members, strict=True):
        assert weight == sum(client % 9 + 1 for client in members)
        assert row.double().numpy() == pytest.approx(mean_of(session, members).numpy(), abs=1e-6)


def test_server_and_network_see_one_sum_a_group() -> None:
    session = Session(grouped())
    view = session.play(0)
    for party in ("server", "network"):
        about = [
            each.about
            for each in session.observed
            if (each.party, each.kind) == (party, "sum of updates")
        ]
        assert about == list(view.members)


def test_a_group_below_its_threshold_is_lost_and_the_others_go_on() -> None:
    session = Session(grouped())
    groups = session.terms.blocks(tuple(range(10)))
    gone = groups[1][0]
    view = session.play(0, silent={gone: 3})
    assert view.members == (groups[0], groups[2])
    assert len(view.rows) == len(view.weights) == 2


def test_a_round_without_any_group_is_abandoned() -> None:
    session = Session(grouped(9))
    silent = {group[0]: 3 for group in session.terms.blocks(tuple(range(9)))}
    with pytest.raises(RoundAbandoned, match="2 of 3 clients answered stage 3"):
        session.play(0, silent=silent)


def test_a_client_that_does_not_clip_moves_the_row_of_its_own_group_only() -> None:
    session = Session(grouped(9))
    honest = session.play(0)
    liar = honest.members[1][0]
    wild = session.begin(1, seed=-1)  # the same updates again
    wild.updates[liar] = replace(wild.updates[liar], delta=torch.full((3,), 1e30))
    wild.until(5)
    view = wild.stage()
    assert view is not None
    others = torch.tensor([0, 2])
    assert torch.equal(view.rows[others], honest.rows[others])
    assert not torch.equal(view.rows[1], honest.rows[1])
    assert view.rows.abs().max() <= session.terms.code.clip


def test_a_sum_that_wrapped_around_is_held_to_the_range_of_honest_clients() -> None:
    # The bound is that of the group's own clients, not that of the whole cohort.
    code = FixedPoint(32, 8.0, "nearest", most=9)
    session = Session(grouped(9, code=code))
    session.begin(0).until(3)
    for client, message in session.answers().items():
        assert session.server.absorb(client, message)
    for block in session.server._blocks:
        assert block._total is not None
        block._total += np.array([3 * code.levels] * 3, dtype=block._total.dtype)
    assert session.server.close_stage() is None
    assert session.stage() is None
    view = session.stage()
    assert view is not None
    assert view.rows.max() == code.clip


def test_groups_stay_the_same_in_all_rounds_unless_each_round_deals_anew() -> None:
    everyone = tuple(range(10))
    once, anew = grouped(), grouped(regroup=True)
    assert len({once.blocks(everyone, round=round) for round in range(5)}) == 1
    assert len({anew.blocks(everyone, round=round) for round in range(5)}) == 5


def test_server_and_clients_deal_the_same_groups_in_each_round() -> None:
    session = Session(grouped(regroup=True))
    for round in (0, 3, 4):
        view = session.play(round)
        assert view.members == session.terms.blocks(tuple(range(10)), round=round)


def test_a_client_is_not_dealt_without_the_number_of_the_round() -> None:
    terms = grouped(regroup=True)
    with pytest.raises(ValueError, match="need its number"):
        terms.block_of(1, tuple(range(10)))
    assert 1 in terms.block_of(1, tuple(range(10)), round=2)


def test_what_a_member_remembers_of_one_round_is_not_taken_for_another() -> None:
    terms, everyone = grouped(regroup=True), tuple(range(10))
    for round in (1, 2, 1):
        groups = terms.blocks(everyone, round=round)
        assert [terms.block_of(client, everyone, round=round) in groups for client in everyone]
        assert all(
            client in terms.block_of(client, everyone, round=round)
            and terms.block_of(client, everyone, round=round) in groups
            for client in everyone
        )


def test_a_server_with_another_number_of_groups_gets_no_keys() -> None:
    terms = grouped(code=FixedPoint(ring=32, clip=8.0, rounding="nearest", most=5))
    session = Session(terms, server_terms=replace(terms, groups=2))
    session.begin(0)
    request = next(iter(session.server.requests().values()))
    with pytest.raises(ProtocolError, match="sign"):
        session.clients[0].receive(request)


def test_groups_need_a_beacon_and_exclude_sketches() -> None:
    with pytest.raises(ProtocolError, match="needs a set-up"):
        grouped(beacon=b"").blocks(tuple(range(10)))
    with pytest.raises(ValueError, match="groups and sketches exclude each other"):
        grouped(sketching=Sketching(64, 1))
    with pytest.raises(ValueError, match="4 groups of 10 clients have 2 to 3 each"):
        grouped(groups=4)


def test_members_that_the_set_up_lost_do_not_lower_the_number_of_groups() -> None:
    # Nor may so many be lost that a group is below the minimum: three groups take nine clients.
    terms = grouped()
    assert [len(group) for group in terms.blocks(tuple(range(9)))] == [3, 3, 3]
    assert terms.least_members() == 9
    assert grouped(20, 5, corrupt=2, min_cohort=4).least_members() == 20


def test_a_session_from_a_plan_deals_the_groups_that_its_options_name() -> None:
    sides = masked_sides(plan(10), **OPTIONS, groups=3, regroup="never")
    terms = sides.server._terms  # type: ignore[attr-defined]
    assert (terms.groups, terms.regroup, terms.sums) == (3, False, 3)
    sides.server.begin(0, tuple(range(10)), HASH)
    view = None
    while view is None:
        for client, request in sides.server.requests().items():
            reply = sides.clients[client].receive(request)
            own = ClientUpdate(torch.full((3,), float(client % 4)), 1, None, HASH)
            assert not isinstance(reply, View)
            message = sides.clients[client].submit(own) if reply is None else reply
            assert sides.server.absorb(client, message)
        view = sides.server.close_stage()
    for row, members in zip(view.rows, view.members, strict=True):
        expected = sum(client % 4 for client in members) / len(members)
        assert row.tolist() == pytest.approx([expected] * 3, abs=1e-6)


def test_a_grid_is_as_fine_as_the_largest_group_allows() -> None:
    assert masked_terms(plan(10), **OPTIONS, groups=3).code.most == 4
    assert masked_terms(plan(10), **OPTIONS).code.most == 10


def test_cohorts_above_the_largest_block_may_have_more_groups_than_blocks() -> None:
    terms = masked_terms(plan(300), **OPTIONS, groups=10)
    assert (terms.sums, terms.code.most) == (10, 30)
    with pytest.raises(ValueError, match="2 groups of 300 clients have 150 to 150 each"):
        masked_terms(plan(300), **OPTIONS, groups=2)


def test_every_group_carries_the_whole_noise_alone_sized_for_the_smallest() -> None:
    private = plan(14, noise=CLIENT)
    options = {**OPTIONS, "clip": 1.0}
    in_groups = masked_terms(private, **options, groups=3)
    # Groups of 4 and 5: of 4 the threshold is 3, of which 2 are honest.
    alone = masked_terms(plan(4, noise=CLIENT), **options)
    assert isinstance(in_groups.noise, SumNoise)
    assert isinstance(alone.noise, SumNoise)
    assert in_groups.noise.honest == alone.noise.honest == 2
    # No sum of the session may wrap around: of four rounds with three sums each, 3 coordinates a
    # sum, and 5 clients in the largest group. By hand, as in `noise`.
    numbers = 3 * 4 * 3
    deviations = math.sqrt(2 * math.log(2 * numbers / 1e-12))
    expected = math.ceil(in_groups.noise.share * math.sqrt(5) * deviations)
    assert in_groups.noise.tail == expected
    assert in_groups.code.most == 5


def test_words_say_how_many_sums_the_server_sees_and_of_how_many_clients() -> None:
    described = MASKED.describe(grouped(), 10)
    assert described.startswith(
        "; 3 sums of 3 to 4 clients, each a row of the rule, threshold 3 against 1 corrupt, "
        "0 of a group may drop out"
    )
    assert "5 sums of 4 clients" in MASKED.describe(grouped(20, 5), 20)
    assert MASKED.fewest is not None
    assert (MASKED.fewest(grouped(), 10), MASKED.fewest(grouped(20, 2), 20)) == (9, 12)
    assert MASKED.rows(10, groups=3) == 3


def test_sums_of_counts_and_of_statistics_are_not_opened_by_groups() -> None:
    options = {**OPTIONS, "groups": 3, "regroup": "each_round"}
    assert MASKED_APART.integers is not None
    assert MASKED_APART.long_integers is not None
    for change in (MASKED_APART.integers, MASKED_APART.long_integers):
        terms = masked_terms(replace(plan(10), d=8), **change(plan(10), options))
        assert (terms.groups, terms.regroup, terms.sums) == (None, False, 1)


def test_updates_of_a_session_differ_between_rounds() -> None:
    # The other tests would pass on equal updates.
    terms = grouped()
    assert not torch.equal(update(0, terms, seed=0).delta, update(0, terms, seed=1).delta)


def test_the_same_secrets_deal_the_same_groups_in_another_session() -> None:
    # And other blocks: a session's name is in their number, as before there were groups.
    secrets = {client: bytes([client]) * 32 for client in range(10)}
    terms = grouped(beacon=b"")
    another = replace(terms, session=b"another session!")
    assert with_beacon(terms, 0, secrets).beacon == with_beacon(another, 0, secrets).beacon
    assert with_beacon(terms, 1, secrets).beacon != with_beacon(terms, 0, secrets).beacon
    other = {**secrets, 3: bytes(32)}
    assert with_beacon(terms, 0, other).beacon != with_beacon(terms, 0, secrets).beacon
    blocks, elsewhere = agreement(10), agreement(10, session=b"another session!")
    assert with_beacon(blocks, 0, secrets).beacon != with_beacon(elsewhere, 0, secrets).beacon


def test_a_server_that_deals_a_round_like_another_one_gets_no_keys() -> None:
    terms, everyone = grouped(regroup=True), tuple(range(10))
    session = Session(terms).begin(3)
    right, wrong = terms.blocks(everyone, round=3), terms.blocks(everyone, round=4)
    assert not set(right) & set(wrong)
    key = session.server._key
    blocks = [Block(terms, 3, block, HASH, key) for block in wrong]
    session.server._blocks = blocks
    session.server._block_of = {client: block for block in blocks for client in block.present}
    for client, message in session.answers().items():
        assert not session.server.absorb(client, message)
    with pytest.raises(RoundAbandoned, match="0 of"):
        session.server.close_stage()


def test_the_sum_of_each_group_carries_all_the_noise_that_its_claim_counts() -> None:
    d = 2000
    private = plan(10, d=d, noise=CLIENT)
    sides = masked_sides(private, **{**OPTIONS, "clip": 1.0}, groups=3)
    terms = sides.server._terms  # type: ignore[attr-defined]
    event = terms.noise.event
    recorder = Recorder()
    sides.server.begin(0, tuple(range(10)), HASH, recorder)
    view = None
    while view is None:
        for client, request in sides.server.requests().items():
            reply = sides.clients[client].receive(request)
            assert not isinstance(reply, View)
            nothing = ClientUpdate(torch.zeros(d), 1, event, HASH)
            message = sides.clients[client].submit(nothing) if reply is None else reply
            assert sides.server.absorb(client, message)
        view = sides.server.close_stage()
    sums = [each for each in recorder.observations if each.kind == "sum of updates"]
    assert len(sums) == 2 * 3  # for the server and the network
    for opened in sums:
        assert opened.values is not None
        # Two honest shares are counted, and there are as many as clients: 3 or 4. A deviation of
        # 2000 numbers is off by 1 / sqrt(4000) = 1.6 %: five of these.
        counted = event.noise_multiplier * event.sensitivity
        expected = counted * math.sqrt(len(opened.about) / 2)
        assert float(opened.values.double().std()) == pytest.approx(expected, rel=0.08)
