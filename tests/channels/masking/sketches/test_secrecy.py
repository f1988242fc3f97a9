"""What colluders and server see of dealings is uniform, whatever the sketches: shown by ranks.

For a fixed challenge, everything that they see is an affine map of the dealers' random draws and of
secrets, over the field. The tests read this map off the real code, one draw at a time. Draws are
uniform, so that the view is uniform on a translate of the image of the draws' columns. It is the
same for all secrets exactly if the secrets' columns lie in that image, that is, if they do not
raise the rank. Tables are left out: they are salted hashes.
"""

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import pytest

from securefl.channels.masking.sketches import dealing
from securefl.channels.masking.sketches.dealing import Dealing, Shares
from securefl.channels.masking.sketches.distances import Pair, pair_values
from securefl.channels.masking.sketches.field import (
    ELEMENT_BYTES,
    P,
    expanded,
    unpacked,
)
from tests.channels.masking.sketches.dealers import Group

Column = list[int]
Draw = tuple[int, int]  # dealer, and the place among what it draws


def reduced(columns: Iterable[Sequence[int]], height: int) -> list[tuple[int, Column]]:
    """Returns pivots of columns by elimination over the field, in the first `height` rows."""
    pivots: list[tuple[int, Column]] = []
    for column in columns:
        rest = without(pivots, column)
        place = next((i for i, entry in enumerate(rest[:height]) if entry), None)
        if place is not None:
            inverse = pow(rest[place], -1, P)
            pivots.append((place, [entry * inverse % P for entry in rest]))
    return pivots


def without(pivots: Iterable[tuple[int, Column]], column: Sequence[int]) -> Column:
    rest = list(column)
    for place, pivot in pivots:
        factor = rest[place]
        if factor:
            rest = [(a - factor * b) % P for a, b in zip(rest, pivot, strict=True)]
    return rest


def hides(draws: Sequence[Column], secrets: Sequence[Column]) -> bool:
    """Whether the secrets' columns leave the rank of the draws' columns as it is."""
    pivots = reduced(draws, len(draws[0]))
    return not any(any(without(pivots, column)) for column in secrets)


def solution(columns: Sequence[Column], target: Column) -> Column:
    """Returns coefficients of the columns whose combination is the target."""
    height = len(target)
    marked = [[*column, *unit(i, len(columns))] for i, column in enumerate(columns)]
    rest = without(reduced(marked, height), [*target, *[0] * len(columns)])
    assert not any(rest[:height])
    return [-entry % P for entry in rest[height:]]


def unit(place: int, size: int) -> Column:
    return [int(i == place) for i in range(size)]


