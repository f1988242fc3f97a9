"""Decoding: by hand, against every subset of the values, at the bound and beyond it, refusals."""

import itertools
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.channels.masking.sketches import decoding
from securefl.channels.masking.sketches.decoding import (
    correctable,
    decoded,
    decoded_columns,
    solved_columns,
)
from securefl.channels.masking.sketches.field import P, value_at

deterministic = settings(derandomize=True, max_examples=80, deadline=None, database=None)
PARABOLA = {x: 7 + 5 * x + 3 * x * x for x in range(1, 8)}


def through(points: Mapping[int, int], at: int) -> int:
    """Returns the lowest polynomial through the points at x, by Lagrange in fractions: slowly."""
    total = 0
    for x, y in points.items():
        above = below = 1
        for other in points:
            if other != x:
                above *= at - other
                below *= x - other
        total += y * above * pow(below, P - 2, P)
    return total % P


def nearest(
    values: Mapping[int, int], degree: int, errors: int
) -> tuple[int, frozenset[int]] | None:
    """Returns the secret and the wrong points, from every subset of degree + 1 values."""
    radius = min(errors, len(values) - degree - 1 - errors)
    answers = set()
    for subset in itertools.combinations(values, degree + 1):
        base = {x: values[x] for x in subset}
        wrong = frozenset(x for x in values if through(base, x) != values[x] % P)
        if len(wrong) <= radius:
            answers.add((through(base, 0), wrong))
    assert len(answers) <= 1
    return answers.pop() if answers else None


# One polynomial


def test_a_parabola_worked_by_hand_comes_back_from_seven_values_with_two_wrong() -> None:
    result = decoded({**PARABOLA, 2: 30, 6: 0}, degree=2, errors=2)
    assert result == (7, (7, 5, 3), frozenset({2, 6}))


def test_right_values_and_zeros_have_no_wrong_points() -> None:
    assert decoded(PARABOLA, degree=2, errors=2) == (7, (7, 5, 3), frozenset())
    assert decoded(dict.fromkeys(range(1, 6), 0), degree=1, errors=1) == (0, (0, 0), frozenset())
    assert decoded(dict.fromkeys((1, 9, 4), 5), degree=0, errors=1) == (5, (5,), frozenset())


def test_a_polynomial_of_a_lower_degree_is_filled_up_with_zeros() -> None:
    values = {x: 4 + 2 * x for x in range(1, 9)}
    values[3] = 1
    assert decoded(values, degree=3, errors=2) == (4, (4, 2, 0, 0), frozenset({3}))


def test_values_on_a_polynomial_of_a_higher_degree_are_on_none_of_the_degree() -> None:
    cubic = {x: 7 + x**3 for x in range(1, 8)}
    assert decoded(cubic, degree=2, errors=2) is None
    assert decoded(cubic, degree=3, errors=1) == (7, (7, 0, 0, 1), frozenset())
    assert decoded({x: x for x in range(1, 4)}, degree=0, errors=1) is None


def test_values_are_read_modulo_the_prime_and_points_in_any_order() -> None:
    # The line 7 - x is 0 at 7, 5 at 2, -24 at 31, 4 at 3 and -1 at 8.
    values = {7: P, 2: 5 + P, 31: 2 * P - 24, 3: 9, 2**31 - 1: 8 - 2**31, 8: -1}
    assert decoded(values, degree=1, errors=1) == (7, (7, P - 1), frozenset({3}))
    assert decoded({**values, 3: 4}, degree=1, errors=2) == (7, (7, P - 1), frozenset())


@pytest.mark.parametrize(("degree", "errors"), [(0, 1), (1, 1), (1, 2), (2, 2), (4, 1), (3, 3)])
def test_every_choice_of_wrong_points_up_to_the_bound_is_found(degree: int, errors: int) -> None:
    generator = random.Random(degree * 10 + errors)
    points = range(1, degree + 2 * errors + 2)
    for count in range(errors + 1):
        for wrong in itertools.combinations(points, count):
            coefficients = tuple(generator.randrange(P) for _ in range(degree + 1))
            values = {x: value_at(coefficients, x) for x in points}
            for x in wrong:
                values[x] = (values[x] + 1 + generator.randrange(P - 1)) % P
            result = decoded(values, degree=degree, errors=errors)
            assert result == (coefficients[0], coefficients, frozenset(wrong))


