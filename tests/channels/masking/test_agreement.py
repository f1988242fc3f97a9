"""The agreement: thresholds, minimums, the deal into blocks, and the digests that members sign."""

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.channels.masking.agreement import (
    MAX_BLOCK,
    Agreement,
    Sketching,
)
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.long_integers import LongIntegers
from securefl.channels.masking.noise import SumNoise
from securefl.channels.masking.statement import digest_of_clients, statement_of
from securefl.errors import ProtocolError
from securefl.privacy.events import DiscreteGaussianSum
from tests.channels.masking.parties import agreement, identity

deterministic = settings(derandomize=True, max_examples=100, deadline=None, database=None)

TERMS = agreement(
    5, cohort=100, weights=dict.fromkeys(range(7), 1)
)  # of two who are not members, too
assert isinstance(TERMS.code, FixedPoint)
CODE = TERMS.code
ROSTER = dict(TERMS.roster)
KEY = bytes(range(32, 64))


def tolerating(corrupt: int, *, min_cohort: int | None = None) -> Agreement:
    return agreement(
        5, corrupt=corrupt, min_cohort=corrupt + 2 if min_cohort is None else min_cohort
    )


# How many it takes.


@pytest.mark.parametrize(
    ("invited", "threshold"), [(3, 3), (4, 3), (5, 4), (6, 4), (10, 6), (128, 65), (125, 64)]
)
def test_thresholds_for_one_corrupt_client_by_hand(invited: int, threshold: int) -> None:
    assert TERMS.threshold(invited) == threshold


@pytest.mark.parametrize("corrupt", [1, 2, 3, 4, 5])
def test_the_threshold_is_the_least_t_with_two_t_above_invited_and_corrupt(corrupt: int) -> None:
    terms = tolerating(corrupt)
    for invited in range(1, 131):
        assert terms.threshold(invited) == min(
            t for t in range(1, 200) if 2 * t > invited + corrupt
        )


@pytest.mark.parametrize("corrupt", [1, 2, 3])
def test_two_groups_of_the_threshold_share_more_than_the_corrupt_and_smaller_ones_need_not(
    corrupt: int,
) -> None:
    terms = tolerating(corrupt)
    for invited in range(corrupt + 2, 10):
        t = terms.threshold(invited)
        assert t <= invited
        assert fewest_shared(invited, t) > corrupt
        assert fewest_shared(invited, t - 1) <= corrupt


def fewest_shared(invited: int, size: int) -> int:
    """Returns the fewest clients that two groups of this size have in common.

    By symmetry the first group is fixed.
    """
    first = set(range(size))
    return min(len(first & set(second)) for second in combinations(range(invited), size))


@pytest.mark.parametrize(
    ("min_cohort", "invited", "fewest"), [(3, 3, 3), (3, 5, 4), (4, 5, 4), (5, 5, 5), (7, 10, 7)]
)
def test_every_stage_needs_the_threshold_and_the_minimum_cohort(
    min_cohort: int, invited: int, fewest: int
) -> None:
    assert tolerating(1, min_cohort=min_cohort).fewest(invited) == fewest


# Blocks.

wide = agreement(5, beacon=b"b" * 32)


def sizes(clients: int) -> list[int]:
    return sorted((len(block) for block in wide.blocks(tuple(range(clients)))), reverse=True)


@pytest.mark.parametrize(
    ("clients", "expected"),
    [
        (0, []),
        (1, [1]),
        (127, [127]),
        (128, [128]),
        (129, [65, 64]),
        (256, [128, 128]),
        (257, [86, 86, 85]),
        (1000, [125] * 8),
    ],
)
def test_blocks_are_as_few_and_as_even_as_they_can_be(clients: int, expected: list[int]) -> None:
    assert sizes(clients) == expected


@settings(parent=deterministic, max_examples=25)
@given(st.sets(st.integers(0, 2**31 - 1), max_size=400))
def test_blocks_are_a_partition_into_ascending_even_parts(clients: set[int]) -> None:
    blocks = wide.blocks(tuple(clients))
    assert sorted(client for block in blocks for client in block) == sorted(clients)
    assert all(list(block) == sorted(set(block)) for block in blocks)
    lengths = [len(block) for block in blocks]
    assert len(lengths) == math.ceil(len(clients) / 128)
    assert not lengths or (max(lengths) <= MAX_BLOCK == 128 and max(lengths) - min(lengths) <= 1)


