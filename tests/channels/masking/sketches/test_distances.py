"""Squared distances from shares: by hand, exact under lying holders, forged sketches, refusals."""

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence

import pytest

from securefl.channels.masking.sketches.dealing import Shares
from securefl.channels.masking.sketches.decoding import decoded_columns
from securefl.channels.masking.sketches.distances import (
    Distances,
    Pair,
    pair_values,
    squared_distances,
)
from securefl.channels.masking.sketches.field import P, centred
from tests.channels.masking.sketches.dealers import Group

GROUP = Group(clients=(2, 3, 5, 7, 11, 13, 17, 19, 23), degree=2, values=3)
LIARS = 2
EQUAL = dict.fromkeys(GROUP.clients, 1)
Answers = dict[int, dict[Pair, int]]


def exact(
    sketches: Mapping[int, Sequence[int]], weights: Mapping[int, int], clients: Iterable[int]
) -> dict[Pair, int]:
    """Returns |w_j s_i - w_i s_j|^2 of every pair, as its formula is written."""
    return {
        (i, j): sum(
            (weights[j] * a - weights[i] * b) ** 2
            for a, b in zip(sketches[i], sketches[j], strict=True)
        )
        for i, j in itertools.combinations(sorted(clients), 2)
    }


def answers(
    sketches: Mapping[int, Sequence[int]], weights: Mapping[int, int], group: Group = GROUP
) -> tuple[Answers, dict[int, dict[int, Shares]]]:
    """Returns what every holder answers, and what it holds."""
    holdings = group.holdings({i: group.dealing(sketches[i], i) for i in sketches})
    values = {
        group.points[holder]: pair_values(own, weights, group.clients)
        for holder, own in holdings.items()
    }
    return values, holdings


def distances(
    values: Mapping[int, Mapping[Pair, int]],
    weights: Mapping[int, int] = EQUAL,
    clients: tuple[int, ...] = GROUP.clients,
    group: Group = GROUP,
) -> Distances:
    return squared_distances(
        values,
        clients=clients,
        weights=weights,
        degree=2 * group.degree,
        errors=LIARS,
        most=group.values << 64,
    )


def sketches_of(generator: random.Random, group: Group = GROUP) -> dict[int, list[int]]:
    return {i: group.sketch(generator) for i in group.clients}


# By hand


def test_an_answer_worked_by_hand() -> None:
    # Weights 2, 3 and 1. For the pair (4, 6): (3 * 5 - 2 * 1)^2 + (3 * 7 - 2 * 2)^2 = 169 + 289.
    own = {
        4: Shares([5, 7], [1000, 20000]),  # with 6, with 9
        6: Shares([1, 2], [300000, 4000000]),  # with 4, with 9
        9: Shares([P - 1, 0], [50000000, 600000000]),  # with 4, with 6
    }
    values = pair_values(own, {4: 2, 6: 3, 9: 1}, (4, 6, 9))
    # (4, 9): (5 + 2)^2 + 7^2 = 98; (6, 9): (1 + 3)^2 + 2^2 = 20.
    assert values == {(4, 6): 458 + 301000, (4, 9): 98 + 50020000, (6, 9): 20 + 604000000}


def test_a_holder_answers_for_the_pairs_that_it_accepts_both_of() -> None:
    own = {4: Shares([5], [1, 20, 300]), 9: Shares([3], [4000, 50000, 600000])}
    # Four clients; 6 and 12 were rejected. The zero of 4 with 9 is its second, of 9 with 4 its
    # first.
    assert pair_values(own, {4: 1, 9: 1}, (4, 6, 9, 12)) == {(4, 9): 4 + 20 + 4000}
    assert pair_values({9: own[9]}, EQUAL, (4, 6, 9, 12)) == {}
    assert pair_values({}, EQUAL, ()) == {}


def test_no_dealer_has_a_part_in_the_distance_of_two_others() -> None:
    # Whatever a third client deals, blinds included, cannot move it.
    generator = random.Random(11)
    holdings = GROUP.holdings({i: GROUP.dealing([1, 2, 3], i) for i in GROUP.clients})
    own = holdings[7]
    before = pair_values(own, EQUAL, GROUP.clients)
    forged = Shares([5] * 3, [generator.randrange(P) for _ in range(8)])
    after = pair_values({**own, 11: forged}, EQUAL, GROUP.clients)
    for pair, value in before.items():
        assert (after[pair] == value) == (11 not in pair)