@deterministic
@given(st.data(), st.integers(0, 2), st.integers(0, 2), st.integers(1, 7))
def test_it_agrees_with_a_search_through_every_subset(
    data: st.DataObject, degree: int, errors: int, count: int
) -> None:
    # Values of two polynomials and of none, mixed at will: the hardest words to decode.
    element = st.integers(0, 3) | st.integers(0, P - 1)
    coefficients = st.lists(element, min_size=degree + 1, max_size=degree + 1)
    one, other = data.draw(coefficients), data.draw(coefficients)
    values = {}
    for x in data.draw(st.lists(st.integers(1, 90), min_size=count, max_size=count, unique=True)):
        kind = data.draw(st.integers(0, 2))
        values[x] = data.draw(element) if kind == 2 else value_at((one, other)[kind], x)
    result = decoded(values, degree=degree, errors=errors)
    expected = nearest(values, degree, errors)
    assert (None if result is None else (result.constant, result.wrong)) == expected


@deterministic
@given(st.data(), st.integers(0, 3), st.integers(0, 3))
def test_up_to_the_given_number_of_wrong_values_never_give_a_wrong_answer(
    data: st.DataObject, degree: int, errors: int
) -> None:
    # Values may be missing, too, and all wrong ones lie on one other polynomial.
    count = data.draw(st.integers(0, degree + 1 + 2 * errors + 2))
    coefficients = st.lists(st.integers(0, P - 1), min_size=degree + 1, max_size=degree + 1)
    right, forged = tuple(data.draw(coefficients)), data.draw(coefficients)
    values = {x: value_at(right, x) for x in range(1, count + 1)}
    for x in range(1, min(count, data.draw(st.integers(0, errors))) + 1):
        values[x] = value_at(forged, x)
    wrong = frozenset(x for x in values if values[x] != value_at(right, x))
    result = decoded(values, degree=degree, errors=errors)
    if len(wrong) <= correctable(count, degree=degree, errors=errors):
        assert result == (right[0], right, wrong)
    else:
        assert result is None


def test_every_value_short_of_the_bound_costs_one_error_but_no_wrong_answer() -> None:
    # Degree 2, two errors: 7 values correct both, 6 one, 5 only tell that something is wrong.
    assert [correctable(m, degree=2, errors=2) for m in range(3, 10)] == [-2, -1, 0, 1, 2, 2, 2]
    six = {x: PARABOLA[x] for x in range(1, 7)}
    five = {x: PARABOLA[x] for x in range(1, 6)}
    assert decoded({**six, 1: 0}, degree=2, errors=2) == (7, (7, 5, 3), frozenset({1}))
    assert decoded({**six, 1: 0, 2: 0}, degree=2, errors=2) is None
    assert decoded(five, degree=2, errors=2) == (7, (7, 5, 3), frozenset())
    assert decoded({**five, 1: 0}, degree=2, errors=2) is None
    assert decoded({x: PARABOLA[x] for x in range(1, 5)}, degree=2, errors=2) is None
    assert decoded({}, degree=2, errors=2) is None


def test_two_of_five_values_on_another_parabola_would_win_without_the_reserve() -> None:
    # With as few values, half the redundancy is one error: the parabola through 1, 3, 4 and the
    # wrong values at 1 and 5 would be one error away. Two are expected, so nothing is returned.
    values = {x: PARABOLA[x] for x in range(1, 6)}
    values[1] = 0
    values[5] = through({1: 0, 3: PARABOLA[3], 4: PARABOLA[4]}, 5)
    assert decoded(values, degree=2, errors=1) is not None
    assert decoded(values, degree=2, errors=2) is None


def test_one_liar_more_than_the_bound_is_noticed_unless_all_collude() -> None:
    garbage = {**PARABOLA, 1: 11, 2: 12, 3: 13}
    assert decoded(garbage, degree=2, errors=2) is None
    # Three of seven values and two right ones on one other parabola: no decoder can tell.
    other = [through({6: PARABOLA[6], 7: PARABOLA[7], 1: 0}, x) for x in range(1, 8)]
    colluding = {**PARABOLA, 1: other[0], 2: other[1], 3: other[2]}
    result = decoded(colluding, degree=2, errors=2)
    assert result is not None
    assert result.wrong == {4, 5}


# Many columns


def columns_of(polynomials: Sequence[tuple[int, ...]], points: range) -> dict[int, list[int]]:
    return {x: [value_at(polynomial, x) for polynomial in polynomials] for x in points}


LINES = [(3, 1), (P - 4, 2), (0, 0), (2**100, P - 1), (9, 9)]


def test_columns_are_decoded_with_two_liars_in_different_columns() -> None:
    values = columns_of(LINES, range(1, 7))
    values[2][0] += 1
    values[5] = [1, 2, 3, 4, 5]
    result = solved_columns(values, degree=1, errors=2)
    assert result == ([3, P - 4, 0, 2**100, 9], frozenset({2, 5}))
    assert decoded_columns(values, degree=1, errors=2) == [3, P - 4, 0, 2**100, 9]