@settings(parent=deterministic, max_examples=10)
@given(st.permutations(range(300)))
def test_blocks_do_not_depend_on_the_order_in_which_the_cohort_is_given(
    cohort: Sequence[int],
) -> None:
    assert wide.blocks(tuple(cohort)) == wide.blocks(tuple(range(300)))


def by_lot(clients: Sequence[int]) -> list[int]:
    """Returns the clients in the order of their lots, by hand."""

    def lot(client: int) -> bytes:
        return hashlib.sha256(
            b"securefl masking 2, lot" + b"b" * 32 + struct.pack("<I", client)
        ).digest()

    return sorted(clients, key=lot)


def test_blocks_are_dealt_in_the_order_of_the_lots_by_hand() -> None:
    order = by_lot(range(300))
    expected = {tuple(sorted(order[first::3])) for first in range(3)}
    assert set(wide.blocks(tuple(range(300)))) == expected


def test_whoever_is_invited_is_dealt_in_the_order_of_the_whole_roster() -> None:
    invited = tuple(range(0, 300, 2))
    order = [client for client in by_lot(range(300)) if client in invited]
    assert set(wide.blocks(invited)) == {tuple(sorted(order[first::2])) for first in range(2)}


def test_blocks_are_the_same_for_everyone_and_change_with_the_beacon() -> None:
    cohort = tuple(range(200))
    assert wide.blocks(cohort) != replace(wide, beacon=b"b" * 31 + b"c").blocks(cohort)
    with pytest.raises(ProtocolError, match="several blocks needs a set-up"):
        replace(wide, beacon=b"").blocks(cohort)
    assert agreement(5, beacon=b"b" * 32).blocks(cohort) == wide.blocks(cohort)


@pytest.mark.parametrize(
    ("remaining", "expected"), [(130, [65, 65]), (129, [65, 64]), (128, [64, 64]), (90, [45, 45])]
)
def test_members_lost_in_the_set_up_do_not_make_fewer_and_larger_blocks(
    remaining: int, expected: list[int]
) -> None:
    # Or a server that calls two of 130 missing would have all corrupt members in one block.
    terms = replace(wide, cohort=130)
    assert (
        sorted((len(block) for block in terms.blocks(tuple(range(remaining)))), reverse=True)
        == expected
    )