def test_distances_worked_by_hand_come_out_of_lines() -> None:
    # Degree 2, one liar, two pairs: 25 + 3 x + x^2 and 4 - x, at five points; point 4 lies.
    values = {
        x: {(1, 2): 25 + 3 * x + x * x, (1, 3): (4 - x) % P, (2, 3): 9 * x} for x in range(1, 6)
    }
    values[4][1, 2] += 1
    result = squared_distances(
        values, clients=(3, 1, 2), weights={1: 1, 2: 1, 3: 1}, degree=2, errors=1, most=100
    )
    squared = {(1, 2): 25, (1, 3): 4, (2, 3): 0}
    assert result == (squared, frozenset(), frozenset(), frozenset({4}))


def test_the_largest_distance_is_in_range_and_one_more_is_not() -> None:
    # |w_j s_i - w_i s_j| is at most (w_i + w_j) 2^31 a coordinate: here 5 * 2^31, squared.
    weights = {1: 2, 2: 3, 3: 1}
    largest = 25 * 2**62
    for distance, fits in ((largest, True), (largest + 1, False), (0, True), (P - 1, False)):
        values = {x: {(1, 2): distance} for x in range(1, 8)}
        result = squared_distances(
            values, clients=(1, 2), weights=weights, degree=2, errors=2, most=2**64
        )
        assert result.squared == ({(1, 2): distance} if fits else {})
        assert result.out_of_range == (set() if fits else {(1, 2)})
        assert not result.undecoded


def test_sketches_at_both_ends_of_their_range_are_in_range() -> None:
    sketches = sketches_of(random.Random(1))
    sketches[3], sketches[5] = [-(2**31)] * 3, [2**31 - 1] * 3
    weights = {**EQUAL, 3: 2**20, 5: 2**20}
    values, _ = answers(sketches, weights)
    result = distances(values, weights)
    assert result.squared[3, 5] == 3 * (2**20 * (2**32 - 1)) ** 2
    assert result.squared == exact(sketches, weights, GROUP.clients)


# Holders that lie


def lied(kind: int, honest: Mapping[Pair, int], generator: random.Random) -> dict[Pair, int]:
    """Returns another answer: garbage, one wrong pair, all shifted alike, a gap, or nothing."""
    pair = generator.choice(sorted(honest))
    if kind == 0:
        return {pair: generator.randrange(P) for pair in honest}
    if kind == 1:
        return {**honest, pair: (honest[pair] + generator.randrange(1, P)) % P}
    if kind == 2:
        return {pair: (value + 1) % P for pair, value in honest.items()}
    return {other: value for other, value in honest.items() if kind == 3 and other != pair}


