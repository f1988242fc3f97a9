"""Of clients that contradict each other, liars are named, and no honest client ever is."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefl.channels.masking.sketches.conflicts import (
    CONTRADICTED,
    MISFIT,
    SILENT,
    Conflicts,
    liars_left,
    settled,
)
from securefl.errors import RoundAbandoned


def conflicts(named: set[int], pairs: list[tuple[int, int]], liars_left: int) -> Conflicts:
    return Conflicts(frozenset(named), tuple(pairs), liars_left)


def test_nobody_is_named_without_contradictions() -> None:
    assert settled([], f=2) == conflicts(set(), [], 2)


def test_one_contradiction_makes_a_pair() -> None:
    assert settled([(5, 3)], f=1) == conflicts(set(), [(3, 5)], 0)


@pytest.mark.parametrize(("rejecting", "named"), [(2, set()), (3, {7})])
def test_a_client_is_named_by_more_than_f_others_and_not_by_f(
    rejecting: int, named: set[int]
) -> None:
    found = settled([(holder, 7) for holder in range(rejecting)], f=2)
    assert found.named == named
    assert found == conflicts(named, [] if named else [(0, 7)], 1)


def test_a_contradiction_counts_once_however_often_it_is_listed() -> None:
    assert settled([(0, 1), (1, 0), (0, 1)], f=1) == conflicts(set(), [(0, 1)], 0)


def test_a_client_that_contradicts_itself_is_named() -> None:
    assert settled([(4, 4)], f=3) == conflicts({4}, [], 2)


def test_whom_a_named_client_leaves_behind_is_judged_with_fewer_liars() -> None:
    # Client 9 has three edges, client 8 two others. With f = 2 only 9 stands out; with the one liar
    # that is left then, 8 does, too.
    edges = [(9, 0), (9, 1), (9, 2), (8, 0), (8, 3)]
    assert settled(edges, f=2) == conflicts({8, 9}, [], 0)


def test_pairs_use_up_liars_before_the_next_client_is_named() -> None:
    # (0, 1) is matched first. The three edges of client 9 then prove it to lie, as two liars are
    # left; without the pair, four edges would have been needed.
    edges = [(0, 1), (2, 9), (3, 9), (4, 9)]
    assert settled(edges, f=3) == conflicts({9}, [(0, 1)], 1)


def test_more_liars_than_agreed_on_end_the_round_and_nobody_is_named() -> None:
    with pytest.raises(RoundAbandoned, match="more clients contradict each other") as raised:
        settled([(0, 1), (2, 3)], f=1)
    assert raised.value.named == {}
    with pytest.raises(RoundAbandoned, match="more clients contradict each other"):
        settled([(0, 1)], f=0)
    with pytest.raises(RoundAbandoned, match="more clients contradict each other"):
        settled([], f=-1)


@st.composite
def quarrels(draw: st.DrawFn) -> tuple[list[tuple[int, int]], set[int], int]:
    """Returns edges that all touch a liar, the liars, and the bound on their number."""
    n = draw(st.integers(2, 14))
    f = draw(st.integers(1, 5))
    liars = draw(st.sets(st.integers(0, n - 1), max_size=f))
    possible = [edge for edge in itertools.combinations(range(n), 2) if liars.intersection(edge)]
    edges = draw(st.lists(st.sampled_from(possible), max_size=40)) if possible else []
    return edges, liars, f


@given(quarrels())
def test_honest_clients_are_never_named_and_each_liar_costs_one_of_them_at_most(
    quarrel: tuple[list[tuple[int, int]], set[int], int],
) -> None:
    edges, liars, f = quarrel
    found = settled(edges, f=f)
    assert found.named <= liars
    assert all(liars.intersection(pair) for pair in found.pairs)
    paired = [client for pair in found.pairs for client in pair]
    assert len(paired) == len(set(paired))
    assert not found.named.intersection(paired)
    assert found.liars_left == f - len(found.named) - len(found.pairs) >= 0
    out = found.named.union(paired)
    assert not [edge for edge in edges if out.isdisjoint(edge)]
    # Whoever may still lie is counted.
    assert len(liars - out) <= found.liars_left
    assert len(out - liars) <= len(out & liars)


@given(quarrels(), st.randoms(use_true_random=False))
def test_the_order_of_the_contradictions_does_not_matter(
    quarrel: tuple[list[tuple[int, int]], set[int], int], chance: random.Random
) -> None:
    edges, _, f = quarrel
    others = [edge[::-1] if chance.random() < 0.5 else edge for edge in edges]
    chance.shuffle(others)
    assert settled(others, f=f) == settled(edges, f=f)


def test_clients_that_were_only_silent_leave_as_many_liars_as_before() -> None:
    named = {1: MISFIT, 2: CONTRADICTED, 3: SILENT}
    assert liars_left(named, ((4, 5),), f=4) == 1
    assert liars_left(named, ((4, 5),), f=2) == 0
    assert liars_left({}, (), f=2) == 2