def chance_of_more(corrupt: int, members: int, c: int, *, blocks: int) -> float:
    """Bounds the chance that a block holds more than c corrupt members; exact for one block."""
    size = -(-members // blocks)
    deals = sum(
        math.comb(corrupt, inside) * math.comb(members - corrupt, size - inside)
        for inside in range(c + 1, min(corrupt, size) + 1)
    )
    return blocks * deals / math.comb(members, size)


def test_one_deal_gathers_corrupt_members_as_seldom_as_the_threat_model_says() -> None:
    # More than 10 of 14 in one of two blocks of 65: 4.4 %. Of 2000 deals 89 are expected; the
    # bounds are 5 standard deviations off. More than 12, of all deals that a server may see, by
    # hand: 7 %.
    corrupt, everyone = set(range(14)), tuple(range(130))
    expected = chance_of_more(14, 130, 10, blocks=2)
    assert expected == pytest.approx(0.0445, abs=1e-4)
    gathered = 0
    for deal in range(2000):
        terms = replace(wide, cohort=130, beacon=struct.pack("<I", deal))
        gathered += max(len(corrupt & set(block)) for block in terms.blocks(everyone)) > 10
    spread = math.sqrt(2000 * expected * (1 - expected))
    assert abs(gathered - 2000 * expected) < 5 * spread
    assert chance_of_more(14, 130, 12, blocks=2) == pytest.approx(1.03e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("members", "corrupt", "c", "deals", "likely"),
    [(130, 14, 12, 59, 0.067), (1000, 50, 30, 485, 6.1e-14)],
)
def test_the_examples_of_the_threat_model_are_the_deals_that_a_set_up_allows(
    members: int, corrupt: int, c: int, deals: int, likely: float
) -> None:
    terms = agreement(members, corrupt=c, min_cohort=c + 2, cohort=members)
    least, blocks = (
        terms.least_members(),
        len(replace(terms, beacon=b"b").blocks(tuple(range(members)))),
    )
    worst = max(
        chance_of_more(corrupt, remaining, c, blocks=blocks)
        for remaining in range(least, members + 1)
    )
    assert 1 + members - least == deals
    assert deals * worst == pytest.approx(likely, rel=0.02)


def test_a_server_that_chooses_cohorts_gathers_corrupt_clients_so_c_counts_all_of_the_roster() -> (
    None
):
    # Not prevented: by leaving honest clients out, 14 of 40 corrupt ones get every second place.
    corrupt, order = set(range(40)), by_lot(range(400))
    invited: list[int] = []
    for client in order:
        is_corrupt_next = len(invited) % 2 == 0 and len(invited) < 28
        if len(invited) < 130 and (client in corrupt) == is_corrupt_next:
            invited.append(client)
    terms = replace(wide, cohort=130)
    assert len(invited) == 130
    assert max(len(corrupt & set(block)) for block in terms.blocks(tuple(invited))) == 14


def test_a_client_is_in_one_block_and_a_stranger_in_none() -> None:
    cohort = tuple(range(0, 600, 2))
    blocks = wide.blocks(cohort)
    for client in cohort:
        block = wide.block_of(client, cohort)
        assert client in block
        assert block in blocks
    assert wide.block_of(1, cohort) == ()
    assert wide.block_of(0, ()) == ()


# The digest.
EVENT = DiscreteGaussianSum.of(3.0, 2, sensitivity=1.0, granularity=0.1, dimension=3)

CHANGES: dict[str, dict[str, Any]] = {
    "roster, one key": {"roster": ROSTER | {2: identity(9).public}},
    "roster, a bit of a key": {"roster": ROSTER | {2: ROSTER[2][:31] + bytes([ROSTER[2][31] ^ 1])}},
    "roster, two keys swapped": {"roster": ROSTER | {1: ROSTER[2], 2: ROSTER[1]}},
    "roster, one less": {"roster": {client: key for client, key in ROSTER.items() if client != 2}},
    "roster, one more": {"roster": ROSTER | {5: identity(5).public}},
    "roster, another id": {
        "roster": {client + (client == 4): key for client, key in ROSTER.items()}
    },
    "server": {"server": identity(-2).public},
    "d": {"d": 4},
    "code, ring": {"code": replace(CODE, ring=64)},
    "code, last bit of clip": {"code": replace(CODE, clip=math.nextafter(CODE.clip, math.inf))},
    "code, rounding": {"code": replace(CODE, rounding="stochastic")},
    "code, most": {"code": replace(CODE, most=6)},
    "code, headroom": {"code": replace(CODE, headroom=1)},
    "code, max_levels": {"code": replace(CODE, max_levels=5)},
    "code, folded": {"code": replace(CODE, folded=True)},
    "noise": {"noise": SumNoise(3.0, 2, 1.0, 99, None, EVENT)},
    "groups": {"groups": 9},
    "groups, another number": {"groups": 10},
    "groups, dealt anew": {"groups": 9, "regroup": True},
    "corrupt": {"corrupt": 2, "min_cohort": 4},
    "min_cohort": {"min_cohort": 4},
    "max_weight": {"max_weight": 2},
    "weights, none public": {"weights": None},
    "weights, one less": {"weights": dict.fromkeys(range(6), 1)},
    "weights, another id": {"weights": dict.fromkeys((0, 1, 2, 3, 4, 5, 7), 1)},
    "sketching": {"sketching": Sketching(64, 1)},
    "sketching, size": {"sketching": Sketching(65, 1)},
    "sketching, known seed": {"sketching": Sketching(64, 1, b"s")},
    "sketching, liars": {"sketching": Sketching(64, 2)},
    "beacon": {"beacon": b"\0"},
    "config": {"config": b"\0"},
    "cohort": {"cohort": 101},
    "rounds": {"rounds": 100_001},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_term_changes_the_digest(change: dict[str, Any]) -> None:
    assert replace(TERMS, **change).digest != TERMS.digest


def test_corrupt_and_one_weight_change_the_digest_by_themselves() -> None:
    base = agreement(5, min_cohort=4, max_weight=9)
    assert replace(base, corrupt=2).digest != base.digest
    assert replace(base, weights=dict.fromkeys(range(4), 1) | {4: 9}).digest != base.digest


def test_all_changes_give_digests_of_their_own() -> None:
    assert (
        len({replace(TERMS, **change).digest for change in CHANGES.values()} | {TERMS.digest})
        == len(CHANGES) + 1
    )


def test_no_field_was_forgotten() -> None:
    named = {name for change in CHANGES.values() for name in change}
    assert {field.name for field in fields(Agreement)} == named | {"session"}
    coded = {"ring", "clip", "rounding", "most", "headroom", "max_levels", "folded"}
    assert {field.name for field in fields(FixedPoint)} == coded
    for name in coded:
        assert any(
            getattr(change["code"], name) != getattr(CODE, name)
            for change in CHANGES.values()
            if "code" in change
        )


def test_the_session_does_not_change_the_digest() -> None:
    assert replace(TERMS, session=b"another session!").digest == TERMS.digest


def test_the_digest_does_not_depend_on_the_order_of_the_mappings() -> None:
    assert TERMS.weights is not None
    turned = replace(
        TERMS,
        roster=dict(reversed(ROSTER.items())),
        weights=dict(reversed(list(TERMS.weights.items()))),
    )
    assert turned.digest == TERMS.digest
    assert turned == TERMS


def test_the_digest_is_that_of_the_terms_by_hand() -> None:
    terms = Agreement(
        session=bytes(16),
        roster={10: b"\x0a", 9: b"\x09\xff"},
        server=b"\xfe",
        d=7,
        code=FixedPoint(ring=32, clip=0.1, rounding="nearest", most=2),
        corrupt=1,
        cohort=4,
        rounds=9,
        min_cohort=3,
        max_weight=6,
        weights={10: 5, 9: 6},
        config=b"\xcf",
        beacon=b"\xbe",
    )
    by_hand = (
        '{"beacon": "be", "code": [32, "0x1.999999999999ap-4", "nearest", 2], '
        '"cohort": 4, "config": "cf", "corrupt": 1, "d": 7, '
        '"max_weight": 6, "min_cohort": 3, "protocol": "securefl masking 2", '
        '"roster": {"10": "0a", "9": "09ff"}, '
        '"rounds": 9, "server": "fe", "weights": {"10": 5, "9": 6}}'
    )
    assert terms.digest == hashlib.sha256(by_hand.encode()).digest()
    private = by_hand.replace('{"10": 5, "9": 6}}', "null}")
    assert replace(terms, weights=None).digest == hashlib.sha256(private.encode()).digest()


# What cannot be agreed on.


@pytest.mark.parametrize("corrupt", [0, -1])
def test_somebody_must_be_allowed_to_be_corrupt(corrupt: int) -> None:
    with pytest.raises(ValueError, match=f"corrupt must be at least 1, got {corrupt}"):
        agreement(5, corrupt=corrupt)


@pytest.mark.parametrize("corrupt", [1, 2, 5])
def test_a_sum_must_hide_two_honest_clients(corrupt: int) -> None:
    with pytest.raises(
        ValueError, match=rf"at least corrupt \+ 2 = {corrupt + 2}, .* got {corrupt + 1}"
    ):
        tolerating(corrupt, min_cohort=corrupt + 1)
    assert tolerating(corrupt, min_cohort=corrupt + 2).min_cohort == corrupt + 2


def code(ring: int, most: int) -> FixedPoint:
    return FixedPoint(ring=ring, clip=1.0, rounding="nearest", most=most)


@pytest.mark.parametrize("ring", [16, 32, 64])
def test_an_upload_too_long_for_its_tag_is_refused_to_the_last_coordinate(ring: int) -> None:
    most = (2**31 - 1 - 40) * 8 // ring
    assert agreement(5, d=most, code=code(ring, 4)).d == most
    with pytest.raises(
        ValueError,
        match=rf"at most 2147483647 bytes, {most + 1} coordinates in a ring of 2\^{ring} take",
    ):
        agreement(5, d=most + 1, code=code(ring, 4))


def test_digits_of_long_integers_come_in_whole_words() -> None:
    assert agreement(5, d=16, code=LongIntegers(5)).words == 2
    assert agreement(5, d=16, code=code(32, 5)).words == 16
    with pytest.raises(ValueError, match="15 coordinates are no whole words of 8 digits"):
        agreement(5, d=15, code=LongIntegers(5))
    longest = 8 * ((2**31 - 1 - 40) // 16)
    assert agreement(5, d=longest, code=LongIntegers(5)).d == longest
    with pytest.raises(ValueError, match=r"in a ring of 2\^128 take"):
        agreement(5, d=longest + 8, code=LongIntegers(5))


def test_long_integers_and_words_are_different_terms() -> None:
    assert replace(TERMS, d=8).digest != replace(TERMS, d=8, code=LongIntegers(CODE.most)).digest


@pytest.mark.parametrize("weights", [None, {}])
def test_weights_need_not_fit_the_ring_but_their_place_in_an_upload(
    weights: dict[int, int] | None,
) -> None:
    public = None if weights is None else dict.fromkeys(range(5), 1)
    assert (
        agreement(5, code=code(16, 4), max_weight=2**31 - 1, weights=public).max_weight == 2**31 - 1
    )
    with pytest.raises(
        ValueError, match="max_weight must be at least 1 and at most 2147483647, got 2147483648"
    ):
        agreement(5, max_weight=2**31, weights=public)


@pytest.mark.parametrize("weight", [0, -1, 8])
def test_a_public_weight_outside_its_range_is_refused(weight: int) -> None:
    with pytest.raises(ValueError, match="every public weight must be 1 to 7"):
        agreement(5, max_weight=7, weights={0: 1, 1: weight, 2: 1, 3: 1, 4: 1})


def test_the_ends_of_the_range_of_public_weights_are_accepted() -> None:
    assert agreement(5, max_weight=7, weights={0: 1, 1: 7, 2: 1, 3: 1, 4: 1}).max_weight == 7


@pytest.mark.parametrize("weights", [None, {}])
def test_the_largest_weight_is_at_least_one(weights: dict[int, int] | None) -> None:
    with pytest.raises(
        ValueError, match="max_weight must be at least 1 and at most 2147483647, got 0"
    ):
        agreement(5, max_weight=0, weights=weights)


@pytest.mark.parametrize("rounds", [0, -1, 2**32 + 1])
def test_there_is_a_round_and_every_round_has_a_number(rounds: int) -> None:
    with pytest.raises(ValueError, match=f"rounds must be 1 to 4294967296, got {rounds}"):
        agreement(5, rounds=rounds)


@pytest.mark.parametrize("rounds", [1, 2**32])
def test_the_ends_of_the_range_of_rounds_are_accepted(rounds: int) -> None:
    assert agreement(5, rounds=rounds).rounds == rounds


# The roster.


def test_the_roster_cannot_be_changed_through_the_agreement_or_behind_it() -> None:
    keys = {1: KEY, 0: KEY[::-1]}
    terms = agreement(2, roster=keys)
    before = terms.digest
    with pytest.raises(TypeError, match="does not support item assignment"):
        terms.roster[0] = KEY  # type: ignore[index]
    with pytest.raises(AttributeError, match="roster"):
        terms.roster = {}  # type: ignore[misc]
    keys[2] = KEY
    assert dict(terms.roster) == {0: KEY[::-1], 1: KEY}
    assert replace(terms).digest == before


def test_the_roster_is_ascending() -> None:
    assert list(agreement([5, 1, 3]).roster) == [1, 3, 5]


# Digests of what a round was.


def test_the_digest_of_clients_is_the_hash_by_hand() -> None:
    assert digest_of_clients((1, 515)) == hashlib.sha256(b"\1\0\0\0\3\2\0\0").digest()
    assert digest_of_clients(()) == hashlib.sha256(b"").digest()


ADVERTISEMENTS = (b"a" * 221, b"b" * 221, b"c" * 221, b"d" * 221)
MODEL = b"m" * 32


def statement(
    *,
    advertisements: Sequence[bytes] = ADVERTISEMENTS,
    sharing: tuple[int, ...] = (0, 1, 2, 3),
    survivors: tuple[int, ...] = (0, 1, 2),
    model_hash: bytes = MODEL,
) -> bytes:
    return statement_of(advertisements, sharing=sharing, survivors=survivors, model_hash=model_hash)


def test_a_statement_is_the_hash_by_hand() -> None:
    keys = hashlib.sha256(b"a" * 221 + b"b" * 221 + b"c" * 221 + b"d" * 221).digest()
    shared = hashlib.sha256(bytes.fromhex("00000000010000000200000003000000")).digest()
    stayed = hashlib.sha256(bytes.fromhex("000000000100000002000000")).digest()
    label = b"securefl masking 1, statement"
    assert statement() == hashlib.sha256(label + keys + shared + stayed + MODEL).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"advertisements": (*ADVERTISEMENTS[:3], b"d" * 220 + b"e")},
        {"advertisements": ADVERTISEMENTS[:3]},
        {"advertisements": (*ADVERTISEMENTS, b"e" * 221)},
        {"advertisements": ADVERTISEMENTS[::-1]},
        {"advertisements": ()},
        {"sharing": (0, 1, 2)},
        {"sharing": (0, 1, 2, 4)},
        {"sharing": (0, 1, 2, 3, 4)},
        {"survivors": (0, 1)},
        {"survivors": (0, 1, 3)},
        {"survivors": (0, 1, 2, 3)},
        {"sharing": (0, 1, 2), "survivors": (0, 1, 2, 3)},
        {"sharing": (0, 1, 2, 3, 0), "survivors": (1, 2)},
        {"sharing": (0, 1, 2, 3, 0, 1, 2), "survivors": ()},
        {"model_hash": b"m" * 31 + b"n"},
    ],
)
def test_any_change_changes_the_statement(change: dict[str, Any]) -> None:
    assert statement(**change) != statement()