@dataclass(frozen=True)
class Watched(Group):
    """A group in which some clients work for the server.

    Args:
        colluders: as many as the degree, if the group is to withstand them.
    """

    colluders: tuple[int, ...]

    @property
    def honest(self) -> tuple[int, ...]:
        return tuple(i for i in self.clients if i not in self.colluders)

    # The draws of a dealing, in their order.

    @property
    def of_values(self) -> range:
        return range(self.degree * self.values)

    @property
    def values_blind(self) -> range:
        return range(self.of_values.stop, self.of_values.stop + self.degree + 1)

    @property
    def of_zeros(self) -> range:
        start = self.values_blind.stop
        return range(start, start + 2 * self.degree * self.zeros)

    @property
    def zeros_blind(self) -> range:
        return range(self.of_zeros.stop, self.of_zeros.stop + 2 * self.degree)

    @property
    def draws(self) -> int:
        return self.zeros_blind.stop + len(self.clients)  # the salts come last

    def zero_with(self, sender: int, other: int) -> range:
        """Returns the draws of one sharing of zero."""
        place = [i for i in self.clients if i != sender].index(other)
        start = self.of_zeros.start + 2 * self.degree * place
        return range(start, start + 2 * self.degree)

    def dealt(
        self, values: Sequence[int], draws: Sequence[int], *, challenge: bytes = b"any"
    ) -> Dealing:
        """Returns a dealing whose draws are given, under a challenge that hangs on nothing."""
        script = list(draws)

        def drawn(count: int) -> list[int]:
            elements = script[:count]
            del script[:count]
            assert len(elements) == count
            return elements

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dealing, "random_elements", drawn)
            patch.setattr(dealing, "expanded", lambda seed, count: expanded(challenge, count))
            return self.dealing(values, sender=0)

    def shares(self, dealt: Dealing, holder: int) -> Shares:
        elements = unpacked(dealt.shares[holder], self.values + self.zeros + 3)
        return Shares(elements[: self.values], elements[self.values + 1 : -2])

    def seen(self, dealt: Dealing) -> Column:
        """Returns what colluders hold of one dealing, without salts, and the proof."""
        width = self.values + self.zeros + 3
        shares = [unpacked(dealt.shares[i], width)[:-1] for i in self.colluders]
        proof = unpacked(dealt.proof, len(dealt.proof) // ELEMENT_BYTES)
        return [element for share in shares for element in share] + proof

    @property
    def nothing(self) -> Column:
        return [0] * self.values

    @property
    def no_draws(self) -> Column:
        return [0] * self.draws

    # Columns of one dealing.

    def columns_of_draws(self, view: Callable[[Dealing], Column]) -> dict[int, Column]:
        return {
            place: view(self.dealt(self.nothing, unit(place, self.draws)))
            for place in range(self.zeros_blind.stop)
        }

    def columns_of_values(self, view: Callable[[Dealing], Column]) -> list[Column]:
        return [
            view(self.dealt(unit(place, self.values), self.no_draws))
            for place in range(self.values)
        ]

    # Columns of all dealings together, and of the holders' answers.

    @property
    def pairs(self) -> list[Pair]:
        """The pairs with an honest end."""
        pairs = combinations(self.clients, 2)
        return [pair for pair in pairs if not set(pair) <= set(self.colluders)]

    def everything(self, dealings: dict[int, Dealing]) -> Column:
        """Returns what is seen of honest clients' dealings, and all holders' answers."""
        column = [element for i in self.honest for element in self.seen(dealings[i])]
        weights = dict.fromkeys(self.clients, 1)
        for holder in self.clients:
            own = {i: self.shares(dealt, holder) for i, dealt in dealings.items()}
            values = pair_values(own, weights, self.clients)
            column += [values[pair] for pair in self.pairs]
        return column

    @cached_property
    def columns_of_zeros(self) -> dict[Draw, Column]:
        """A column for each draw of honest clients' zeros; all dealt values are 0."""
        silent = {i: self.dealt(self.nothing, self.no_draws) for i in self.clients}
        return {
            (i, place): self.everything(
                {**silent, i: self.dealt(self.nothing, unit(place, self.draws))}
            )
            for i in self.honest
            for place in range(self.of_zeros.start, self.zeros_blind.stop)
        }

    def columns_of_distances(self, colluders: Collection[int] | None = None) -> list[Column]:
        """A column for every way to change an answer's polynomial that colluders do not know.

        They know its value at their points, and the distance is known at 0.
        """
        points = [self.points[i] for i in (self.colluders if colluders is None else colluders)]
        before = len(self.honest) * len(self.seen(self.dealt(self.nothing, self.no_draws)))
        columns = []
        for pair in self.pairs:
            for power in range(1, self.degree + 1):
                column = [0] * before
                for holder in self.clients:
                    change = self.points[holder] ** power
                    for point in points:
                        change = change * (self.points[holder] - point) % P
                    column += [change if other == pair else 0 for other in self.pairs]
                columns.append(column)
        return columns


THREE = Watched(clients=(2, 5, 6), degree=1, values=2, colluders=(5,))
FIVE = Watched(clients=(1, 4, 6, 7, 9), degree=2, values=3, colluders=(4, 9))
SIX = Watched(clients=(1, 4, 6, 7, 9, 12), degree=2, values=1, colluders=(1, 12))
GROUPS = pytest.mark.parametrize("group", [THREE, FIVE, SIX], ids=["three", "five", "six"])


def test_ranks_and_solutions_worked_by_hand() -> None:
    columns = [[1, 2, 3], [0, 1, 1], [1, 3, 4]]
    assert len(reduced(columns, 3)) == 2
    assert hides(columns, [[1, 0, 1]])
    assert not hides(columns, [[1, 0, 1], [0, 0, 1]])
    assert solution(columns[:2], [2, 7, 9]) == [2, 3]


# Sketches


@GROUPS
def test_shares_of_colluders_and_proof_hang_on_no_value(group: Watched) -> None:
    draws = group.columns_of_draws(group.seen)
    assert hides(list(draws.values()), group.columns_of_values(group.seen))


@GROUPS
def test_without_the_blind_of_the_values_they_would(group: Watched) -> None:
    draws = group.columns_of_draws(group.seen)
    left = [column for place, column in draws.items() if place not in group.values_blind]
    assert not hides(left, group.columns_of_values(group.seen))


@GROUPS
def test_one_colluder_more_than_the_degree_would_read_the_values(group: Watched) -> None:
    more = Watched(group.clients, group.degree, group.values, group.clients[: group.degree + 1])
    draws = more.columns_of_draws(more.seen)
    assert not hides(list(draws.values()), more.columns_of_values(more.seen))


@GROUPS
def test_a_second_challenge_would_strip_the_blind(group: Watched) -> None:
    # The same draws answered two challenges, as if holders or the server could choose them.
    draws = []
    for place in range(group.zeros_blind.stop):
        one = group.dealt(group.nothing, unit(place, group.draws))
        other = group.dealt(group.nothing, unit(place, group.draws), challenge=b"second")
        draws.append(group.seen(one) + group.seen(other))
    values = []
    for place in range(group.values):
        one = group.dealt(unit(place, group.values), group.no_draws)
        other = group.dealt(unit(place, group.values), group.no_draws, challenge=b"second")
        values.append(group.seen(one) + group.seen(other))
    assert not hides(draws, values)


@GROUPS
def test_the_sum_of_sketches_shows_the_sum_and_nothing_else(group: Watched) -> None:
    def summed(dealings: dict[int, Dealing]) -> Column:
        column = [element for i in group.honest for element in group.seen(dealings[i])]
        for holder in group.clients:
            shares = [group.shares(dealings[i], holder).values for i in group.honest]
            column += [sum(terms) % P for terms in zip(*shares, strict=True)]
        return column

    silent = {i: group.dealt(group.nothing, group.no_draws) for i in group.honest}
    draws = [
        summed({**silent, i: group.dealt(group.nothing, unit(place, group.draws))})
        for i in group.honest
        for place in (*group.of_values, *group.values_blind)
    ]
    values = {
        (i, place): summed({**silent, i: group.dealt(unit(place, group.values), group.no_draws)})
        for i in group.honest
        for place in range(group.values)
    }
    last = group.honest[-1]
    # What one client has more, another one has less.
    balanced = [
        [(a - b) % P for a, b in zip(column, values[last, place], strict=True)]
        for (i, place), column in values.items()
        if i != last
    ]
    assert hides(draws, balanced)
    assert not hides(draws, list(values.values()))


# Distances


@GROUPS
def test_answers_show_distances_and_nothing_else(group: Watched) -> None:
    assert hides(list(group.columns_of_zeros.values()), group.columns_of_distances())


@GROUPS
def test_one_colluder_more_would_see_through_the_zeros(group: Watched) -> None:
    more = Watched(group.clients, group.degree, group.values, group.clients[: group.degree + 1])
    changes = more.columns_of_distances(more.colluders[1:])
    assert not hides(list(more.columns_of_zeros.values()), changes)


def test_without_the_blind_of_the_zeros_two_honest_clients_would_be_seen_through() -> None:
    draws = [
        column
        for (_, place), column in THREE.columns_of_zeros.items()
        if place not in THREE.zeros_blind
    ]
    assert not hides(draws, THREE.columns_of_distances())


@GROUPS
def test_zeros_of_half_the_degree_would_not_hide_the_answers(group: Watched) -> None:
    draws = [
        column
        for (_, place), column in group.columns_of_zeros.items()
        if (place - group.of_zeros.start) % (2 * group.degree) < group.degree
    ]
    assert not hides(draws, group.columns_of_distances())


@GROUPS
@pytest.mark.parametrize("place", [0, -1])
def test_a_pair_without_zeros_of_its_own_ends_would_be_seen_through(
    group: Watched, place: int
) -> None:
    # The zeros of all other clients stay.
    i, j = group.pairs[place]
    own = {(a, x) for a, b in ((i, j), (j, i)) for x in group.zero_with(a, b)}
    draws = [column for draw, column in group.columns_of_zeros.items() if draw not in own]
    assert not hides(draws, group.columns_of_distances())


@GROUPS
def test_zeros_of_one_honest_end_hide_a_pair(group: Watched) -> None:
    i, j = group.honest[:2]
    lost = {(j, x) for x in group.zero_with(j, i)}
    draws = [column for draw, column in group.columns_of_zeros.items() if draw not in lost]
    assert hides(draws, group.columns_of_distances())


# Both together


def test_other_sketches_with_the_same_distances_explain_every_byte_that_is_seen() -> None:
    # Honest sketches are mirrored at a plane in which the colluders' own sketches lie. Draws are
    # then found for which the real code shows the same shares, proofs and answers.
    group = FIVE
    generator = random.Random(12)
    sketches = {i: group.sketch(generator) for i in group.clients}
    for i in group.colluders:
        sketches[i][2] = 0
    mirrored = {i: [*sketch[:2], -sketch[2]] for i, sketch in sketches.items()}
    draws = {i: [generator.randrange(P) for _ in range(group.draws)] for i in group.clients}
    shown = group.everything({i: group.dealt(sketches[i], draws[i]) for i in group.clients})
    of_sketches = list(group.columns_of_draws(group.seen).values())
    others = dict(draws)
    for i in group.honest:
        before = group.seen(group.dealt(sketches[i], draws[i]))
        after = group.seen(group.dealt(mirrored[i], draws[i]))
        target = [(a - b) % P for a, b in zip(before, after, strict=True)]
        change = solution(of_sketches, target) + [0] * len(group.clients)
        others[i] = [(a + b) % P for a, b in zip(draws[i], change, strict=True)]
    now = group.everything({i: group.dealt(mirrored[i], others[i]) for i in group.clients})
    assert now != shown
    zeros = group.columns_of_zeros
    target = [(a - b) % P for a, b in zip(shown, now, strict=True)]
    changes = solution(list(zeros.values()), target)
    for (i, place), added in zip(zeros, changes, strict=True):
        others[i][place] = (others[i][place] + added) % P
    again = group.everything({i: group.dealt(mirrored[i], others[i]) for i in group.clients})
    assert again == shown
    assert all(others[i] != draws[i] for i in group.honest)
    assert all(others[i] == draws[i] for i in group.colluders)
