"""How a cohort is divided into groups, and dealt by lot."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefl.channels.masking.lots import (
    blocks_for,
    check_groups,
    dealt,
    range_words,
    smallest_and_largest,
    threshold_for,
)

BEACON = b"b" * 32


def by_lot(clients: range, label: bytes) -> list[int]:
    """Returns the clients in the order of their lots, by hand."""
    return sorted(
        clients,
        key=lambda client: hashlib.sha256(label + struct.pack("<I", client)).digest(),
    )


def test_one_deal_takes_the_lots_of_the_session() -> None:
    order = by_lot(range(9), b"securefl masking 2, lot" + BEACON)
    expected = tuple(tuple(sorted(order[first::3])) for first in range(3))
    assert dealt(tuple(range(9)), 3, beacon=BEACON, round=None) == expected


def test_a_deal_of_a_round_takes_its_number_into_the_lot_under_another_label() -> None:
    label = b"securefl masking 2, lot of a round" + BEACON + struct.pack("<I", 7)
    order = by_lot(range(9), label)
    expected = tuple(tuple(sorted(order[first::3])) for first in range(3))
    assert dealt(tuple(range(9)), 3, beacon=BEACON, round=7) == expected


@given(st.sets(st.integers(0, 2**31 - 1), min_size=1, max_size=60), st.integers(1, 12))
def test_groups_are_a_partition_into_ascending_even_parts(clients: set[int], count: int) -> None:
    groups = dealt(tuple(clients), count, beacon=BEACON, round=3)
    assert sorted(client for group in groups for client in group) == sorted(clients)
    assert all(list(group) == sorted(group) for group in groups)
    sizes = [len(group) for group in groups]
    assert (min(sizes), max(sizes)) == smallest_and_largest(len(clients), count)


def test_groups_are_as_many_as_were_asked_for_and_blocks_as_few_as_possible() -> None:
    assert (blocks_for(20, 5), blocks_for(300, 5)) == (5, 5)
    assert (blocks_for(128), blocks_for(129), blocks_for(257)) == (1, 2, 3)


def test_a_threshold_is_more_than_half_of_the_invited_and_the_corrupt() -> None:
    assert [threshold_for(4, corrupt=2), threshold_for(5, corrupt=2)] == [4, 4]


@pytest.mark.parametrize(
    ("groups", "cohort", "fewest", "reason"),
    [
        (1, 9, 3, "at least 2, got 1"),
        (4, 11, 3, "4 groups of 11 clients have 2 to 3 each, and a sum takes 3 to 128"),
        (2, 257, 3, "2 groups of 257 clients have 128 to 129 each"),
    ],
)
def test_a_group_that_is_no_sum_is_refused(
    groups: int, cohort: int, fewest: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        check_groups(groups, cohort, fewest=fewest, regroup=False)


def test_the_smallest_and_the_largest_group_may_just_be_sums() -> None:
    check_groups(3, 11, fewest=3, regroup=True)
    check_groups(2, 256, fewest=3, regroup=False)
    check_groups(None, 3, fewest=3, regroup=False)


def test_groups_that_are_dealt_anew_must_exist() -> None:
    with pytest.raises(ValueError, match="there are none: set groups"):
        check_groups(None, 9, fewest=3, regroup=True)


def test_sizes_of_even_groups_in_words() -> None:
    assert (range_words(20, 5), range_words(22, 4)) == ("4", "5 to 6")