clients = st.sets(st.integers(0, 5)).map(lambda chosen: tuple(sorted(chosen)))


@deterministic
@given(clients, clients, clients, clients)
def test_two_statements_are_equal_only_for_the_same_sets(
    sharing: tuple[int, ...],
    survivors: tuple[int, ...],
    other_sharing: tuple[int, ...],
    other_survivors: tuple[int, ...],
) -> None:
    same = statement(sharing=sharing, survivors=survivors) == statement(
        sharing=other_sharing, survivors=other_survivors
    )
    assert same == ((sharing, survivors) == (other_sharing, other_survivors))


def test_advertisements_may_come_from_any_iterable() -> None:
    assert (
        statement_of(
            iter(ADVERTISEMENTS), sharing=(0, 1, 2, 3), survivors=(0, 1, 2), model_hash=MODEL
        )
        == statement()
    )


def test_every_member_has_a_public_weight_and_the_weights_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="client 4 has no public weight"):
        agreement(5, weights=dict.fromkeys(range(4), 1))
    weights = dict.fromkeys(range(5), 1)
    terms = agreement(5, weights=weights)
    weights[0] = 2
    assert terms.weights is not None
    assert terms.weights[0] == 1
    with pytest.raises(TypeError, match="does not support item assignment"):
        terms.weights[0] = 2  # type: ignore[index]


def test_every_member_and_the_server_have_keys_of_their_own() -> None:
    for roster in ({**TERMS.roster, 1: TERMS.roster[2]}, {**TERMS.roster, 1: TERMS.server}):
        with pytest.raises(ValueError, match="a key of its own"):
            replace(TERMS, roster=roster)


def test_the_set_up_keeps_a_cohort_or_so_many_that_no_two_sessions_divide_the_roster() -> None:
    assert agreement(100, cohort=100).least_members() == 51
    assert agreement(100, cohort=20).least_members() == 20
    assert agreement(5, cohort=5).least_members() == 4
    assert agreement(130, cohort=130).least_members() == 66
    assert agreement(130, cohort=130, min_cohort=40).least_members() == 80  # two blocks of 40
    assert agreement(5, cohort=5).least_invited == 5
    assert agreement(5, cohort=100).least_invited == 5