@deterministic
@given(st.data(), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
def test_columns_agree_with_each_column_alone(
    data: st.DataObject, degree: int, errors: int, absent: int
) -> None:
    generator = random.Random(data.draw(st.integers(0, 2**32)))
    polynomials = [tuple(generator.randrange(P) for _ in range(degree + 1)) for _ in range(4)]
    points = range(1, degree + 2 * errors + 4 - absent)
    values = columns_of(polynomials, points)
    for x in data.draw(st.sets(st.sampled_from(points), max_size=errors)) if points else ():
        for i in data.draw(st.sets(st.integers(0, 3))):
            values[x][i] = generator.randrange(P)
    alone = [
        decoded({x: row[i] for x, row in values.items()}, degree=degree, errors=errors)
        for i in range(4)
    ]
    result = solved_columns(values, degree=degree, errors=errors)
    if correctable(len(points), degree=degree, errors=errors) == errors:
        assert result.constants == [polynomial[0] for polynomial in polynomials]
    assert result.constants == [None if column is None else column.constant for column in alone]
    assert result.wrong == frozenset().union(*(column.wrong for column in alone if column))


def test_columns_that_too_many_points_spoil_together_are_decoded_alone() -> None:
    # Two liars a column is one too many for the combination, and right for every column but one.
    values = columns_of(LINES, range(1, 5))
    values[1][0] = values[2][1] = values[3][2] = values[1][3] = values[2][3] = 77
    result = solved_columns(values, degree=1, errors=1)
    assert result == ([3, P - 4, 0, None, 9], frozenset({1, 2, 3}))


def test_a_column_that_the_combination_missed_is_found_by_its_own_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = columns_of(LINES, range(1, 6))
    values[4][1] += 5
    values[2][3] = values[3][3] = 6
    draws = {"next": 0}

    def unlucky(count: int) -> list[int]:
        draws["next"] += 1
        # The combination of columns, drawn before everything else, is blind to two of them.
        return [8, 0, 5, 0, 3] if draws["next"] == 1 else [7] * count

    monkeypatch.setattr(decoding, "random_elements", unlucky)
    result = solved_columns(values, degree=1, errors=1)
    assert result == ([3, P - 4, 0, None, 9], frozenset({4}))


def test_liars_are_found_once_for_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: object) -> object:
        calls.append(arguments)
        return nearest_polynomial(*arguments)  # type: ignore[arg-type]

    nearest_polynomial = decoding._nearest
    monkeypatch.setattr(decoding, "_nearest", counted)
    values = columns_of(LINES * 20, range(1, 8))
    values[3] = [5] * 100
    # Two errors that would cancel in a plain sum of the columns.
    values[6][0] += 1
    values[6][1] -= 1
    assert decoded_columns(values, degree=1, errors=2) == [3, P - 4, 0, 2**100, 9] * 20
    assert len(calls) == 1


def test_the_check_of_columns_sends_exactly_polynomials_of_the_degree_to_zero() -> None:
    points = (1, 2, 5, 6, 9)
    for degree in range(4):
        parities = decoding._parities(points, degree)
        for power in range(5):
            total = sum(v * x**power for v, x in zip(parities, points, strict=True)) % P
            assert (total == 0) == (power <= degree)


def test_no_values_and_no_columns_give_nothing() -> None:
    assert solved_columns({}, degree=1, errors=1) == ([], frozenset())
    assert solved_columns({1: [], 2: []}, degree=1, errors=1) == ([], frozenset())
    assert decoded_columns({1: [5, 6]}, degree=1, errors=0) == [None, None]
    assert decoded_columns({1: [5, 6], 2: [7, 7]}, degree=1, errors=0) == [3, 5]


# Refusals


@pytest.mark.parametrize(("degree", "errors"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(degree: int, errors: int) -> None:
    with pytest.raises(ValueError, match=r"^degree and errors must be at least 0"):
        decoded(PARABOLA, degree=degree, errors=errors)
    with pytest.raises(ValueError, match=r"^degree and errors must be at least 0"):
        decoded_columns({}, degree=degree, errors=errors)


@pytest.mark.parametrize("point", [-1, 0, 2**31, P])
def test_a_point_out_of_range_is_refused(point: int) -> None:
    with pytest.raises(ValueError, match=r"^a point must be 1 to 2\^31 - 1"):
        decoded({**PARABOLA, point: 1}, degree=2, errors=2)
    with pytest.raises(ValueError, match=r"^a point must be 1 to 2\^31 - 1"):
        decoded_columns({1: [2], point: [3]}, degree=0, errors=0)


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^every point must have as many columns"):
        decoded_columns({1: [1, 2], 2: [1]}, degree=0, errors=0)