@pytest.mark.parametrize("rounds", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_distances_and_sums_are_exact_in_random_rounds_with_lying_holders(rounds: int) -> None:
    generator = random.Random(20 + rounds)
    for _ in range(rounds):
        sketches = sketches_of(generator)
        weights = {i: generator.choice((1, 1, 7, 1000, 2**20)) for i in GROUP.clients}
        values, holdings = answers(sketches, weights)
        chosen = generator.sample(GROUP.clients, generator.randint(1, 9))
        sums = {
            GROUP.points[holder]: [sum(own[i].values[k] for i in chosen) % P for k in range(3)]
            for holder, own in holdings.items()
        }
        liars = generator.sample(range(1, 10), generator.randint(0, LIARS))
        for x in liars:
            values[x] = lied(generator.randrange(5), values[x], generator)
            sums[x] = [generator.randrange(P) for _ in range(3)]
        result = distances(values, weights)
        assert result.squared == exact(sketches, weights, GROUP.clients)
        assert not result.out_of_range | result.undecoded
        assert result.wrong <= set(liars)
        opened = decoded_columns(sums, degree=GROUP.degree, errors=LIARS)
        expected = [sum(sketches[i][k] for i in chosen) for k in range(3)]
        assert [None if value is None else centred(value) for value in opened] == expected


def test_twenty_clients_withstand_four_holders_that_answer_garbage() -> None:
    group = Group(clients=tuple(range(20)), degree=4, values=16)
    generator = random.Random(4)
    sketches = sketches_of(generator, group)
    weights = dict.fromkeys(group.clients, 1)
    values, _ = answers(sketches, weights, group)
    for x in (2, 9, 10, 20):
        values[x] = lied(0, values[x], generator)
    result = squared_distances(
        values, clients=group.clients, weights=weights, degree=8, errors=4, most=16 << 64
    )
    assert result.squared == exact(sketches, weights, group.clients)
    assert result.wrong == {2, 9, 10, 20}


def test_liars_that_agree_on_another_distance_are_outvoted() -> None:
    sketches = sketches_of(random.Random(2))
    values, _ = answers(sketches, EQUAL)
    for x in (4, 7):
        values[x][2, 3] = (values[x][2, 3] + 10**6) % P
    result = distances(values)
    assert result.squared == exact(sketches, EQUAL, GROUP.clients)
    assert result.wrong == {4, 7}


def test_a_silent_liar_and_an_honest_drop_out_beyond_the_bound_give_nothing_wrong() -> None:
    # Nine holders withstand two liars, silent or not. Three away and two lying are too many.
    sketches = sketches_of(random.Random(3))
    values, _ = answers(sketches, EQUAL)
    del values[1], values[2]
    assert distances(values).squared == exact(sketches, EQUAL, GROUP.clients)
    values[3] = {pair: 5 for pair in values[3]}
    assert distances(values).undecoded == set(itertools.combinations(GROUP.clients, 2))
    del values[4]
    assert distances(values).squared == {}


def test_a_pair_that_three_holders_spoil_is_undecoded_and_no_other() -> None:
    sketches = sketches_of(random.Random(6))
    values, _ = answers(sketches, EQUAL)
    for x in (1, 5, 9):
        values[x][7, 19] = x
    result = distances(values)
    expected = exact(sketches, EQUAL, GROUP.clients)
    assert result.undecoded == {(7, 19)}
    assert result.squared == {pair: d for pair, d in expected.items() if pair != (7, 19)}
    assert result.wrong == set()


def test_only_the_pairs_of_the_given_clients_are_decoded() -> None:
    sketches = sketches_of(random.Random(7))
    values, _ = answers(sketches, EQUAL)
    clients = (2, 11, 23)
    values[1][3, 5] = 0  # a pair of others, which nobody reads
    result = distances(values, clients=clients)
    assert result.squared == exact(sketches, EQUAL, clients)
    assert result.wrong == set()
    assert distances({}, clients=(2, 11)).undecoded == {(2, 11)}


# Dealers that deal no sketch


def test_one_half_as_a_coordinate_puts_all_its_distances_out_of_range() -> None:
    sketches = sketches_of(random.Random(8))
    half = centred(pow(2, -1, P))
    values, _ = answers({**sketches, 5: [half, 1, 1]}, EQUAL)
    result = distances(values)
    assert result.out_of_range == {tuple(sorted((5, i))) for i in GROUP.clients if i != 5}
    others = [i for i in GROUP.clients if i != 5]
    assert result.squared == exact(sketches, EQUAL, others)


def test_halves_that_make_whole_distances_leave_a_sum_that_is_no_sketch() -> None:
    # Four halves, squared and added, are whole; the check of the sum sees them.
    group = Group(clients=GROUP.clients, degree=2, values=4)
    generator = random.Random(9)
    sketches = sketches_of(generator, group)
    half = centred(pow(2, -1, P))
    values, holdings = answers({**sketches, 5: [half] * 4}, EQUAL, group)
    assert distances(values, group=group).out_of_range == set()
    sums = {
        group.points[holder]: [own[5].values[0] + own[7].values[0]]
        for holder, own in holdings.items()
    }
    (opened,) = decoded_columns(sums, degree=2, errors=LIARS)
    assert opened is not None
    assert 2 * opened % P == (1 + 2 * sketches[7][0]) % P
    assert abs(centred(opened)) > 2**100


def test_random_field_elements_as_a_sketch_are_out_of_range_everywhere() -> None:
    generator = random.Random(10)
    sketches = sketches_of(generator)
    for _ in range(20):
        random_sketch = [generator.randrange(-(2**126) + 1, 2**126) for _ in range(3)]
        values, _ = answers({**sketches, 23: random_sketch}, EQUAL)
        result = distances(values)
        assert result.out_of_range == {(i, 23) for i in GROUP.clients if i != 23}


# Refusals


def test_clients_out_of_order_and_dealings_of_another_shape_are_refused() -> None:
    own = {4: Shares([5], [1, 2]), 6: Shares([3], [4, 5])}
    with pytest.raises(ValueError, match=r"^clients must be ascending, each of them once$"):
        pair_values(own, EQUAL, (4, 9, 6))
    with pytest.raises(ValueError, match=r"^clients must be ascending, each of them once$"):
        pair_values(own, EQUAL, (4, 6, 6))
    with pytest.raises(ValueError, match=r"^every dealer must be one of the clients$"):
        pair_values(own, EQUAL, (4, 7, 9))
    with pytest.raises(ValueError, match=r"^a dealing among 4 clients has 3 zeros$"):
        pair_values(own, EQUAL, (4, 6, 7, 9))
